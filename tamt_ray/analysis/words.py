"""Numbers in words, the same in tables, figures, verdicts and sentences."""

MISSING = "–"


def number(value: float, digits: int = 1) -> str:
    """Return a number with a real minus sign."""
    # Adding zero takes the sign from a rounded −0.0.
    return f"{round(value, digits) + 0:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def signed(value: float, digits: int = 1) -> str:
    """Return a difference, with its sign."""
    return f"{value:+.{digits}f}".replace("-", "\N{MINUS SIGN}")


def interval(low: float | None, high: float | None, digits: int = 1) -> str:
    """Return `[58.0, 60.2]`; empty without an interval."""
    if low is None or high is None:
        return ""
    return f"[{number(low, digits)}, {number(high, digits)}]"


def spread(mean: float | None, std: float | None, digits: int = 1) -> str:
    """Return `81.2 ± 0.4`; without `± …` for one run only, an en dash without a mean."""
    if mean is None:
        return MISSING
    return number(mean, digits) if std is None else f"{number(mean, digits)} ± {std:.{digits}f}"


def counted(text: str, n: int, expected: int) -> str:
    """Return `text`, followed by `(n/expected)` where runs are missing."""
    return text if n in (0, expected) else f"{text} ({n}/{expected})"


def of_expected(n: int, expected: int) -> str:
    """Return `9`, or `7 of 9` where some are missing."""
    return f"{n:,}" if n == expected else f"{n:,} of {expected:,}"


def percent(share: float) -> str:
    """Return a share such as a sparsity, `62.5 %`."""
    return f"{share * 100:.4g} %"


def removed(sparsity: float) -> str:
    """Return a sparsity as the name of a block of rows."""
    return f"{percent(sparsity)} of the weights removed"


def duration(seconds: float) -> str:
    """Return whole hours, minutes or seconds, the two largest."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.3g} s"
