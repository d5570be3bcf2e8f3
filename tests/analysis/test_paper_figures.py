"""The paper's figures: there where a sweep has the data, with the right numbers in them."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import combinations

import numpy as np
import polars as pl
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from tamt_ray.analysis.claims.published import read_published
from tamt_ray.analysis.figures.main import to_png, to_svg
from tamt_ray.analysis.figures.palette import method_styles
from tamt_ray.analysis.figures.paper_figures import PaperFigure, paper_figures
from tamt_ray.analysis.report_data import ReportData, gather
from tamt_ray.analysis.results import main_rows
from tamt_ray.plan.expand import expand
from tamt_ray.spec.load import parse_sweep

PUBLISHED = """method,sparsity,avg_low,avg_high,mlm_loss_low,mlm_loss_high,kd_loss_low,kd_loss_high
omp,0.7,54.4,54.4,8.6,8.6,0.531,0.531
tamt_kd,0.7,61.9,74.3,4.05,9.2,0.125,0.276
"""


@pytest.fixture(scope="module")
def material_of(grid_text: Callable[..., str], fill_grid: Callable) -> Callable[..., ReportData]:
    def build(**changes: object) -> ReportData:
        small = {"tasks": ("cola", "stsb"), "sparsities": (0.6, 0.7), "checkpoints": (1000,)}
        sweep = parse_sweep(grid_text(**{**small, **changes}))
        plan = expand(sweep)
        return gather(sweep, plan, fill_grid(plan), {})

    return build


@pytest.fixture(scope="module")
def material(material_of: Callable[..., ReportData]) -> ReportData:
    """Two models, two tasks, one of them with less data too, and everything that can be added."""
    bare = material_of(models=("bert", "roberta"), reduced={"cola": (5000, 1000)})
    return replace(
        bare,
        published=read_published(PUBLISHED, "figure5.csv"),
        distances=_distances(),
        histories=_histories(bare.searches),
    )


@pytest.fixture(scope="module")
def found(material: ReportData) -> list[PaperFigure]:
    return paper_figures(material)


@pytest.fixture(scope="module")
def figures(found: list[PaperFigure]) -> dict[str, Figure]:
    return {figure.name: figure.figure for figure in found}


def _distances() -> pl.DataFrame:
    """Four final masks, and three of TAMT-KD on the way, each of a seed of its own."""
    masks = [("omp", None, None), ("imp", 1, None), ("imp", 2, None), ("tamt_kd", 1, None)]
    values = zip(combinations(masks, 2), (0.2, 0.3, 0.4, 0.1, 0.5, 0.6), strict=True)
    rows = [(*pair, value) for pair, value in values]
    rows += [
        (("omp", None, None), ("tamt_kd", seed, 1000), value)
        for seed, value in ((1, 0.05), (2, 0.07), (3, 0.12))
    ]

    def label(mask: tuple) -> str:
        return "·".join(str(part) for part in mask if part is not None)

    return pl.DataFrame(
        [("bert", 0.7, label(a), label(b), *a, *b, value, 0.0) for a, b, value in rows],
        schema={
            "model": pl.String, "sparsity": pl.Float64, "a": pl.String, "b": pl.String,
            "method_a": pl.String, "seed_a": pl.Int64, "checkpoint_a": pl.Int64,
            "method_b": pl.String, "seed_b": pl.Int64, "checkpoint_b": pl.Int64,
            "macro": pl.Float64, "global": pl.Float64,
        },
        orient="row",
    )  # fmt: skip


def _histories(searches: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Of one method at one sparsity; density goes up by the mask seed in percent."""
    chosen = searches.filter(
        pl.col("checkpoint").is_null(), method="tamt_kd", sparsity=0.7, model="bert"
    )
    return {
        unit: pl.DataFrame(
            {"step": [50, 100, 50, 100], "name": ["density"] * 2 + ["kd_loss"] * 2,
             "value": [0.3, 0.3 + 0.01 * seed, 0.5, 0.4]}
        )
        for unit, seed in chosen.select("unit", "mask_seed").iter_rows()
    }  # fmt: skip


def drawn(material: ReportData) -> dict[str, Figure]:
    return {figure.name: figure.figure for figure in paper_figures(material)}


def panel(figure: Figure, title: str, number: int = 0) -> Axes:
    """The panel under a title, or the one `number` below it."""
    titles = [
        " ".join(axes.get_title(loc=loc) for loc in ("left", "center")).strip()
        for axes in figure.axes
    ]
    return figure.axes[titles.index(title) + number]


def lines(axes: Axes) -> list[tuple[list[float], list[float]]]:
    """x and y of every line with a stroke."""
    return [
        (list(line.get_xdata()), list(line.get_ydata()))
        for line in axes.lines
        if line.get_linestyle() != "None"
    ]


def texts(figure: Figure) -> str:
    return "\n".join(
        text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))
    )


def mean(table: pl.DataFrame, name: str = "mean", **where: object) -> float:
    return table.filter(**where)[name][0]


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        (
            {"sparsities": (0.7,), "checkpoints": (), "intervals": ()},
            ["main_results", "losses_by_sparsity", "mlm_loss_by_task", "kd_loss_by_task"],
        ),
        (
            {"tasks": ("cola",), "checkpoints": (), "intervals": ()},
            ["main_results", "pruning_alone", "losses_by_sparsity"],
        ),
    ],
)
def test_a_small_sweep_shows_what_it_has(
    material_of: Callable[..., ReportData], changes: Mapping[str, object], names: list[str]
) -> None:
    assert list(drawn(material_of(**changes))) == names


def test_a_whole_sweep_shows_all(found: list[PaperFigure]) -> None:
    assert [(figure.name, figure.numbers) for figure in found] == [
        ("main_results", "Fig. 3, 4"), ("pruning_alone", "Fig. 1, 10"),
        ("losses_by_sparsity_bert", "Fig. 5"), ("mlm_loss_by_task_bert", "Fig. 12"),
        ("kd_loss_by_task_bert", "Fig. 13"), ("losses_by_sparsity_roberta", "Fig. 5"),
        ("mlm_loss_by_task_roberta", "Fig. 12"), ("kd_loss_by_task_roberta", "Fig. 13"),
        ("search_cost", "Fig. 6"), ("search_cost_by_task_60", "Fig. 14–16"),
        ("search_cost_by_task_70", "Fig. 14–16"), ("initialisation", "Fig. 7"),
        ("mask_distances_bert", "Fig. 8, 17"),
        ("distance_over_search", "Fig. 8"), ("training_sizes", "Fig. 9"),
        ("models_compared", "Fig. 11"), ("search_losses", ""), ("density", ""),
    ]  # fmt: skip
    assert all(figure.title and figure.caption.endswith(".") for figure in found)


def test_nothing_measured_leaves_the_frames_of_the_main_figures(material: ReportData) -> None:
    empty = gather(material.sweep, material.plan, {}, {})
    assert set(drawn(empty)) == {"main_results", "pruning_alone", "models_compared"}


def test_pruning_alone_shows_scores_and_losses(
    material: ReportData, figures: dict[str, Figure]
) -> None:
    figure = figures["pruning_alone"]
    omp = material.losses.filter(model="bert", method="omp")
    assert ([60.0, 70.0], omp["mlm_loss"].to_list()) in lines(panel(figure, "MLM loss (nats)"))
    scores = material.averages.filter(model="bert", method="omp", task="cola")["mean"].to_list()
    assert ([60.0, 70.0], scores) in lines(panel(figure, "cola (%)"))
    assert "imp" not in texts(figure)


def test_score_over_iterations_and_over_seconds(
    material: ReportData, figures: dict[str, Figure]
) -> None:
    figure = figures["search_cost_by_task_70"]
    imp = main_rows(material.results.downstream, ["checkpoint"]).filter(
        model="bert", method="imp", sparsity=0.7, task="cola"
    )
    at = {n: 100 * part["best"].mean() for (n,), part in imp.group_by("iterations")}
    expected = [at[3000], at[16752]]
    over_steps, over_time = (lines(panel(figure, "cola", below)) for below in (0, 1))
    assert any(x == [3000, 16752] and np.allclose(y, expected) for x, y in over_steps)
    # A tenth of 1.3 seconds a step.
    assert any(np.allclose(x, [390, 2177.76]) and np.allclose(y, expected) for x, y in over_time)
    assert "search time (s) on NVIDIA A100" in texts(figure)
    omp = mean(material.averages, model="bert", method="omp", sparsity=0.7, task="cola")
    assert any(np.allclose(y, omp) for _, y in over_steps)


def test_random_start_is_dashed_beside_the_start_from_omp(figures: dict[str, Figure]) -> None:
    axes = panel(figures["initialisation"], "70 %")
    strokes = [line for line in axes.lines if line.get_linestyle() != "None"]
    assert [line.get_linestyle() for line in strokes] == ["-", "--"]
    assert all(list(line.get_xdata()) == [1000, 17000] for line in strokes)
    assert {line.get_color() for line in strokes} == {strokes[0].get_color()}
    # The grid's formula makes the start from a random mask the worse one.
    assert strokes[0].get_ydata()[1] > strokes[1].get_ydata()[1]


def test_training_sizes_end_with_all_data(material: ReportData, figures: dict[str, Figure]) -> None:
    axes = panel(figures["training_sizes"], "cola, 70 %")
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1k", "5k", "all"]
    dense = material.results.downstream.filter(model="bert", method="full", task="cola")
    by_size = [
        100 * dense.filter(pl.col("train_size").eq_missing(size))["best"].mean()
        for size in (1000, 5000, None)
    ]
    assert any(np.allclose(y, by_size) for _, y in lines(axes))
    assert "stsb" not in texts(figures["training_sizes"])


def test_models_have_dashes_of_their_own(material: ReportData, figures: dict[str, Figure]) -> None:
    axes = panel(figures["models_compared"], "cola (%)")
    strokes = {
        tuple(line.get_ydata()): line.get_linestyle()
        for line in axes.lines
        if line.get_linestyle() != "None"
    }
    for model, dashes in (("bert", "-"), ("roberta", "--")):
        rows = material.averages.filter(model=model, task="cola")
        assert strokes[tuple(rows.filter(method="omp")["mean"])] == dashes
        assert strokes[(mean(rows, method="full"),) * 2] == dashes


def test_losses_against_scores_with_published_boxes(
    material: ReportData, figures: dict[str, Figure]
) -> None:
    axes = panel(figures["losses_by_sparsity_bert"], "70 %")
    box = ([4.05, 9.2, 9.2, 4.05, 4.05], [61.9, 61.9, 74.3, 74.3, 61.9])
    assert box in lines(axes)
    assert lines(panel(figures["losses_by_sparsity_bert"], "60 %")) == []
    assert lines(panel(figures["losses_by_sparsity_roberta"], "70 %")) == []
    imp = material.points.filter(
        pl.col("checkpoint").is_null(), model="bert", method="imp", sparsity=0.7, task="(average)"
    )
    marked = [line for line in axes.lines if len(line.get_xdata()) == 3]
    assert any(np.allclose(line.get_ydata(), imp["score"]) for line in marked)
    r = mean(
        material.correlations, "value", model="bert", task="(average)", loss="mlm_loss",
        scope="chosen", sparsity=0.7, statistic="pearson",
    )  # fmt: skip
    assert f"without random r −{abs(r):.2f}" in axes.get_title(loc="right")


def test_small_plots_place_points_by_their_values(
    material: ReportData, figures: dict[str, Figure]
) -> None:
    (axes,) = figures["kd_loss_by_task_bert"].axes
    imp = material.points.filter(
        pl.col("checkpoint").is_null(), pl.col("task") != "(average)", model="bert", method="imp"
    )
    colour = method_styles(["imp"])["imp"][0]
    # Main results are larger than checkpoints.
    drawn_line = max(
        (line for line in axes.lines if line.get_markerfacecolor() == colour),
        key=lambda line: line.get_markersize(),
    )
    assert len(drawn_line.get_xdata()) == imp.height == 12
    x, y = (np.array(values) for values in (drawn_line.get_xdata(), drawn_line.get_ydata()))
    # Cells are added column by column (sparsity), from the upper task to the lower.
    ordered = imp.sort("sparsity", maintain_order=True).partition_by(
        "sparsity", "task", maintain_order=True
    )
    for number, cell in enumerate(ordered):
        at = slice(3 * number, 3 * number + 3)
        for shown, name in ((x[at], "kd_loss"), (y[at], "score")):
            assert np.corrcoef(shown, cell[name].to_numpy())[0, 1] == pytest.approx(1)
    assert y[:3].min() > y[3:6].max()
    assert x[6:].min() > x[:6].max()


def test_a_method_far_from_all_others_is_written_into_the_corner(
    material_of: Callable[..., ReportData],
) -> None:
    material = material_of(sparsities=(0.3,), checkpoints=(), intervals=())
    figures = drawn(material)
    axes = panel(figures["losses_by_sparsity"], "30 %")
    random = material.points.filter(method="random", task="(average)")
    words = f"random: {random['score'].mean():.0f} % at {random['mlm_loss'].mean():.2g}"
    assert words in [text.get_text() for text in axes.texts]
    assert min(min(line.get_ydata()) for line in axes.lines) > 50
    assert texts(figures["mlm_loss_by_task"]).count("random: ") == 2


def test_distances_are_means_over_pairs_of_methods(figures: dict[str, Figure]) -> None:
    axes = panel(figures["mask_distances_bert"], "70 %")
    image = axes.images[0].get_array()
    assert image[0].tolist() == [0.0, 0.2, 0.3, 0.4]
    assert np.allclose(image, image.T)
    # OMP to IMP .25, OMP to TAMT .4, IMP among themselves .1, IMP to TAMT .55.
    written = [".25", ".25", ".40", ".40", ".10", ".55", ".55"]
    assert sorted(text.get_text() for text in axes.texts) == sorted(written)


def test_curves_of_searches(figures: dict[str, Figure]) -> None:
    density = lines(panel(figures["density"], "70 %"))
    assert any(x == [50, 100] and np.allclose(y, [30, 32]) for x, y in density)
    # As asked, from side to side.
    assert any(x == [0, 1] and np.allclose(y, 30) for x, y in density)
    losses = panel(figures["search_losses"], "70 %")
    assert losses.get_ylabel() == "KD loss (cosine distance)"
    assert any(np.allclose(y, [0.5, 0.4]) for _, y in lines(losses))


def test_same_records_same_bytes(material_of: Callable[..., ReportData]) -> None:
    first, second = (drawn(material_of(sparsities=(0.7,), intervals=())) for _ in range(2))
    for name in ("mlm_loss_by_task", "search_cost"):
        assert to_png(first[name]) == to_png(second[name])
        assert to_svg(first[name]) == to_svg(second[name])


def test_distance_from_omp_over_the_search(figures: dict[str, Figure]) -> None:
    """After 1,000 steps the mean of three masks, with their t interval; at the end one mask."""
    axes = panel(figures["distance_over_search"], "70 %")
    kd = method_styles(["imp", "tamt_kd"])["tamt_kd"][0]
    line = next(each for each in axes.lines if each.get_color() == kd)
    assert list(line.get_xdata()) == [1000, 17_000]
    assert list(line.get_ydata()) == pytest.approx([0.08, 0.4])
    reach = stats.t.ppf(0.975, 2) * np.std([0.05, 0.07, 0.12], ddof=1) / 3**0.5
    bands = [band.get_paths() for band in axes.collections]
    ends = {round(float(y), 6) for paths in bands for path in paths for y in path.vertices[:, 1]}
    assert {round(0.08 - reach, 6), round(0.08 + reach, 6)} <= ends
