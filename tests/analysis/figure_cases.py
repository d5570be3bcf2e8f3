"""A sweep whose figures are known, and what its figures show."""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

import numpy as np
import polars as pl
import pytest

from tamt_ray.analysis.claims.published import read_published
from tamt_ray.analysis.figures.catalogue import figures
from tamt_ray.analysis.figures.vega import Figure
from tamt_ray.analysis.report_data import ReportData, gather
from tamt_ray.plan.expand import expand
from tamt_ray.spec.load import parse_sweep

PUBLISHED = """method,sparsity,avg_low,avg_high,mlm_loss_low,mlm_loss_high,kd_loss_low,kd_loss_high
omp,0.7,54.4,54.4,8.6,8.6,0.531,0.531
tamt_kd,0.7,61.9,74.3,4.05,9.2,0.125,0.276
"""


@pytest.fixture(scope="module")
def data_of(grid_text: Callable[..., str], fill_grid: Callable) -> Callable[..., ReportData]:
    def build(**changes: object) -> ReportData:
        small = {"tasks": ("cola", "stsb"), "sparsities": (0.6, 0.7), "checkpoints": (1000,)}
        sweep = parse_sweep(grid_text(**{**small, **changes}))
        plan = expand(sweep)
        return gather(sweep, plan, fill_grid(plan), {})

    return build


@pytest.fixture(scope="module")
def data(data_of: Callable[..., ReportData]) -> ReportData:
    """Two models, two tasks, one of them with less data too, and everything that can be added."""
    found = data_of(models=("bert", "roberta"), reduced={"cola": (5000, 1000)})
    found.published = read_published(PUBLISHED, "figure5.csv")
    found.distances = _distances()
    found.histories = _histories(found.searches)
    return found


@pytest.fixture(scope="module")
def drawn(data: ReportData) -> dict[str, Figure]:
    return {figure.name: figure for figure in figures(data)}


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


def names(data: ReportData) -> list[str]:
    return [figure.name for figure in figures(data)]


def panels(figure: Figure, model: str | None = None) -> dict[str, list[dict]]:
    """By title, the panels of a figure, or of a model's block of it."""
    blocks = figure.spec.get("vconcat", [figure.spec])
    found: dict[str, list[dict]] = {}
    for block in blocks:
        if model is None or block.get("title", {}).get("text") == model:
            for panel in block["concat"]:
                found.setdefault(panel["title"]["text"], []).append(panel)
    return found


def marks(panel: Mapping, kind: str, method: str | None = None) -> list[dict]:
    """What the marks of one kind show; of one method, if it is given."""
    return [
        row
        for layer in panel["layer"]
        if layer["mark"]["type"] == kind
        for row in layer["data"]["values"]
        if method is None or row.get("method") == method
    ]


def line(panel: Mapping, method: str, x: str = "percent") -> tuple[list, list]:
    rows = marks(panel, "line", method)
    return [row[x] for row in rows], [row["mean"] for row in rows]


def subtitle(panel: Mapping) -> str:
    return " ".join(panel["title"]["subtitle"])


def mean(table: pl.DataFrame, name: str = "mean", **where: object) -> float:
    return table.filter(**where)[name][0]


def close(values: Sequence[float], expected: Sequence[float]) -> bool:
    return len(values) == len(expected) and np.allclose(values, expected, atol=1e-3)
