"""The section of the report on the choice of the best evaluation."""

from tamt_ray.analysis.report.html import Html, join, table, tag
from tamt_ray.analysis.report_data import ReportData
from tamt_ray.analysis.results import main_rows
from tamt_ray.analysis.stats.selection import optimism

_HOW = {
    "all": "Scores of this report are the best evaluation on the whole validation set, as in the "
    "paper, and too high by this much. `report: {select: half}` in the sweep file reports the "
    "other score instead and needs no new run.",
    "half": "Scores of this report are those chosen on the other half (`report.select: half`). A "
    "fine-tune from before predictions were kept has none and counts as missing.",
}


def selection_table(material: ReportData) -> Html:
    """Return the gain by choosing on the examples that measure, by task; empty without any."""
    found = optimism(main_rows(material.results.downstream))
    if not found["n"].sum():
        return Html("")
    several = len(material.sweep.models) > 1
    rows = [
        [
            f"{row['model']}, {row['task']}" if several else str(row["task"]),
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
    return join([table(head, rows, caption), tag("p", _HOW[material.sweep.report.select])])


def _points(value: float | None) -> str:
    return "–" if value is None else f"{value:+.2f}".replace("-", "\N{MINUS SIGN}")
