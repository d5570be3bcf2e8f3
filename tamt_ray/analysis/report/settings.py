"""What was asked for, as the paper's Tables 1 to 3 have it."""

from collections.abc import Mapping

import polars as pl

from tamt_ray.analysis.report.html import Html, join, table, tag
from tamt_ray.analysis.report.opening import duration
from tamt_ray.analysis.report_data import ReportData
from tamt_ray.analysis.results import main_rows
from tamt_ray.analysis.stats.summary import MISSING
from tamt_ray.analysis.stats.travel import ENOUGH, travels
from tamt_ray.values.table import Table


def datasets_table(material: ReportData) -> Html:
    """Data sets and hyper-parameters of the fine-tunes (Tab. 1)."""
    sizes = (
        main_rows(material.results.downstream)
        .group_by("task")
        .agg(least=pl.col("examples").min(), most=pl.col("examples").max())
    )
    examples = {task: (least, most) for task, least, most in sizes.iter_rows()}
    rows = [
        [
            name,
            task.words,
            task.metric.replace("_", " "),
            _span(*examples.get(name, (None, None))),
            f"lr {task.lr:g}, batch {task.batch_size}, epochs {task.epochs}, "
            f"decay {task.weight_decay:g}, clip {task.clip:g}",
            f"{task.max_length} tokens",
            f"{task.eval_every:,} steps",
            ", ".join(f"{size:,} ({epochs} ep.)" for size, epochs in sorted(task.reduced.items()))
            or MISSING,
        ]
        for name, task in material.sweep.tasks.items()
    ]
    head = ["task", "kind", "score", "training examples", "optimisation", "length",
            "evaluated every", "also trained on"]  # fmt: skip
    caption = (
        "Fine-tuning: AdamW, linear decay to zero, no warm-up; the score is the best dev value "
        "seen in training (paper: Tab. 1)."
    )
    return table(head, rows, caption, kind="words") if rows else Html("")


def methods_table(material: ReportData) -> Html:
    """Hyper-parameters of the searches."""
    training, corpus = material.sweep.search, material.sweep.corpus
    rows = [
        [m.name, m.word, m.recipe, m.pattern, *(words or MISSING for words in m.settings())]
        for m in material.sweep.methods
    ]
    head = ["method", "kind", "recipe", "pattern", "optimiser", "mask"]
    caption = (
        f"Searches read {_source(corpus.train)} in blocks of {corpus.block_size} tokens, "
        f"{training.batch_size} a step; the learning rate falls to zero over "
        f"{training.decay_steps:,} steps; {corpus.mlm_probability:.0%} of the tokens are "
        "predicted, where a loss predicts any (paper: Tab. 1)."
    )
    return table(head, rows, caption, kind="words")


def iterations_table(material: ReportData) -> Html:
    """Optimiser steps behind each mask of the main results (Tab. 2)."""
    found = {
        key: f"{number:,}"
        for *key_, number in _trained(material)
        .select("model", "method", "sparsity", "iterations")
        .unique(maintain_order=True)
        .iter_rows()
        for key in [tuple(key_)]
    }
    caption = (
        "Iterations, of IMP those of all its levels; the first level of IMP is OMP and trains "
        "nothing (paper: Tab. 2)."
    )
    return _by_sparsity(material, "Iterations", found, caption)


def times_table(material: ReportData) -> Html:
    """Training time behind each mask of the main results (Tab. 3)."""
    rows = (
        _trained(material)
        .group_by("model", "method", "sparsity", maintain_order=True)
        .agg(
            mean=pl.col("search_seconds").mean(),
            std=pl.col("search_seconds").std(ddof=1),
            n=pl.col("search_seconds").count(),
        )
        .drop_nulls("mean")
    )
    found = {
        (row["model"], row["method"], row["sparsity"]): _seconds(row["mean"], row["std"])
        for row in rows.iter_rows(named=True)
    }
    devices = ", ".join(_trained(material)["device"].drop_nulls().unique().sort().to_list())
    caption = (
        "Time of training, of IMP that of all its levels; mean ± standard deviation over masks, "
        f"on {devices or 'no device yet'} (paper: Tab. 3)."
    )
    return _by_sparsity(material, "Training time", found, caption)


def travels_table(material: ReportData) -> Html:
    """How far the scores of each mask training can move, in thresholds φ."""
    found = {
        place: tag("td", f"{travel:.3g} φ", class_="missing" if travel < ENOUGH else "")
        for place, travel in travels(material.plan).items()
    }
    if not found:
        return Html("")
    caption = (
        "Sum of the learning rates over the steps, divided by φ (paper: 59 φ for MLM at 70 %). "
        f"Marked: below {ENOUGH:g} φ a mask can hardly leave its start, since kept scores begin at "
        "αφ, pruned ones at 0, and only those that cross φ change the mask."
    )
    return _by_sparsity(material, "Score travel", found, caption)


def _trained(material: ReportData) -> pl.DataFrame:
    return main_rows(material.searches).filter(pl.col("iterations") > 0)


def _by_sparsity(
    material: ReportData, what: str, found: Mapping[tuple[str, str, float], str], caption: str
) -> Html:
    """A row a trained method, a column a sparsity, a table a model."""
    trained = _trained(material)
    sparsities: list[float] = trained["sparsity"].unique().sort().to_list()
    blocks: list[Html] = []
    for (model,), group in trained.group_by("model", maintain_order=True):
        rows = [
            [method, *(found.get((model, method, sparsity), MISSING) for sparsity in sparsities)]
            for method in group["method"].unique(maintain_order=True)
        ]
        head = ["method", *(f"{sparsity * 100:.4g} %" for sparsity in sparsities)]
        title = f"{what}, {model}" if len(material.sweep.models) > 1 else what
        blocks += [tag("h3", title), table(head, rows, caption)]
    return join(blocks)


def _span(least: float | None, most: float | None) -> str:
    if least is None or most is None:
        return MISSING
    return f"{least:,.0f}" if least == most else f"{least:,.0f}–{most:,.0f}"


def _seconds(mean: float, std: float | None) -> str:
    return duration(mean) if std is None else f"{duration(mean)} ± {duration(std)}"


def _source(found: Table) -> str:
    return f"{found.source}, {found.split}" if found.split else found.source
