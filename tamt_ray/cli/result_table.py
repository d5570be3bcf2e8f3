"""The scores of a sweep as a table to paste or to read with a program."""

import polars as pl
from rich.console import Console

from tamt_ray.analysis.results import collect
from tamt_ray.analysis.stats.averages import averages, runs
from tamt_ray.analysis.stats.summary import cells, markdown, summary
from tamt_ray.cli.opened import SweepContext
from tamt_ray.cli.options import Form
from tamt_ray.cli.tables import frame_table

_NUMBERS = ("mean", "std", "low", "high", "baseline")
_SPECIAL = {"%": r"\%", "_": r"\_", "±": r"$\pm$", "≤": r"$\le$", "–": "--", "−": "$-$"}


def result_table(opened: SweepContext, form: Form) -> str:
    """Return the table: for people in percent, for programs in fractions, a row per task."""
    found = collect(opened.plan, opened.records)
    match form:
        case Form.TABLE:
            console = Console(markup=False, emoji=False, width=200)
            with console.capture() as text:
                console.print(frame_table(summary(found)))
            return text.get()
        case Form.MARKDOWN:
            return markdown(summary(found))
        case Form.LATEX:
            return _latex(summary(found))
        case Form.CSV:
            return _numbers(averages(runs(found.downstream))).write_csv()
        case Form.JSON:
            return _numbers(averages(runs(found.downstream))).write_json() + "\n"


def _numbers(table: pl.DataFrame) -> pl.DataFrame:
    return table.with_columns(pl.col(name) / 100 for name in _NUMBERS)


def _latex(table: pl.DataFrame) -> str:
    """Return a tabular with the rules of booktabs."""
    head, *rows = [
        ["".join(_SPECIAL.get(sign, sign) for sign in cell) for cell in row] for row in cells(table)
    ]
    columns = "".join("l" if name in {"model", "method"} else "r" for name in table.columns)
    lines = [" & ".join(row) + r" \\" for row in rows]
    return "\n".join(
        [
            rf"\begin{{tabular}}{{{columns}}}", r"\toprule", " & ".join(head) + r" \\",
            r"\midrule", *lines, r"\bottomrule", r"\end{tabular}", "",
        ]
    )  # fmt: skip
