"""One bit a weight on disk, back without a loss, and nothing else taken for a mask."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load, save

from tamt_ray.masks.file import MaskFileError, mask_from_bytes, mask_to_bytes
from tamt_ray.masks.mask import Mask

SHAPES = st.dictionaries(
    st.sampled_from(["a", "layer.0.weight", "ü"]),
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    min_size=1,
)


@settings(max_examples=40, deadline=None)
@given(SHAPES, st.integers(0, 99))
def test_there_and_back(shapes: dict[str, tuple[int, int]], seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    mask = Mask({name: torch.rand(shape, generator=draw) < 0.5 for name, shape in shapes.items()})
    again = mask_from_bytes(mask_to_bytes(mask, {"method": "omp"}))
    assert set(again) == set(mask)
    assert all(torch.equal(again[name], mask[name]) for name in mask)


def test_the_bits_by_hand() -> None:
    """Row-major, the most significant bit first: 101 00|1 → 1010 0100."""
    mask = Mask({"w": torch.tensor([[1, 0, 1], [0, 0, 1]], dtype=torch.bool)})
    data = mask_to_bytes(mask, {"sparsity": "0.5"})
    assert load(data)["w"].tolist() == [0b10100100]
    length = int.from_bytes(data[:8], "little")
    assert json.loads(data[8 : 8 + length])["__metadata__"] == {
        "format": "tamt-mask-1", "shapes": '{"w": [2, 3]}', "sparsity": "0.5",
    }  # fmt: skip


def test_another_reader_of_the_format_reads_it(tmp_path: Path) -> None:
    mask = Mask.at_random({"b": torch.empty(50, 3), "a": torch.empty(4, 5)}, 0.5, seed=1)
    (tmp_path / "mask.safetensors").write_bytes(mask_to_bytes(mask, {"method": "random"}))
    with safe_open(tmp_path / "mask.safetensors", "np") as file:
        assert file.metadata()["method"] == "random"
        for name in mask:
            bits = np.unpackbits(file.get_tensor(name), count=mask[name].numel())
            assert np.array_equal(bits.astype(bool), mask[name].numpy().reshape(-1))


def test_a_weight_costs_a_bit() -> None:
    """The header takes about 90 bytes a matrix; BERT's own have 590 thousand weights and more."""
    mask = Mask.at_random({str(i): torch.empty(500, 400) for i in range(4)}, 0.5, seed=1)
    assert mask.weights == 800_000
    assert 800_000 / 8 < len(mask_to_bytes(mask)) <= 1.01 * 800_000 / 8


def test_equal_masks_are_equal_files() -> None:
    """Two workers may commit one unit; either record must vouch for either file."""
    keep = {name: torch.eye(9, dtype=torch.bool) for name in "ab"}
    first = mask_to_bytes(Mask(keep), {"x": "y", "method": "omp"})
    for _ in range(5):
        turned = Mask({name: keep[name] for name in "ba"})
        assert mask_to_bytes(turned, {"method": "omp", "x": "y"}) == first


GOOD = mask_to_bytes(Mask({"a": torch.ones(5, 7, dtype=torch.bool)}))


def packed(shapes: object, size: int = 5, form: str = "tamt-mask-1") -> bytes:
    bits = np.zeros(size, dtype=np.uint8)
    return save({"a": bits}, metadata={"format": form, "shapes": json.dumps(shapes)})


@pytest.mark.parametrize(
    "data",
    [
        b"", GOOD[:4], GOOD[:-1], GOOD + b"x", GOOD[: len(GOOD) // 2], b"\xff" * 200,
        b"PK\x03\x04" + bytes(100),
        save({"a": np.zeros(5, dtype=np.uint8)}),
        save({"a": np.zeros((5, 7), dtype=np.float32)}, metadata={"format": "pt"}),
        packed({"a": [5, 7]}, form="tamt-mask-2"),
        packed({"b": [5, 7]}), packed({}), packed({"a": [5, 7], "b": [1, 1]}),
        packed({"a": [50, 70]}), packed({"a": [5, 3]}), packed({"a": [-5, -7]}),
        packed({"a": [0, 7]}), packed({"a": 35}), packed({"a": ["5", "7"]}), packed([["a", 5, 7]]),
        packed({"a": [5.0, 7]}), packed({"a": [35]}), packed({"a": [5, 7, 1]}),
    ],
)  # fmt: skip
def test_nothing_else_is_taken_for_a_mask(data: bytes) -> None:
    with pytest.raises(MaskFileError):
        mask_from_bytes(data)


def test_the_file_that_the_damage_is_done_to_is_good() -> None:
    assert mask_from_bytes(GOOD).weights == 35
    assert mask_from_bytes(packed({"a": [5, 7]})).zeros == 35


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
def test_a_damaged_byte_is_noticed_or_harmless(position: int, value: int) -> None:
    """The content is vouched for by the record; here no damage may end in another error."""
    data = bytearray(GOOD)
    data[position] = value
    try:
        mask = mask_from_bytes(bytes(data))
    except MaskFileError:
        return
    assert mask.weights == 35
