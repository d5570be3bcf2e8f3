"""The scores of a sweep as a table to paste or to read with a program."""

from typing import Literal

import polars as pl
from rich.console import Console

from tamt_ray.analysis.results import collect
from tamt_ray.analysis.stats.averages import averages, fractions, runs
from tamt_ray.analysis.stats.summary import markdown, printed_rows, summary
from tamt_ray.analysis.tuning import best_frame, trials_frame
from tamt_ray.cli.sweep_context import SweepContext
from tamt_ray.cli.tables import frame_table

_SPECIAL = {"%": r"\%", "_": r"\_", "±": r"$\pm$", "≤": r"$\le$", "–": "--", "−": "$-$"}


Form = Literal["table", "markdown", "latex", "csv", "json"]


def result_table(opened: SweepContext, form: Form) -> str:
    """Return the table: for people in percent, for programs in fractions, a row per task."""
    match form:
        case "table":
            console = Console(markup=False, emoji=False, width=200)
            with console.capture() as text:
                console.print(frame_table(_shown(opened)))
            return text.get()
        case "markdown":
            return markdown(_shown(opened))
        case "latex":
            return _latex(_shown(opened))
        case "csv":
            return _numbers(opened).write_csv()
        case "json":
            return _numbers(opened).write_json() + "\n"


def _shown(opened: SweepContext) -> pl.DataFrame:
    if opened.survey:
        return best_frame(opened.survey.outcomes)
    return summary(collect(opened.plan, opened.records))


def _numbers(opened: SweepContext) -> pl.DataFrame:
    """Return a row per method, sparsity and task; of a tuning, one per trial and rung."""
    if opened.survey:
        return trials_frame(opened.survey.outcomes)
    return fractions(averages(runs(collect(opened.plan, opened.records).downstream)))


def _latex(table: pl.DataFrame) -> str:
    """Return a tabular with the rules of booktabs."""
    head, *rows = [
        ["".join(_SPECIAL.get(sign, sign) for sign in cell) for cell in row]
        for row in printed_rows(table)
    ]
    columns = "".join("l" if name in {"model", "method"} else "r" for name in table.columns)
    begin, lines = rf"\begin{{tabular}}{{{columns}}}", [f"{' & '.join(row)} \\\\" for row in rows]
    top = [begin, r"\toprule", f"{' & '.join(head)} \\\\", r"\midrule"]
    return "\n".join([*top, *lines, r"\bottomrule", r"\end{tabular}", ""])
