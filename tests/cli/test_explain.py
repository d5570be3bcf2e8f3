"""`tamt explain` of a whole sweep: settings with their origin, and what is pruned."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tamt_ray.cli.app import app


@pytest.fixture
def file(tmp_path: Path, model_dir: Path) -> Path:
    path = tmp_path / "sweep.yaml"
    path.write_text(
        f"""\
name: small
store: {tmp_path}/results
models: {{tiny: {{source: "dir:{model_dir}", prune: ["*.query.*", "*word*"]}}}}
corpus: {{train: {{source: "dir:a.txt"}}, validation: {{source: "dir:b.txt"}}}}
methods: [omp, {{method: tamt_kd, recipe: released_code, lr: 1e-3}}]
sparsities: [0.5]
"""
    )
    return path


def lines(*words: object) -> dict[str, list[str]]:
    """Each printed line by its first word."""
    said = CliRunner().invoke(app, list(map(str, words)))
    assert said.exit_code == 0, said.output
    return {line.split()[0]: line.split() for line in said.stdout.splitlines() if line.strip()}


def test_every_setting_names_its_origin(file: Path) -> None:
    found = lines("explain", file)
    assert found["lr"] == ["lr", "0.001", "sweep", "file"]
    assert found["rerank_every"] == ["rerank_every", "100", "recipe", "released_code"]
    assert found["scale"] == ["scale", "2.0", "recipe", "paper"]
    assert found["decay_steps"] == ["decay_steps", "42700", "recipe", "released_code"]


def test_the_same_as_json(file: Path) -> None:
    def said(*words: str) -> dict[str, dict[str, object]]:
        return json.loads(CliRunner().invoke(app, ["explain", str(file), "--json", *words]).stdout)

    parts = said()
    method = parts["method tamt_kd (tamt_kd, recipe released_code)"]
    assert method["lr"] == {"value": 0.001, "from": "sweep file"}
    assert method["rerank_every"] == {"value": 100, "from": "recipe released_code"}
    assert parts["search"]["decay_steps"] == {"value": 27920, "from": "default"}
    assert len(said("--matrices")["tiny"]) == 3


def test_the_matrices_that_are_pruned(file: Path) -> None:
    """Two layers of hidden size h: one query matrix each, and the word embedding."""
    found = lines("explain", file, "--matrices")
    names = [name for name in found if name.endswith(".weight")]
    assert len(names) == 3
    assert {name.rsplit(".", 2)[-2] for name in names} == {"query", "word_embeddings"}
    for name in names:
        rows, columns, weights = (int(word.replace(",", "")) for word in found[name][1:])
        assert rows * columns == weights
    assert not (file.parent / "results").exists()


def test_a_pattern_that_fits_nothing_is_refused_with_the_names(file: Path) -> None:
    file.write_text(file.read_text().replace('["*.query.*", "*word*"]', '["*.qeury.*"]'))
    said = CliRunner().invoke(app, ["explain", str(file), "--matrices"])
    assert said.exit_code == 2
    assert "query" in said.stderr
