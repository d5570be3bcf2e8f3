"""The choice of the best evaluation: how much it flatters scores."""

from tamt_ray.analysis.report.blocks import NONE, Paragraph, ReportTable, Section, TableRow
from tamt_ray.analysis.report.context import Context
from tamt_ray.analysis.results import main_rows
from tamt_ray.analysis.stats.selection import optimism

_HOW = {
    "all": "Scores of this report are the best evaluation on the whole validation set, as in the "
    "paper, and too high by this much. `report: {select: half}` in the sweep file reports the "
    "other score instead and needs no new run.",
    "half": "Scores of this report are those chosen on the other half (`report.select: half`). A "
    "fine-tune from before predictions were kept has none and counts as missing.",
}


def section(context: Context) -> Section:
    """Return the gain by choosing on the examples that measure, by task; empty without any."""
    title = "Choice of the best evaluation"
    found = optimism(main_rows(context.data.results.downstream))
    if not found["n"].sum():
        return Section(title)
    rows: list[TableRow] = [
        [
            f"{row['model']}, {row['task']}" if context.several_models else str(row["task"]),
            *(_points(row[name]) for name in ("mean", "least", "most")),
            f"{row['n']} of {row['n_expected']}",
        ]
        for row in found.iter_rows(named=True)
    ]
    caption = (
        "How much higher a score is, in points, where its best evaluation is chosen on all "
        "examples that it is measured on, than where it is chosen on one half of them and measured "
        "on the other, both ways. Only a difference between methods moves a comparison."
    )
    head = ["task", "mean gain", "least of a method", "most of a method", "fine-tunes"]
    return Section(
        title, [ReportTable(head, rows, caption), Paragraph(_HOW[context.data.sweep.report.select])]
    )


def _points(value: float | None) -> str:
    return NONE.text if value is None else f"{value:+.2f}".replace("-", "\N{MINUS SIGN}")
