"""Scores and losses of controls beside the methods that they control."""

from collections.abc import Iterator

from tamt_ray.analysis.report.blocks import NONE, Block, ReportTable, TableCell
from tamt_ray.analysis.report.context import Context
from tamt_ray.analysis.roles import controlled, roles
from tamt_ray.analysis.stats.averages import title_of
from tamt_ray.analysis.stats.correlation import LOSSES
from tamt_ray.analysis.words import counted, percent

_Mean = tuple[float, int, int]
"""A mean, the masks or runs it is of, and those it should be of."""


def section(context: Context) -> Iterator[Block]:
    """Yield, for each control, the part of the method's gain over random masks that it keeps."""
    data = context.data
    twins, random = controlled(data.sweep.methods), roles(data.sweep).get("random")
    if not twins or random is None:
        return
    caption = (
        "Means over masks and runs; in brackets the part of the method's gain over random masks "
        "that the control keeps, from the means alone, where there is a gain. Near 100 %, what the "
        "control lacks hardly matters; near 0 %, it is nearly everything."
    )
    about = {method.name: method.settings()[1] for method in data.sweep.methods}
    columns = {LOSSES[0]: "MLM loss (nats)", LOSSES[1]: "KD loss (cosine distance)"}
    if data.tasks:
        columns["mean"] = f"{title_of(data.tasks[0])} (%)"
    head = ["method", "sparsity", "control", *columns.values()]
    for model in data.sweep.models:
        found: dict[tuple[str, float, str], _Mean] = {
            (row["method"], row["sparsity"], name): (row[name], row["n"], row["n_expected"])
            for table in (data.losses, data.averages.filter(task=next(iter(data.tasks), "")))
            for row in table.filter(model=model).iter_rows(named=True)
            for name in columns
            if row.get(name) is not None
        }
        rows: list[list[TableCell | str]] = []
        for sparsity in data.sweep.sparsities:
            for base in dict.fromkeys(twins.values()):
                for name in (base, *(one for one, of in twins.items() if of == base)):
                    row: list[TableCell | str] = [base, percent(sparsity)]
                    row.append("none" if name == base else TableCell(name, about[name]))
                    for column in columns:
                        own, whole, least = (
                            found.get((each, sparsity, column)) for each in (name, base, random)
                        )
                        part = None if name == base else _part(own, whole, least, column)
                        row.append(_cell(own, part))
                    rows.append(row)
        yield ReportTable(head, rows, caption, context.named(model)).shortened("Controls")


def _part(own: _Mean | None, whole: _Mean | None, least: _Mean | None, column: str) -> float | None:
    """Return the part of the gain from `least` to `whole` that a control keeps; None where there is
    no gain."""
    if own is None or whole is None or least is None:
        return None
    gain = whole[0] - least[0]
    better = gain < 0 if column in LOSSES else gain > 0
    return (own[0] - least[0]) / gain if better else None


def _cell(mean: _Mean | None, part: float | None) -> TableCell:
    if mean is None:
        return NONE
    words = counted(f"{mean[0]:.4g}", *mean[1:])
    return TableCell(words if part is None else f"{words} ({part:.0%})")
