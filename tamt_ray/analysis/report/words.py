"""Numbers in words."""

from tamt_ray.analysis.stats.averages import AVERAGE


def number(value: float, digits: int = 1) -> str:
    """Return a number with a real minus sign."""
    return f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def signed(value: float) -> str:
    """Return a difference, with its sign."""
    return f"{value:+.1f}".replace("-", "\N{MINUS SIGN}")


def interval(low: float | None, high: float | None, digits: int = 1) -> str:
    """Return `[58.0, 60.2]`; empty without an interval."""
    if low is None or high is None:
        return ""
    return f"[{number(low, digits)}, {number(high, digits)}]"


def removed(sparsity: float) -> str:
    """Return a sparsity as the name of a block of rows."""
    return f"{sparsity * 100:.4g} % of the weights removed"


def headline(task: str) -> str:
    """Return what a score is of."""
    return "average over tasks" if task == AVERAGE else task


def duration(seconds: float) -> str:
    """Return whole hours, minutes or seconds, the two largest."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.3g} s"
