"""Scores and losses of controls beside the methods that they control."""

from collections.abc import Iterator

from tamt_ray.analysis.report.blocks import NONE, Block, ReportTable, TableCell
from tamt_ray.analysis.report.context import Context
from tamt_ray.analysis.roles import controlled, roles
from tamt_ray.analysis.stats.averages import title_of
from tamt_ray.analysis.stats.correlation import LOSSES
from tamt_ray.analysis.words import percent


def section(context: Context) -> Iterator[Block]:
    """Yield, for each control, the part of the method's gain over random masks that it keeps."""
    data = context.data
    twins, random = controlled(data.sweep.methods), roles(data.sweep).get("random")
    if not twins or random is None:
        return
    caption = (
        "Means over masks and runs; in brackets the part of the method's gain over random masks "
        "that the control keeps. Near 100 %, what it lacks does not matter; near 0 %, it is "
        "everything."
    )
    about = {method.name: method.settings()[1] for method in data.sweep.methods}
    columns = {LOSSES[0]: "MLM loss (nats)", LOSSES[1]: "KD loss (cosine distance)"}
    if data.tasks:
        columns["mean"] = f"{title_of(data.tasks[0])} (%)"
    for model in data.sweep.models:
        found = {
            (row["method"], row["sparsity"], name): row[name]
            for table in (data.losses, data.averages.filter(task=next(iter(data.tasks), "")))
            for row in table.filter(model=model).iter_rows(named=True)
            for name in columns
            if name in row
        }
        rows: list[list[TableCell | str]] = []
        for sparsity in data.sweep.sparsities:
            for base in dict.fromkeys(twins.values()):
                for name in (base, *(one for one, of in twins.items() if of == base)):
                    three = [
                        [found.get((each, sparsity, column)) for each in (base, random, name)]
                        for column in columns
                    ]
                    if name == base:
                        cells = ["none", *(_cell(whole) for whole, *_ in three)]
                    else:
                        cells = [TableCell(name, about[name]), *(_part(*each) for each in three)]
                    rows.append([base, percent(sparsity), *cells])
        head = ["method", "sparsity", "control", *columns.values()]
        yield ReportTable(head, rows, caption, context.named(model)).shortened("Controls")


def _cell(value: float | None) -> TableCell:
    return NONE if value is None else TableCell(f"{value:.4g}")


def _part(whole: float | None, least: float | None, own: float | None) -> TableCell:
    """Return a value of a control, and the part of the gain from `least` to `whole` that it
    keeps."""
    if own is None or whole is None or least is None or whole == least:
        return _cell(own)
    return TableCell(f"{own:.4g} ({(own - least) / (whole - least):.0%})")
