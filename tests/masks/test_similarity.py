"""Jaccard similarity, counted on the fingers."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tamt_ray.masks.mask import Mask

from .similarity import jaccard, jaccard_global, jaccard_macro


def mask_of(**rows: list[int]) -> Mask:
    return Mask({name: torch.tensor([row], dtype=torch.bool) for name, row in rows.items()})


FIRST = mask_of(a=[1, 1, 0, 0], b=[1, 1, 1, 1, 1, 0], c=[0, 0])
SECOND = mask_of(a=[1, 0, 1, 0], b=[0, 1, 1, 1, 1, 0], c=[0, 0])


def test_by_hand() -> None:
    """a: 1 of 3; b: 4 of 5; c: nothing kept in either, which is alike."""
    assert jaccard(FIRST, SECOND) == pytest.approx({"a": 1 / 3, "b": 0.8, "c": 1.0})
    assert jaccard_macro(FIRST, SECOND) == pytest.approx((1 / 3 + 0.8 + 1) / 3)
    assert jaccard_global(FIRST, SECOND) == pytest.approx(5 / 8)


def test_empty_masks() -> None:
    empty, full = mask_of(a=[0, 0]), mask_of(a=[1, 1])
    assert jaccard_global(empty, empty) == jaccard_macro(empty, empty) == 1.0
    assert jaccard_global(empty, full) == jaccard_macro(empty, full) == 0.0


def test_masks_of_two_models_cannot_be_compared() -> None:
    for other in (mask_of(a=[1, 1]), mask_of(a=[1] * 4, b=[1] * 6, d=[0, 0])):
        for compare in (jaccard, jaccard_macro, jaccard_global):
            with pytest.raises(ValueError, match="another model's"):
                compare(FIRST, other)


BITS = st.lists(st.booleans(), min_size=6, max_size=6)


@settings(max_examples=40, deadline=None)
@given(BITS, BITS)
def test_against_sets(first: list[bool], second: list[bool]) -> None:
    kept = [{i for i, bit in enumerate(bits) if bit} for bits in (first, second)]
    union = kept[0] | kept[1]
    expected = len(kept[0] & kept[1]) / len(union) if union else 1.0
    a, b = mask_of(w=list(map(int, first))), mask_of(w=list(map(int, second)))
    assert jaccard_global(a, b) == jaccard_global(b, a) == pytest.approx(expected)
    assert jaccard_global(a, a) == 1.0
