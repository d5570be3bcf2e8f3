"""Colours and shapes of methods, the same in all figures and easy to tell apart."""

from collections.abc import Iterator, Mapping
from itertools import combinations

import numpy as np
import pytest

from tamt_ray.analysis.figures.palette import method_styles, oklab
from tamt_ray.analysis.figures.vega import Figure

from .figure_cases import data, data_of, drawn

__all__ = ["data", "data_of", "drawn"]


METHODS = ["full", "random", "omp", "imp", "tamt_mlm", "tamt_kd", "tamt_mlm_kd"]


def test_a_method_looks_the_same_in_every_figure(drawn: Mapping[str, Figure]) -> None:
    seen: dict[str, set[str]] = {}
    for figure in drawn.values():
        for scale in _scales(figure.spec):
            for method, colour in zip(scale["domain"], scale["range"], strict=True):
                if str(colour).startswith("#"):
                    seen.setdefault(method, set()).add(colour)
    assert {*METHODS, "kd_from_random"} <= set(seen)
    assert all(len(colours) == 1 for colours in seen.values()), seen


def _scales(part: object) -> Iterator[dict]:
    if isinstance(part, dict):
        if part.get("field") == "method" and isinstance(part.get("scale"), dict):
            yield part["scale"]
        for value in part.values():
            yield from _scales(value)
    elif isinstance(part, list):
        for value in part:
            yield from _scales(value)


@pytest.mark.parametrize("further", [0, 6, 18])
def test_colours_of_methods_can_be_told_apart(further: int) -> None:
    """In OKLab, where 0.02 is a difference that is just seen side by side."""
    looks = method_styles([*METHODS, *(f"mine_{i}" for i in range(further))])
    places = {method: oklab(colour) for method, (colour, _) in looks.items()}
    nearest = min(np.linalg.norm(a - b) for a, b in combinations(places.values(), 2))
    assert nearest > 0.06
    # Each against a white page and a dark one; the report draws the dense model in its ink.
    for method in list(looks)[1:]:
        for page in ("#ffffff", "#14181d"):
            assert np.linalg.norm(places[method] - oklab(page)) > 0.15, (method, page)


def test_a_method_keeps_its_look_whatever_else_is_drawn() -> None:
    alone, together = method_styles(["imp"]), method_styles(["mine", "omp", "imp", "other"])
    assert alone["imp"] == together["imp"]
    assert len({colour for colour, _ in together.values()}) == 4


def test_oklab_by_its_author() -> None:
    """White is (1, 0, 0); red as published by Ottosson."""
    assert oklab("#ffffff") == pytest.approx([1, 0, 0], abs=1e-3)
    assert oklab("#ff0000") == pytest.approx([0.628, 0.225, 0.126], abs=1e-3)


def test_drawings_keep_the_colours_of_all_methods(drawn: Mapping[str, Figure]) -> None:
    """Files that people take away: no palette is reduced on the way."""
    svg = drawn["main_results"].svg
    for method in METHODS[1:]:
        assert method_styles([method])[method][0] in svg, method
