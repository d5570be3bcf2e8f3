"""Packed masks are compared as the unpacked ones are."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tamt_ray.masks.file import bits_from_bytes, mask_to_bytes
from tamt_ray.masks.mask import Mask

from .similarity import jaccard_global, jaccard_macro

SHAPES = st.dictionaries(
    st.sampled_from(["a", "b", "ü"]), st.tuples(st.integers(1, 9), st.integers(1, 17)), min_size=1
)


@settings(max_examples=40, deadline=None)
@given(SHAPES, st.integers(0, 99), st.sampled_from([0.0, 0.1, 0.5, 1.0]))
def test_same_as_unpacked(shapes: dict[str, tuple[int, int]], seed: int, density: float) -> None:
    draw = torch.Generator().manual_seed(seed)
    first, second = (
        Mask({name: torch.rand(shape, generator=draw) < density for name, shape in shapes.items()})
        for _ in range(2)
    )
    one, other = (bits_from_bytes(mask_to_bytes(mask)) for mask in (first, second))
    macro, whole = one.distances(other)
    assert macro == pytest.approx(1 - jaccard_macro(first, second))
    assert whole == pytest.approx(1 - jaccard_global(first, second))
    assert one.distances(one) == (0, 0)
    assert one.kept.sum() == first.weights - first.zeros


def test_another_models_mask_is_refused() -> None:
    first, second = (
        bits_from_bytes(mask_to_bytes(Mask({"a": torch.ones(shape, dtype=torch.bool)})))
        for shape in ((2, 4), (4, 2))
    )
    with pytest.raises(ValueError, match="another model's"):
        first.distances(second)


def test_an_eighth_of_a_byte_a_weight() -> None:
    mask = Mask({str(i): torch.ones((500, 400), dtype=torch.bool) for i in range(4)})
    assert bits_from_bytes(mask_to_bytes(mask)).nbytes == np.ceil(200_000 / 64) * 8 * 4
