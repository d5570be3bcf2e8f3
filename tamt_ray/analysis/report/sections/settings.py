"""Section: settings of the sweep (the paper's Tab. 1), and its file."""

from collections.abc import Iterator

import polars as pl
import yaml

from tamt_ray.analysis.report.blocks import NONE, Block, Code, FactList, Fold, ReportTable
from tamt_ray.analysis.report.context import Context
from tamt_ray.analysis.report_data import ReportData
from tamt_ray.analysis.results import main_rows
from tamt_ray.tasks.base import Task
from tamt_ray.values.table import Table as Source


def section(context: Context) -> Iterator[Block]:
    """Yield the grid, and behind lines the searches, the fine-tunes and the sweep file."""
    yield _grid(context.data)
    yield Fold("Searches", [methods(context.data)])
    if context.data.sweep.tasks:
        yield Fold("Data sets and fine-tuning", [datasets(context.data)])
    yield Fold("Sweep file as read", [sweep_file(context.data)])


def _grid(data: ReportData) -> FactList:
    sweep = data.sweep
    devices = sorted({record.device for record in data.records.values()})
    names = [m.name if m.name == m.word else f"{m.name} ({m.word})" for m in sweep.methods]
    return FactList(
        [
            ("models", [f"{name} · {model.source}" for name, model in sweep.models.items()]),
            ("methods", [", ".join(["full (the dense model)", *names])]),
            ("sparsities", [", ".join(f"{sparsity:.3g}" for sparsity in sweep.sparsities)]),
            ("mask seeds", [", ".join(map(str, sweep.mask_seeds)) + " (OMP has one mask)"]),
            ("fine-tuning seeds", [", ".join(map(str, sweep.finetune_seeds))]),
            ("tasks", [_task(name, task) for name, task in sweep.tasks.items()]),
            ("computed on", [", ".join(devices) or "nothing yet"]),
        ]
    )


def _task(name: str, task: Task) -> str:
    words = f"{name} · {task.words}, {task.metric.replace('_', ' ')}"
    if task.max_train:
        words += f", at most {task.max_train:,} training examples"
    if task.max_validation:
        words += f", at most {task.max_validation:,} validation examples"
    return words


def methods(data: ReportData) -> ReportTable:
    """Return hyper-parameters of the searches."""
    training, corpus = data.sweep.search, data.sweep.corpus
    rows = [
        [m.name, m.word, m.recipe, m.pattern, *(words or NONE for words in m.settings())]
        for m in data.sweep.methods
    ]
    caption = (
        f"Searches read {_source(corpus.train)} in blocks of {corpus.block_size} tokens, "
        f"{training.batch_size} a step; the learning rate falls to zero over "
        f"{training.decay_steps:,} steps; {corpus.mlm_probability:.0%} of the tokens are "
        "predicted, where a loss predicts any (paper: Tab. 1)."
    )
    head = ["method", "kind", "recipe", "pattern", "optimiser", "mask"]
    return ReportTable(head, rows, caption, words=True)


def datasets(data: ReportData) -> ReportTable:
    """Return data sets and hyper-parameters of the fine-tunes."""
    sizes = main_rows(data.results.downstream).group_by("task")
    examples = {
        task: (least, most)
        for task, least, most in sizes.agg(
            least=pl.col("examples").min(), most=pl.col("examples").max()
        ).iter_rows()
    }
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
            or "–",
        ]
        for name, task in data.sweep.tasks.items()
    ]
    head = ["task", "kind", "score", "training examples", "optimisation", "length",
            "evaluated every", "also trained on"]  # fmt: skip
    caption = (
        "Fine-tuning: AdamW, linear decay to zero, no warm-up; the score is the best dev value "
        "seen in training (paper: Tab. 1)."
    )
    return ReportTable(head, rows, caption, words=True)


def sweep_file(data: ReportData) -> Code:
    """Return the sweep as it was given, without the places where results lie."""
    given = data.sweep.model_dump(mode="json", exclude_unset=True, exclude={"store", "mlflow"})
    return Code(yaml.safe_dump(given, sort_keys=False, allow_unicode=True, width=100))


def _span(least: float | None, most: float | None) -> str:
    if least is None or most is None:
        return "–"
    return f"{least:,.0f}" if least == most else f"{least:,.0f}–{most:,.0f}"


def _source(found: Source) -> str:
    return f"{found.source}, {found.split}" if found.split else found.source
