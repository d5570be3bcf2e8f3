"""Colour and shape of each method, the same in every figure."""

from collections.abc import Sequence
from functools import cache
from itertools import product

import numpy as np

from tamt_ray.analysis.stats.effect import Array
from tamt_ray.methods.base import Look
from tamt_ray.methods.registry import METHODS
from tamt_ray.plan.expand import DENSE

INK = "#1a1a1a"
"""Colour of the dense model; the report draws it in the colour of its text."""
_KNOWN: dict[str, Look] = {
    DENSE: (INK, "circle"),
    **{name: look for kind in METHODS.distinct for name, look in kind.looks.items()},
}
"""The paper's methods have Okabe and Ito's colours, which people with any colour vision can tell
apart."""
SHAPES = (
    "circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right",
    "triangle-left",
)  # fmt: skip


def method_styles(methods: Sequence[str]) -> dict[str, Look]:
    """Return a colour and a shape for each method; no two methods share a colour.

    A known method keeps its own whatever else is drawn, unless another package's method before it
    has the same; all further ones get those farthest from the colours that are taken.
    """
    found: dict[str, Look] = {}
    taken = {colour for colour, _ in _KNOWN.values()}
    for method in methods:
        look = _KNOWN.get(method)
        if look is None or look[0] in {colour for colour, _ in found.values()}:
            look = _further(tuple(sorted(taken))), SHAPES[len(found) % len(SHAPES)]
        found[method] = look
        taken.add(look[0])
    return found


def oklab(colour: str) -> Array:
    """Return a colour such as `#0072b2` as [lightness, a, b] in OKLab, where distances are as
    large as they look (Ottosson 2020)."""
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    cones = np.cbrt(_TO_CONES @ linear)
    return _TO_LAB @ cones


@cache
def _further(taken: tuple[str, ...]) -> str:
    """Return the colour farthest from those taken and from the pages, light and dark."""
    colours, places = _candidates()
    known = np.array([oklab(colour) for colour in (*taken, "#ffffff", "#14181d")])
    nearest = np.linalg.norm(places[:, None] - known, axis=2).min(axis=1)
    return colours[int(nearest.argmax())]


@cache
def _candidates() -> tuple[list[str], Array]:
    steps = range(0x22, 0xE0, 0x16)
    colours = [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in product(steps, repeat=3)]
    places = np.array([oklab(colour) for colour in colours])
    # Between the lightness of a white and of a dark page.
    visible = (places[:, 0] > 0.42) & (places[:, 0] < 0.82)
    return [c for c, fit in zip(colours, visible, strict=True) if fit], places[visible]


_TO_CONES = np.array(
    [[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566],
     [0.0883024619, 0.2817188376, 0.6299787005]]
)  # fmt: skip
_TO_LAB = np.array(
    [[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099],
     [0.0259040371, 0.7827717662, -0.8086757660]]
)  # fmt: skip
