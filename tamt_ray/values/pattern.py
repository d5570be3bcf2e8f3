"""Patterns of a mask, and which weights are ranked together."""

import re
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import AfterValidator

UNSTRUCTURED = "unstructured"
Per = Literal["matrix", "row", "model"]
"""Weights that are ranked together, so that each such group reaches the sparsity: a matrix, one of
its rows (outputs), or all matrices."""


@dataclass(frozen=True)
class PatternForm:
    """A pattern taken apart; all fields are None for an unstructured mask."""

    of: tuple[int, int] | None = None
    """(n, m): n weights are kept in each m consecutive weights of a row."""
    block: tuple[int, int] | None = None
    """Rows and columns of the blocks that are kept or pruned whole."""
    heads: int | None = None
    """Attention heads per layer; they and the feed-forward neurons are kept or pruned whole."""

    @classmethod
    def read(cls, pattern: str) -> Self:
        """Raises ValueError for what is no pattern."""
        if pattern == UNSTRUCTURED:
            return cls()
        if (found := re.fullmatch(r"(\d+):(\d+)", pattern)) and 0 < int(found[1]) < int(found[2]):
            return cls(of=(int(found[1]), int(found[2])))
        if (found := re.fullmatch(r"(\d+)x(\d+)", pattern)) and int(found[1]) * int(found[2]) > 1:
            return cls(block=(int(found[1]), int(found[2])))
        if (found := re.fullmatch(r"heads:(\d+)", pattern)) and int(found[1]) > 1:
            return cls(heads=int(found[1]))
        raise ValueError(
            f"{pattern!r} is no pattern; there are {UNSTRUCTURED}, n:m such as 2:4 (two of four "
            "weights are kept), blocks such as 4x1 or 32x32 (rows x columns), and heads:12 (whole "
            "attention heads, 12 per layer, and whole feed-forward neurons)"
        )


def _is_pattern(pattern: str) -> str:
    PatternForm.read(pattern)
    return pattern


Pattern = Annotated[str, AfterValidator(_is_pattern)]
"""`unstructured`; `2:4`: two of four consecutive weights of a row are kept; blocks such as `4x1` or
`32x32`, rows x columns; `heads:12`: whole attention heads, 12 per layer, and whole neurons of the
feed-forward layers."""


def at(pattern: str, sparsity: float) -> str:
    """Return the pattern of a mask on the way to this one: 3:4 at 0.25 on the way to 2:4."""
    form = PatternForm.read(pattern)
    if form.of is None:
        return pattern
    m = form.of[1]
    return f"{m - round(m * sparsity)}:{m}"


def clash(pattern: str, per: Per) -> str | None:
    """Return the complaint about weights that a pattern cannot be ranked by; None where it can."""
    form = PatternForm.read(pattern)
    if form.of and per == "model":
        return f"pattern {pattern} is ranked in groups of {form.of[1]} weights, not per model"
    if form.heads and per == "row":
        return f"pattern {pattern} spans rows; rank it per matrix or per model"
    return None


def misfit(pattern: str, sparsity: float) -> str | None:
    """Return the complaint about a sparsity that a pattern cannot have; None where there is none.

    Shapes are not known yet: `Layout.check` counts heads, neurons and blocks.
    """
    form = PatternForm.read(pattern)
    if form.of is None:
        return None
    n, m = form.of
    if abs(1 - n / m - sparsity) <= 1e-9:
        return None
    return (
        f"pattern {pattern} prunes {m - n} of {m} weights, which is a sparsity of {1 - n / m:.4g} "
        f"and not {sparsity:.4g}"
    )
