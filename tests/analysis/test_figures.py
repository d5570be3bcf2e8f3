"""Figures: there where a sweep has the data, with the right numbers, the same bytes every time."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import stats

from tamt_ray.analysis.figures.catalogue import figures
from tamt_ray.analysis.figures.vega import Figure, javascript
from tamt_ray.analysis.report_data import ReportData, gather
from tamt_ray.analysis.results import main_rows
from tamt_ray.plan.expand import Plan
from tamt_ray.spec.sweep import Sweep

from .figure_cases import close, data, data_of, drawn, line, marks, mean, names, panels, subtitle

__all__ = ["data", "data_of", "drawn"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"sparsities": (0.7,), "checkpoints": (), "intervals": ()},
            ["main_results", "losses_by_sparsity", "mlm_loss_by_task", "kd_loss_by_task"],
        ),
        (
            {"tasks": ("cola",), "checkpoints": (), "intervals": ()},
            ["main_results", "pruning_alone", "losses_by_sparsity", "pretraining_vs_downstream"],
        ),
    ],
)
def test_a_small_sweep_shows_what_it_has(
    data_of: Callable[..., ReportData], changes: Mapping[str, object], expected: list[str]
) -> None:
    assert names(data_of(**changes)) == expected


def test_a_whole_sweep_shows_all(drawn: Mapping[str, Figure]) -> None:
    assert [(figure.name, figure.numbers) for figure in drawn.values()] == [
        ("main_results", "Fig. 3, 4"), ("pruning_alone", "Fig. 1, 10"),
        ("losses_by_sparsity_bert", "Fig. 5"), ("losses_by_sparsity_roberta", "Fig. 5"),
        ("mlm_loss_by_task_bert", "Fig. 12"), ("mlm_loss_by_task_roberta", "Fig. 12"),
        ("kd_loss_by_task_bert", "Fig. 13"), ("kd_loss_by_task_roberta", "Fig. 13"),
        ("pretraining_vs_downstream", ""),
        ("search_cost", "Fig. 6"), ("search_cost_by_task_60", "Fig. 14–16"),
        ("search_cost_by_task_70", "Fig. 14–16"), ("initialisation", "Fig. 7"),
        ("mask_distances_bert", "Fig. 8, 17"),
        ("distance_over_search", "Fig. 8"), ("training_sizes", "Fig. 9"),
        ("models_compared", "Fig. 11"), ("search_losses", ""), ("density", ""),
    ]  # fmt: skip
    assert all(figure.title and figure.caption.endswith(".") for figure in drawn.values())


def test_every_figure_can_be_drawn(drawn: Mapping[str, Figure]) -> None:
    for figure in drawn.values():
        assert figure.svg.startswith("<svg"), figure.name
        assert "undefined" not in figure.svg, figure.name


def test_nothing_measured_leaves_the_frames_of_the_main_figures(data: ReportData) -> None:
    empty = figures(gather(data.sweep, data.plan, {}, {}))
    assert {figure.name for figure in empty} == {"main_results", "pruning_alone", "models_compared"}
    for figure in empty:
        assert figure.svg.startswith("<svg"), figure.name
        assert "Infinity" not in figure.svg, figure.name


def test_one_sparsity_is_drawn_by_method(sweep: Sweep, plan: Plan, all_records: dict) -> None:
    (figure, *_) = figures(gather(sweep, plan, all_records, {}))
    found = panels(figure)
    assert list(found) == ["average over tasks", "stsb", "movies"]
    (panel,) = found["average over tasks"]
    shown = {row["method"]: row["mean"] for row in marks(panel, "text") if "mean" in row}
    assert list(shown) == ["full", "random", "omp", "imp", "tamt_kd"]
    assert shown["random"] == pytest.approx(29.3)
    # Two mask seeds and two fine-tuning seeds.
    assert len(marks(panel, "circle", "imp")) == 4


def test_missing_subnetwork_is_named(sweep: Sweep, plan: Plan, records: dict) -> None:
    for cell, unit in plan.cells["finetune"].items():
        if cell.method == "imp":
            del records[unit]
    (figure, *_) = figures(gather(sweep, plan, records, {}))
    for (panel,) in panels(figure).values():
        gone = [row["method"] for row in marks(panel, "text") if row.get("words") == "missing"]
        assert gone == ["imp"]
        assert not marks(panel, "point", "imp")


def test_partial_results_are_hollow(sweep: Sweep, plan: Plan, records: dict) -> None:
    unit = next(u for c, u in plan.cells["finetune"].items() if c.method == "imp")
    del records[unit]
    (figure, *_) = figures(gather(sweep, plan, records, {}))
    (panel,) = panels(figure)["average over tasks"]
    hollow = [
        row["method"]
        for layer in panel["layer"]
        if layer["mark"].get("filled") is False
        for row in layer["data"]["values"]
    ]
    assert hollow == ["imp"]


def test_several_sparsities_are_lines(data: ReportData, drawn: Mapping[str, Figure]) -> None:
    (panel,) = panels(drawn["main_results"], "bert")["cola"]
    for method in ("omp", "imp", "tamt_kd"):
        scores = data.averages.filter(model="bert", method=method, task="cola")["mean"].to_list()
        x, y = line(panel, method)
        assert x == [60, 70]
        assert close(y, scores)
    (dense,) = marks(panel, "rule", "full")
    assert dense["mean"] == pytest.approx(mean(data.averages, model="bert", method="full",
                                               task="cola"), abs=1e-3)  # fmt: skip


def test_a_constant_answer_in_reach_is_a_line(sweep: Sweep, plan: Plan, records: dict) -> None:
    for cell, unit in plan.cells["finetune"].items():
        if cell.task == "movies":
            metrics = {**records[unit].metrics, "baseline/accuracy": 0.4}
            records[unit] = records[unit].model_copy(update={"metrics": metrics})
    (figure, *_) = figures(gather(sweep, plan, records, {}))
    (panel,) = panels(figure)["movies"]
    assert [row["value"] for row in marks(panel, "rule") if "value" in row] == [40.0]
    below = next(row for row in marks(panel, "point", "random"))
    assert below["beside"] == "≤ constant answer"


def test_wide_bands_do_not_dwarf_the_means(data: ReportData, drawn: Mapping[str, Figure]) -> None:
    """A panel reaches no further than the span of its means on either side of them."""
    for title, (panel,) in panels(drawn["main_results"], "bert").items():
        task = "(average)" if title.startswith("average") else title
        means = data.averages.filter(model="bert", task=task)["mean"].drop_nulls()
        span = max(1.0, float(means.max()) - float(means.min()))
        low, high = panel["layer"][1]["encoding"]["y"]["scale"]["domain"]
        assert low >= float(means.min()) - 1.2 * span
        assert high <= float(means.max()) + 1.2 * span


def test_pruning_alone_shows_scores_and_losses(
    data: ReportData, drawn: Mapping[str, Figure]
) -> None:
    found = panels(drawn["pruning_alone"], "bert")
    omp = data.losses.filter(model="bert", method="omp")["mlm_loss"].to_list()
    assert close(line(found["MLM loss (nats)"][0], "omp")[1], omp)
    scores = data.averages.filter(model="bert", method="omp", task="cola")["mean"].to_list()
    assert close(line(found["cola"][0], "omp")[1], scores)
    assert "imp" not in json.dumps(drawn["pruning_alone"].spec)


def test_score_over_iterations_and_over_seconds(
    data: ReportData, drawn: Mapping[str, Figure]
) -> None:
    steps, seconds = panels(drawn["search_cost_by_task_70"], "bert")["cola"]
    imp = main_rows(data.results.downstream, ["checkpoint"]).filter(
        model="bert", method="imp", sparsity=0.7, task="cola"
    )
    at = {n: 100 * part["best"].mean() for (n,), part in imp.group_by("iterations")}
    x, y = line(steps, "imp", "iterations")
    assert x == [3000, 16752]
    assert close(y, [at[3000], at[16752]])
    # A tenth of 1.3 seconds a step.
    assert close(line(seconds, "imp", "seconds")[0], [390, 2177.76])
    assert seconds["layer"][0]["encoding"]["x"]["title"] == "search time (s) on NVIDIA A100"
    omp = mean(data.averages, model="bert", method="omp", sparsity=0.7, task="cola")
    assert [row["mean"] for row in marks(steps, "rule", "omp")] == [pytest.approx(omp, abs=1e-3)]


def test_random_start_is_dashed_beside_the_start_from_omp(drawn: Mapping[str, Figure]) -> None:
    (panel,) = panels(drawn["initialisation"], "bert")["70 %"]
    rows = marks(panel, "line", "tamt_kd")
    by_start = {
        start: [row["mean"] for row in rows if row["start"] == start]
        for start in ("from OMP", "from a random mask")
    }
    assert sorted({row["iterations"] for row in rows}) == [1000, 17000]
    # The grid's formula makes the start from a random mask the worse one.
    assert by_start["from OMP"][1] > by_start["from a random mask"][1]
    dashes = panel["layer"][1]["encoding"]["strokeDash"]["scale"]
    assert dashes == {"domain": ["from OMP", "from a random mask"], "range": [[1, 0], [6, 3]]}


def test_training_sizes_end_with_all_data(data: ReportData, drawn: Mapping[str, Figure]) -> None:
    found = panels(drawn["training_sizes"], "bert")
    (panel,) = found["cola, 70 %"]
    assert panel["layer"][0]["encoding"]["x"]["sort"] == ["1k", "5k", "all"]
    dense = data.results.downstream.filter(model="bert", method="full", task="cola")
    by_size = [
        100 * dense.filter(pl.col("train_size").eq_missing(size))["best"].mean()
        for size in (1000, 5000, None)
    ]
    rows = {row["size"]: row["mean"] for row in marks(panel, "line", "full")}
    assert close([rows[size] for size in ("1k", "5k", "all")], by_size)
    assert not [title for title in found if "stsb" in title]


def test_models_have_dashes_of_their_own(data: ReportData, drawn: Mapping[str, Figure]) -> None:
    (panel,) = panels(drawn["models_compared"])["cola"]
    assert panel["layer"][1]["encoding"]["strokeDash"]["scale"]["domain"] == ["bert", "roberta"]
    for model in ("bert", "roberta"):
        rows = data.averages.filter(model=model, task="cola")
        omp = [row["mean"] for row in marks(panel, "line", "omp") if row["model"] == model]
        assert close(omp, rows.filter(method="omp")["mean"].to_list())
        (dense,) = [row for row in marks(panel, "rule", "full") if row["model"] == model]
        assert dense["mean"] == pytest.approx(mean(rows, method="full"), abs=1e-3)


def test_losses_against_scores_with_published_boxes(
    data: ReportData, drawn: Mapping[str, Figure]
) -> None:
    mlm, _ = panels(drawn["losses_by_sparsity_bert"])["70 %"]
    box = next(row for row in marks(mlm, "rect") if row["method"] == "tamt_kd")
    assert (box["mlm_loss_low"], box["mlm_loss_high"]) == (4.05, 9.2)
    assert (box["avg_low"], box["avg_high"]) == (61.9, 74.3)
    for name, title in (("bert", "60 %"), ("roberta", "70 %")):
        assert not marks(panels(drawn[f"losses_by_sparsity_{name}"])[title][0], "rect")
    imp = data.points.filter(
        pl.col("checkpoint").is_null(), model="bert", method="imp", sparsity=0.7, task="(average)"
    )
    rows = [row for row in marks(mlm, "point", "imp") if row["checkpoint"] is None]
    assert close([row["score"] for row in rows], imp["score"].to_list())
    assert close([row["mlm_loss"] for row in rows], imp["mlm_loss"].to_list())
    r = mean(
        data.correlations, "value", model="bert", task="(average)", loss="mlm_loss",
        scope="chosen", sparsity=0.7, statistic="pearson",
    )  # fmt: skip
    assert f"without random r −{abs(r):.2f}" in subtitle(mlm)


def test_few_points_are_marked(sweep: Sweep, plan: Plan, all_records: dict, data: ReportData,
                               drawn: Mapping[str, Figure]) -> None:  # fmt: skip
    """OMP has one mask, three methods have two: seven points."""
    small = {figure.name: figure.weak for figure in figures(gather(sweep, plan, all_records, {}))}
    assert small["losses_by_sparsity"] == "7 points"
    assert drawn["losses_by_sparsity_bert"].weak == ""


def test_a_method_far_from_all_others_is_named_and_left_outside(
    data_of: Callable[..., ReportData],
) -> None:
    data = data_of(sparsities=(0.3,), checkpoints=(), intervals=())
    figure = next(figure for figure in figures(data) if figure.name == "losses_by_sparsity")
    mlm, _ = panels(figure)["30 %"]
    random = data.points.filter(method="random", task="(average)")
    words = f"random, {random['score'].mean():.1f} % at {random['mlm_loss'].mean():.3g}"
    assert f"outside: {words}" in subtitle(mlm)
    low, _ = mlm["layer"][0]["encoding"]["y"]["scale"]["domain"]
    assert random["score"].max() < low


def test_distances_between_masks(drawn: Mapping[str, Figure]) -> None:
    (panel,) = panels(drawn["mask_distances_bert"])["70 %"]
    found = {(row["a"], row["b"]): row["macro"] for row in marks(panel, "rect")}
    assert found["omp", "imp·1"] == found["imp·1", "omp"] == 0.2
    assert found["imp·1", "imp·2"] == 0.1
    assert len(found) == 4 * 3


def test_curves_of_searches(drawn: Mapping[str, Figure]) -> None:
    (density,) = panels(drawn["density"])["70 %"]
    rows = marks(density, "line", "tamt_kd")
    assert close([row["value"] for row in rows], [30, 32])
    # As asked.
    assert [row["value"] for row in marks(density, "rule")] == [pytest.approx(30)]
    (losses,) = panels(drawn["search_losses"])["70 %"]
    assert losses["layer"][0]["encoding"]["y"]["title"] == "KD loss (cosine distance)"
    assert close([row["value"] for row in marks(losses, "line", "tamt_kd")], [0.5, 0.4])


def test_distance_from_omp_over_the_search(drawn: Mapping[str, Figure]) -> None:
    """After 1,000 steps the mean of three masks, with their t interval; at the end one mask."""
    (panel,) = panels(drawn["distance_over_search"])["70 %"]
    x, y = line(panel, "tamt_kd", "iterations")
    assert x == [1000, 17_000]
    assert close(y, [0.08, 0.4])
    reach = stats.t.ppf(0.975, 2) * np.std([0.05, 0.07, 0.12], ddof=1) / 3**0.5
    (band,) = marks(panel, "area", "tamt_kd")
    assert (band["low"], band["high"]) == pytest.approx((0.08 - reach, 0.08 + reach), abs=1e-5)


def test_same_records_same_bytes(data_of: Callable[..., ReportData]) -> None:
    first, second = (figures(data_of(sparsities=(0.7,), intervals=())) for _ in range(2))
    assert [figure.spec for figure in first] == [figure.spec for figure in second]
    assert first[0].svg == second[0].svg


def test_a_figure_is_saved_in_four_formats(drawn: Mapping[str, Figure], tmp_path: Path) -> None:
    begin = {"svg": b"<svg", "pdf": b"%PDF", "png": b"\x89PNG", "json": b"{"}
    for ending, start in begin.items():
        drawn["density"].save(tmp_path / f"a.{ending}")
        assert (tmp_path / f"a.{ending}").read_bytes().startswith(start)
    with pytest.raises(ValueError, match="no ending is not"):
        drawn["density"].save(tmp_path / "a")


def test_the_script_of_the_charts_ends_no_script_element() -> None:
    assert "</script" not in javascript().lower()
    assert "<!--" not in javascript()
