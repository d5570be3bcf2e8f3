"""A profile as the user sees it."""

from rich.table import Table

from tamt_ray.execution.profile import Profile


def profile_table(found: Profile) -> Table:
    """One row a phase."""
    whole = f"{1000 * found.seconds / found.steps:,.1f} ms a step"
    table = Table(f"{found.unit.kind} {found.unit.cell}: {whole}",
                  "ms", "%", box=None, pad_edge=False)  # fmt: skip
    for name, milliseconds, share in found.rows():
        table.add_row(name, f"{milliseconds:,.1f}", f"{share:.1f}")
    return table
