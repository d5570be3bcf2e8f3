"""A sweep in a notebook: its records as data frames, masks and models."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from typer.testing import CliRunner

import tamt_ray
from tamt_ray.api import SweepResults
from tamt_ray.cli.app import app
from tamt_ray.execution.worker.unit_runner import UnitRunner
from tamt_ray.plan.expand import Plan, expand
from tamt_ray.search.process_group import ProcessGroup
from tamt_ray.spec.sweep import Sweep
from tamt_ray.store.record import Record
from tamt_ray.store.store import Store
from tamt_ray.tasks.metrics.base import metrics_of

Made = tuple[Path, Plan, dict[str, Record]]


@pytest.fixture
def made(toy: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    """The toy with two methods, all of it done but the last fine-tune."""
    monkeypatch.setenv("TAMT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TAMT_MIRROR", raising=False)
    toy["methods"] = ["omp", {"method": "tamt_kd", "steps": 3, "lr": 5e-3}]
    file = tmp_path / "toy.yaml"
    file.write_text(yaml.safe_dump(toy))
    plan, bench = (
        expand(Sweep.model_validate(toy)),
        UnitRunner(Store(toy["store"]), ProcessGroup(), "here"),
    )
    units = list(plan.units.values())
    last = [unit for unit in units if unit.kind == "finetune"][-1]
    return file, plan, {unit.id: bench.perform(unit) for unit in units if unit is not last}


def test_a_sweep_is_three_lines_of_data_frames(made: Made) -> None:
    file, plan, records = made
    results = tamt_ray.load(file)
    assert isinstance(results, SweepResults)
    scores = results.scores
    assert scores["method"].to_list() == ["full", "omp", "tamt_kd"]
    known = [records[u.id].metrics["best/accuracy/accuracy"] for u in plan.units.values()
             if u.kind == "finetune" and u.id in records]  # fmt: skip
    assert scores["score"].to_list() == [*known, None]
    lines = (file.parent / "validation.jsonl").read_text().splitlines()
    labels = [json.loads(line)["label"] for line in lines]
    most = max(labels.count(0), labels.count(1)) / len(labels)
    assert scores["baseline/accuracy"].to_list() == [most, most, None]
    assert results.losses.filter(method="full")["kd_loss"].to_list() == [0]
    assert results.masks["zeros"].to_list() == [
        records[unit.id].metrics["zeros"] for unit in plan.units.values() if unit.kind == "search"
    ]
    steps = results.searches.filter(name="kd_loss")["step"].to_list()
    assert steps == [1, 2, 3]
    assert results.averages.filter(task="words")["mean"].to_list() == [*known, None]
    assert results.differences("words")["reason"].item()
    assert "toy: 7 of 8 units" in results._repr_html_()


def test_every_column_is_documented_and_every_documented_one_is_there(made: Made) -> None:
    results = tamt_ray.load(made[0])
    page = (Path(__file__).parents[2] / "docs" / "python.md").read_text()
    section = page.partition("## Columns")[2].partition("## Running")[0]
    labels, _, table = section.partition("| frame |")
    common = set(re.findall(r"`([\w/]+)`", labels))
    rows = {
        row.split("`")[1].removesuffix("()"): row for row in table.splitlines()[2:] if "`" in row
    }
    frames = {
        name: getattr(results, name)
        for name in ("scores", "losses", "masks", "searches", "averages")
    } | {"differences": results.differences("words")}
    assert rows.keys() == frames.keys()
    seen: set[str] = set()
    for name, frame in frames.items():
        # Behind its own name.
        own = set(re.findall(r"`([\w/]+)`", rows[name].split("|", 2)[2]))
        metrics = set(metrics_of("classes")) if name == "scores" else set()
        columns = {c for c in frame.columns if not c.startswith("baseline/")} - metrics
        assert columns <= own | common, name
        assert own - {"task"} <= columns, name
        seen |= columns
    assert common <= seen


def test_masks_and_models_are_those_of_the_store(made: Made) -> None:
    file, _, _ = made
    results = tamt_ray.load(file)
    mask, model = results.mask("tamt_kd", 0.5, seed=1), results.model("tamt_kd", 0.5)
    for name, keep in mask.items():
        assert torch.equal(model.get_parameter(name) != 0, keep)
    with pytest.raises(LookupError, match="did you mean `omp`"):
        results.mask("opm", 0.5)
    with pytest.raises(LookupError, match=r"0 masks of omp are meant; there are: \w+ omp 0.5$"):
        results.mask("omp", 0.7)


def test_results_are_those_of_the_settings_laid_over(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run returns the results of the sweep that it ran."""
    file, _, _ = made
    monkeypatch.setattr("tamt_ray.api.follow_run", lambda *_given: (0, ""))
    more = ("--set", "sparsities=[0.7]", "--fail-fast", "--set=finetune_seeds=[9]")
    for results in (
        tamt_ray.load(file, "sparsities=[0.7]", "finetune_seeds=[9]"),
        tamt_ray.run(file, *more),
    ):
        scores = results.scores
        assert set(scores["sparsity"].to_list()) == {0.0, 0.7}
        assert set(scores["seed"].to_list()) == {9}
        assert scores["score"].null_count() == len(scores)


@pytest.mark.parametrize("form", ["", "markdown", "latex", "csv", "json"])
def test_the_table_of_scores_in_every_form(made: Made, form: str) -> None:
    file, _, _ = made
    said = CliRunner().invoke(app, ["results", str(file), *([f"--{form}"] if form else [])])
    assert said.exit_code == 0
    score = tamt_ray.load(file).scores["score"][1]
    if form in {"csv", "json"}:
        assert str(score) in said.stdout
    else:
        assert f"{score * 100:.1f}" in said.stdout


def test_predictions_of_two_subnetworks_are_compared(made: Made) -> None:
    file, _, _ = made
    results = tamt_ray.load(file)
    units = dict(results.scores.select("method", "unit").iter_rows())
    best = dict(results.scores.select("method", "best_step").iter_rows())
    right = []
    for method in ("omp", "full"):
        answers = results.predictions(units[method])
        assert set(answers.columns) == {"example", "half", "step", "gold", "predicted"}
        chosen = answers.filter(step=best[method])
        right.append((chosen["gold"] == chosen["predicted"]).to_list())
        assert sum(right[-1]) / len(right[-1]) == results.scores.filter(method=method)["score"][0]
    row = results.mcnemar("omp", "full").to_dicts()[0]
    pairs = list(zip(*right, strict=True))
    assert (row["both"], row["only_a"]) == (pairs.count((True, True)), pairs.count((True, False)))
    assert (row["sparsity"], row["reason"]) == (0.5, "")
    missing = results.mcnemar("tamt_kd", "omp").to_dicts()[0]
    assert (missing["p"], missing["reason"]) == (None, "this fine-tune is not done")
    with pytest.raises(LookupError, match="tamt_kd"):
        results.mcnemar("tamt_kb", "omp")
    with pytest.raises(LookupError, match="not done"):
        results.predictions(units["tamt_kd"])
