"""How a method and a sparsity look, the same in every figure."""

from collections.abc import Sequence
from typing import Literal

from tamt_ray.methods.base import Look
from tamt_ray.methods.registry import METHODS
from tamt_ray.plan.expand import DENSE

Dashes = Literal["-"] | tuple[float, tuple[float, ...]]

_METHODS: dict[str, Look] = {
    DENSE: ("#1a1a1a", "*"),
    **{name: look for kind in METHODS.distinct for name, look in kind.looks.items()},
}
"""Ours have Okabe and Ito's colours, which people with any colour vision can tell apart."""
_FURTHER: tuple[Look, ...] = (
    ("#56b4e9", "P"), ("#332288", "<"), ("#999933", ">"), ("#882255", "p"), ("#44aa99", "h"),
)  # fmt: skip
_LINES: tuple[Dashes, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1, 2)))
_SPARSITIES = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "d")


def method_styles(methods: Sequence[str]) -> dict[str, Look]:
    """Return colour and marker of each method; the further ones, in turn, where it has no look."""
    others = [method for method in methods if method not in _METHODS]
    return {
        method: _METHODS[method]
        if method in _METHODS
        else _FURTHER[others.index(method) % len(_FURTHER)]
        for method in methods
    }


def line_styles(names: Sequence[str]) -> dict[str, Dashes]:
    """Solid for the first name, then dashes, dots and both in turn."""
    return {name: _LINES[i % len(_LINES)] for i, name in enumerate(names)}


def sparsity_markers(sparsities: Sequence[float]) -> dict[float, str]:
    """A marker for each sparsity, in rising order."""
    return {s: _SPARSITIES[i % len(_SPARSITIES)] for i, s in enumerate(sorted(set(sparsities)))}
