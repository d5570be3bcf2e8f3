"""Number of seeds that a sweep needs, from the variance of its finished units."""

import sys

import polars as pl

from tamt_ray.analysis.results import collect
from tamt_ray.analysis.stats.averages import runs
from tamt_ray.analysis.stats.power import power
from tamt_ray.analysis.words import MISSING
from tamt_ray.cli.speech import fail, out
from tamt_ray.cli.sweep_context import SweepContext
from tamt_ray.cli.tables import frame_table

_WORDS = (
    "Standard deviations of a difference of two methods in points: masks, fine-tuning runs, the "
    "rest; `sees`: the difference that {masks} × {seeds} seeds see in four cases of five; then the "
    "mask seeds that it takes to see 1 point, by fine-tuning seeds (–: more than 99)."
)


def print_power(opened: SweepContext, as_json: bool) -> None:
    """Print a row for each model, sparsity and task."""
    sweep = opened.sweep
    masks, seeds = len(sweep.mask_seeds), len(sweep.finetune_seeds)
    found = power(runs(collect(opened.plan, opened.records).downstream), masks, seeds)
    if found.is_empty():
        fail(
            2,
            f"{opened.file}: no two methods have results under two mask seeds and two fine-tuning "
            f"seeds yet; run a part: python -m tamt_ray.sweep {opened.words} --only 'finetune/*'",
        )
    if as_json:
        sys.stdout.write(found.write_json() + "\n")
        return
    floats = pl.col(pl.Float64).exclude("sparsity").round(2)
    shown = found.with_columns(floats).with_columns(pl.col(pl.Int64).cast(pl.String))
    out.print(frame_table(shown.with_columns(pl.col(pl.String).fill_null(MISSING))))
    out.print(_WORDS.format(masks=masks, seeds=seeds))
