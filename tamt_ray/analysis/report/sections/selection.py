"""The choice of the best evaluation: how much it flatters scores."""

from collections.abc import Iterator

from tamt_ray.analysis.report.blocks import Block, Paragraph, ReportTable
from tamt_ray.analysis.report.context import Context
from tamt_ray.analysis.results import main_rows
from tamt_ray.analysis.stats.averages import optimism
from tamt_ray.analysis.words import MISSING, signed

_HOW = {
    "all": "Scores of this report are the best evaluation on the whole validation set, as in the "
    "paper, and too high by this much. “report: {select: half}” in the sweep file reports the "
    "other score instead and needs no new run.",
    "half": "Scores of this report are those chosen on the other half (“report.select: half”). A "
    "fine-tune from before predictions were kept has none and counts as missing.",
}


def section(context: Context) -> Iterator[Block]:
    """Yield the gain by choosing on the examples that measure, by task; nothing without any."""
    found = optimism(main_rows(context.data.results.downstream))
    if not found["n"].sum():
        return
    rows = [
        [
            context.named(row["model"], row["task"]),
            *(MISSING if row[name] is None else signed(row[name], 2)
              for name in ("mean", "least", "most")),
            f"{row['n']} of {row['n_expected']}",
        ]
        for row in found.iter_rows(named=True)
    ]  # fmt: skip
    caption = (
        "How much higher a score is, in points, where its best evaluation is chosen on all "
        "examples that it is measured on, than where it is chosen on one half of them and measured "
        "on the other, both ways. Only a difference between methods moves a comparison."
    )
    head = ["task", "mean gain", "least of a method", "most of a method", "fine-tunes"]
    yield ReportTable(head, rows, caption)
    yield Paragraph(_HOW[context.data.sweep.report.select])
