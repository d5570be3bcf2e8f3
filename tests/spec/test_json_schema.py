"""The schema for editors agrees with the program about sweep files."""

import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml
from jsonschema import Draft202012Validator

from tamt_ray.spec.load import SpecError, parse_sweep
from tamt_ray.spec.schema import sweep_schema

SWEEPS = sorted((Path(__file__).parents[2] / "sweeps").glob("*.yaml"))


class Yaml12(yaml.SafeLoader):
    """Reads exponents as an editor's YAML 1.2 does."""


Yaml12.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    schema = json.loads(sweep_schema())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def as_json(text: str) -> object:
    """The YAML text as an editor sees it: numbers as keys become strings."""
    return json.loads(json.dumps(yaml.load(text, Loader=Yaml12)))  # noqa: S506 - a SafeLoader


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.name)
def test_it_accepts_every_sweep_of_this_repository(
    path: Path, validator: Draft202012Validator
) -> None:
    validator.validate(as_json(path.read_text()))


SMALL = """\
name: small
models: {mini: {source: "dir:m"}}
corpus: {train: {source: "dir:a.txt"}, validation: {source: "dir:b.txt"}}
methods:
  - omp
  - {method: tamt_kd, lr: 5e-5, steps: {0.5: 1000}}
  - {method: tamt, objective: [mlm, {objective: kd, weight: 0.5}]}
sparsities: [0.5]
tasks:
  sts: {kind: regression, metric: spearman, train: {source: "dir:a.csv"},
        validation: [{source: "dir:b.csv"}], text: [a]}
execution: {search: {gpus: auto}, finetune: {gpus: 0.5}}
"""


def test_it_accepts_what_may_be_written_in_several_forms(validator: Draft202012Validator) -> None:
    """A table of steps, loss terms by name and as a mapping, shares of a GPU and `auto`."""
    parse_sweep(SMALL)
    validator.validate(as_json(SMALL))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("name: small", "nmae: small"),
        ("name: small", "name: a/b"),
        ('"dir:m"}', '"dir:m", pool: mean}'),
        ("- omp", "- ompp"),
        ("tamt_kd", "tamt_kld"),
        ("objective: [mlm,", "objective: [mml,"),
        ("weight: 0.5", "weight: 0"),
        ("weight: 0.5", "wieght: 0.5"),
        ("metric: spearman", "metric: matthews"),
        ("kind: regression", "kind: ranking"),
        ("lr: 5e-5", "lr: 0"),
        ("lr: 5e-5", "lr: fast"),
        ("{0.5: 1000}", "{0.5: 0}"),
        ("{0.5: 1000}", "many"),
        ("sparsities: [0.5]", "sparsities: [1.0]"),
        ("sparsities: [0.5]", "sparsities: []"),
        ("gpus: auto", "gpus: all"),
        ("gpus: 0.5", "gpus: -1"),
    ],
)
def test_it_refuses_what_the_program_refuses(
    old: str, new: str, validator: Draft202012Validator
) -> None:
    text = SMALL.replace(old, new)
    assert text != SMALL
    with pytest.raises(SpecError):
        parse_sweep(text)
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(as_json(text))


def test_every_value_is_explained_to_the_editor() -> None:
    """Docstrings under fields become descriptions; a sample of those people look for."""
    definitions = json.loads(sweep_schema())["$defs"]
    assert "threshold" in definitions["Tamt"]["properties"]
    for owner, name in (("Training", "decay_steps"), ("Model", "pooling"), ("Table", "header")):
        assert definitions[owner]["properties"][name]["description"]
