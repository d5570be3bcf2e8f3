"""Figures: the right panels with the right marks, the same bytes every time."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tamt_ray.analysis.figures.layout import add_legend, method_handles
from tamt_ray.analysis.figures.main import main_results, pretraining_vs_downstream, to_png, to_svg
from tamt_ray.analysis.figures.palette import method_styles
from tamt_ray.analysis.figures.panels import spread_out
from tamt_ray.analysis.results import Results, collect
from tamt_ray.analysis.stats.averages import averages, runs
from tamt_ray.analysis.stats.correlation import correlations, points
from tamt_ray.plan.expand import Plan, expand
from tamt_ray.spec.sweep import Sweep


def drawn(results: Results) -> tuple:
    each = runs(results.downstream)
    cloud = points(results)
    return (
        main_results(averages(each), each),
        pretraining_vs_downstream(cloud, correlations(cloud, draws=50)),
    )


def words(figure: object) -> str:
    return " ".join(text.get_text() for text in figure.findobj(lambda a: hasattr(a, "get_text")))


def test_one_sparsity_is_drawn_by_method(plan: Plan, records: dict) -> None:
    figure, _ = drawn(collect(plan, records))
    panels = [axes for block in figure.subfigs for axes in block.axes]
    assert [axes.get_title() for axes in panels] == ["average over tasks", "stsb", "movies"]
    labels = [label.get_text() for label in panels[0].get_yticklabels()]
    assert labels == ["tamt_kd", "imp", "omp", "random", "full"]
    assert "31.8" in words(figure)


def test_several_sparsities_are_lines_labelled_at_their_end(sweep: Sweep, fill: Callable) -> None:
    plan = expand(sweep.model_copy(update={"sparsities": (0.3, 0.5, 0.7)}))
    figure, _ = drawn(collect(plan, fill(plan)))
    panels = [axes for block in figure.subfigs for axes in block.axes]
    text = words(panels[0])
    for method in ("full", "random", "omp", "imp", "tamt_kd"):
        assert method in text
    lines = [line for line in panels[1].lines if len(line.get_xdata()) == 3]
    assert any(np.allclose(line.get_xdata(), [30, 50, 70]) for line in lines)


def test_missing_subnetwork_is_named(plan: Plan, records: dict) -> None:
    for cell, unit in plan.cells["finetune"].items():
        if cell.method == "imp":
            del records[unit]
    figure, _ = drawn(collect(plan, records))
    assert words(figure).count("missing") == 3


@pytest.mark.parametrize("sparsities", [(0.5,), (0.3, 0.5)])
def test_nothing_measured_yet_still_draws(sweep: Sweep, sparsities: tuple[float, ...]) -> None:
    plan = expand(sweep.model_copy(update={"sparsities": sparsities}))
    main, cloud = drawn(collect(plan, {}))
    assert to_png(main).startswith(b"\x89PNG")
    assert "0 of at least 3 points" in words(cloud)
    assert to_png(cloud).startswith(b"\x89PNG")


def test_correlations_stand_over_the_panel(plan: Plan, records: dict) -> None:
    results = collect(plan, records)
    table = correlations(points(results), draws=50)
    _, figure = drawn(results)
    row = table.filter((pl.col("task") == "(average)") & (pl.col("loss") == "kd_loss")).row(
        0, named=True
    )
    assert f"r −{abs(row['value']):.2f}" in words(figure)
    assert "n = 8" in words(figure)


def test_same_numbers_same_bytes(plan: Plan, records: dict) -> None:
    results = collect(plan, records)
    for first, second in zip(drawn(results), drawn(results), strict=True):
        assert to_svg(first) == to_svg(second)
        assert to_png(first) == to_png(second)


def test_a_method_looks_the_same_whatever_else_is_drawn() -> None:
    alone, together = method_styles(["imp"]), method_styles(["mine", "omp", "imp", "other"])
    assert alone["imp"] == together["imp"]
    assert len({colour for colour, _ in together.values()}) == 4


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_labels_are_kept_apart(places: list[float]) -> None:
    moved = spread_out(sorted(places), 0.1)
    assert max(moved) <= 1 + 1e-9
    assert all(above - below >= 0.1 - 1e-9 for below, above in pairwise(moved))


def test_a_legend_of_long_names_stays_inside_a_narrow_figure() -> None:
    """Each column is as wide as its longest name, in a figure with one small panel."""
    names = [f"{name}{more}" for name in ("tamt_mlm", "tamt_kd", "tamt_mlm_kd", "imp")
             for more in ("", "_released")]  # fmt: skip
    figure = Figure(figsize=(6, 4))
    add_legend(figure, method_handles(names))
    figure.canvas = FigureCanvasAgg(figure)
    figure.canvas.draw()
    (legend,) = figure.legends
    box = legend.get_window_extent()
    assert 0 <= box.x0 < box.x1 <= figure.bbox.width
