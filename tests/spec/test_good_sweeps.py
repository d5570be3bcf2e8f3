"""Values hold exactly the settings of the sweep file, and nothing changes them afterwards."""

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from tamt_ray.methods.imp import Imp
from tamt_ray.methods.tamt import Tamt
from tamt_ray.objectives.kd import Kd
from tamt_ray.objectives.mlm import Mlm
from tamt_ray.spec.execution import Resources
from tamt_ray.spec.load import load_sweep, parse_sweep
from tamt_ray.spec.sweep import Sweep
from tamt_ray.tasks.classification import Classification
from tamt_ray.tasks.regression import Regression
from tamt_ray.tasks.spans import Spans
from tamt_ray.values.table import SourceRef, parse_source

SWEEPS = sorted((Path(__file__).parents[2] / "sweeps").glob("*.yaml"))
SMALL = """\
name: small
models: {mini: {source: "dir:m"}}
corpus:
  train: &text {source: "dir:a.txt", part: head}
  validation: {<<: *text, part: tail, tail: 0.2}
methods: [omp, {method: tamt_kd, name: kd, lr: 5e-5, eps: 1E-7, steps: {0.5: 1000, 0.25: 10}}]
sparsities: [0.5, 0.25]
search: {decay_steps: 1_000}
"""


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.name)
def test_the_sweeps_of_this_repository_load(path: Path) -> None:
    assert load_sweep(path).name == path.stem


def test_there_are_sweeps_to_load() -> None:
    assert {"quickstart.yaml", "main_results.yaml"} <= {path.name for path in SWEEPS}


def test_main_results_are_the_grid_of_the_paper() -> None:
    """The paper's models, sparsities, seeds, steps behind each sparsity, learning rates."""
    sweep = load_sweep(next(path for path in SWEEPS if path.name == "main_results.yaml"))
    assert list(sweep.models) == ["bert", "roberta"]
    assert [method.word for method in sweep.methods] == [
        "random", "omp", "imp", "tamt_mlm", "tamt_kd", "tamt_mlm_kd",
    ]  # fmt: skip
    assert sweep.sparsities == (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    assert sweep.mask_seeds == sweep.finetune_seeds == (1, 2, 3)
    imp, *tamt = sweep.methods[2:]
    assert isinstance(imp, Imp)
    assert (imp.step, imp.steps) == (0.1, 2792)
    for method, lr in zip(tamt, (5e-5, 2e-5, 5e-5), strict=True):
        assert isinstance(method, Tamt)
        assert method.lr == lr
        assert method.steps == dict(
            zip(
                sweep.sparsities,
                (3000, 6000, 8000, 11000, 14000, 17000, 20000, 22000),
                strict=True,
            )
        )
        assert (method.threshold, method.scale) == (0.01, 2.0)
    search = sweep.search
    assert (search.batch_size, search.decay_steps) == (16, 27920)
    kinds = {name: type(task) for name, task in sweep.tasks.items()}
    assert kinds == {
        **dict.fromkeys(("cola", "sst2", "mnli", "mrpc", "rte"), Classification),
        "stsb": Regression,
        "squad": Spans,
    }
    assert sweep.tasks["cola"].metric == "matthews"
    assert sweep.tasks["squad"].metric == "f1"


def test_anchors_and_merges() -> None:
    corpus = parse_sweep(SMALL).corpus
    assert (corpus.train.source, corpus.train.part) == ("dir:a.txt", "head")
    assert (corpus.validation.source, corpus.validation.part) == ("dir:a.txt", "tail")
    assert (corpus.train.tail, corpus.validation.tail) == (0.1, 0.2)


def test_numbers_in_exponent_notation_are_numbers() -> None:
    """YAML 1.1 alone makes strings of 5e-5 and 1E-7."""
    sweep = parse_sweep(SMALL)
    method = sweep.methods[1]
    assert isinstance(method, Tamt)
    assert method.lr == 0.00005
    assert sweep.methods[1].eps == 0.0000001  # pyright: ignore[reportAttributeAccessIssue]
    assert sweep.search.decay_steps == 1000


def test_a_date_is_a_word() -> None:
    assert parse_sweep(SMALL.replace("name: small", "name: 2026-02-31")).name == "2026-02-31"


def test_only_true_and_false_are_truth_values() -> None:
    """`no` and `yes` are classes; where a truth value is needed they still are one."""
    task = (
        "tasks: {no: {kind: classification, classes: [no, yes], text: [on], "
        'train: {source: "dir:a.csv", header: no}, validation: [{source: "dir:b.csv"}]}}\n'
    )
    sweep = parse_sweep(f"{SMALL}execution: {{deterministic: true}}\n{task}", "small.yaml")
    found = sweep.tasks["no"]
    assert isinstance(found, Classification)
    assert (found.classes, found.text, found.train.header) == (("no", "yes"), ("on",), False)
    assert sweep.execution.deterministic is True


def test_a_method_by_its_bare_name() -> None:
    methods = parse_sweep(SMALL).methods
    assert [(method.label, method.word, method.name) for method in methods] == [
        ("omp", "omp", "omp"),
        ("tamt", "tamt_kd", "kd"),
    ]


def tamt(entry: str) -> Tamt:
    text = SMALL.replace("[omp,", f"[{entry},").replace("[0.5, 0.25]", "[0.5]")
    found = parse_sweep(text).methods[0]
    assert isinstance(found, Tamt)
    return found


@pytest.mark.parametrize(
    ("alias", "objective"),
    [("tamt_mlm", "[mlm]"), ("tamt_kd", "[kd]"), ("tamt_mlm_kd", "[mlm, {objective: kd}]")],
)
def test_the_papers_three_are_names_for_their_loss_terms(alias: str, objective: str) -> None:
    spelled_out = tamt(f"{{method: tamt, objective: {objective}}}")
    assert spelled_out.model_copy(update={"name": alias}) == tamt(alias)
    assert spelled_out.word == alias
    assert spelled_out.name == "tamt"


def test_a_loss_term_has_a_weight_and_settings_of_its_own() -> None:
    mixed = tamt("{method: tamt, objective: [mlm, {objective: kd, weight: 0.5, pads: true}]}")
    assert mixed.objective == (Mlm(), Kd(weight=0.5, pads=True))
    assert mixed.word == "tamt", "weighted terms are none of the paper's three"


def test_steps_by_sparsity() -> None:
    method = parse_sweep(SMALL).methods[1]
    assert isinstance(method, Tamt)
    assert method.steps == {0.5: 1000, 0.25: 10}
    assert tamt("{method: tamt_mlm, steps: 7}").steps == 7


def test_nothing_changes_a_sweep() -> None:
    sweep = parse_sweep(SMALL)
    parts = [(sweep, "name"), (sweep.corpus, "column"), (sweep.models["mini"], "source"),
             (sweep.methods[0], "name"), (sweep.execution.search, "workers")]  # fmt: skip
    for part, field in parts:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(part, field, "x")


def test_a_sweep_survives_its_own_dump() -> None:
    sweep = parse_sweep(SMALL)
    assert Sweep.model_validate_json(sweep.model_dump_json()) == sweep


@pytest.mark.parametrize("gpus", [0, 1, 2, 0.5, 0.25, 0.125, 0.3333333, "auto"])
def test_shares_of_a_gpu_that_ray_packs_exactly(gpus: float | str) -> None:
    assert Resources.model_validate({"gpus": gpus}).gpus == gpus


@pytest.mark.parametrize("gpus", [0.3, 0.75, 1.5, -0.5, float("nan"), "all"])
def test_shares_that_it_does_not(gpus: float | str) -> None:
    with pytest.raises(ValidationError):
        Resources.model_validate({"gpus": gpus})


SHA = "a" * 64


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("hf:google-bert/bert-base-uncased", SourceRef("hf", name="google-bert/bert-base-uncased")),
        ("hf:gpt2", SourceRef("hf", name="gpt2")),
        ("hf:nyu-mll/glue#cola", SourceRef("hf", name="nyu-mll/glue", config="cola")),
        ("dir:/data/my texts/a.txt", SourceRef("dir", path="/data/my texts/a.txt")),
        ("dir:../x", SourceRef("dir", path="../x")),
        (f"pypi:a-b==1.0.3/a_b/data/x.csv#sha256={SHA}",
         SourceRef("pypi", "a-b", None, "1.0.3", "a_b/data/x.csv", SHA)),
        (f"pypi:v==3!1.0rc1+cu/in.tar.gz/x..y.txt#sha256={SHA}",
         SourceRef("pypi", "v", None, "3!1.0rc1+cu", "in.tar.gz/x..y.txt", SHA)),
    ],
)  # fmt: skip
def test_the_parts_of_a_source(text: str, ref: SourceRef) -> None:
    assert parse_source(text) == ref


def test_the_pinned_archives_of_the_quickstart() -> None:
    """Each archive that a sweep names carries one digest, and one only."""
    digests: dict[str, set[str]] = {}
    for path in SWEEPS:
        for text in re.findall(r"pypi:[^\"]+", path.read_text()):
            ref = parse_source(text)
            digests.setdefault(f"{ref.name}=={ref.version}", set()).add(ref.sha256)
    assert len(digests) == 3
    assert all(len(found) == 1 for found in digests.values()), digests
