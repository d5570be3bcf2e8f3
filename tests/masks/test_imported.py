"""Masks that other programs wrote: read as they are meant, or refused with the reason."""

import json

import pytest
import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.utils import prune

from tamt_ray.masks.file import MaskFileError, imported_mask, mask_to_bytes
from tamt_ray.masks.mask import Mask

WEIGHTS = {"a.weight": torch.zeros(4, 5), "layer.a.weight": torch.zeros(2, 10)}
FLAGS = {
    "a.weight": torch.tensor([[1, 0] * 5, [0, 1] * 5]).view(4, 5).bool(),
    "layer.a.weight": torch.tensor([[1] * 8 + [0] * 2, [0] * 8 + [1] * 2]).bool(),
}
"""Half of all, and of each matrix."""


def read(data: bytes, sparsity: float = 0.5) -> Mask:
    return imported_mask(data, WEIGHTS, sparsity, "dir:m.st")


def same(mask: Mask) -> bool:
    return mask.keys() == FLAGS.keys() and all(mask[n].equal(flags) for n, flags in FLAGS.items())


def test_one_bit_a_weight_as_tamt_export_writes_it() -> None:
    assert same(read(mask_to_bytes(Mask(FLAGS))))


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float32])
@pytest.mark.parametrize("prefix", ["", "bert.", "model.bert."])
def test_flags_of_any_type_behind_any_prefix(dtype: torch.dtype, prefix: str) -> None:
    """`a.weight` ends another name too: what a name means is told by all of it."""
    assert same(read(save({prefix + name: flags.to(dtype) for name, flags in FLAGS.items()})))


def test_the_state_of_a_model_pruned_by_torch() -> None:
    model = nn.Module()
    model.a, model.layer = nn.Linear(5, 4), nn.Module()
    model.layer.a = nn.Linear(10, 2)
    for name, flags in FLAGS.items():
        module = model.get_submodule(name.removesuffix(".weight"))
        prune.custom_from_mask(module, "weight", flags)
    assert "a.weight_mask" in model.state_dict()
    assert same(read(save(model.state_dict())))


def test_the_zeros_may_lie_where_they_will() -> None:
    """As global pruning shares them out: 15 of 20 and 5 of 20."""
    counts = {"a.weight": 15, "layer.a.weight": 5}
    flags = {n: torch.arange(20).ge(counts[n]).view(w.shape) for n, w in WEIGHTS.items()}
    assert read(save(flags)).zeros == 20


BAD: list[tuple[dict[str, Tensor] | bytes, float, str]] = [
    (FLAGS, 0.51, r"50.00% of the weights are pruned, which is no mask at 0.51"),
    ({"a.weight": FLAGS["a.weight"]}, 0.5, r"no mask of layer.a.weight: a file has all 2"),
    ({**FLAGS, "b.weight": FLAGS["a.weight"].clone()}, 0.5, r"b.weight is none of the matrices"),
    ({**FLAGS, "c.a.weight": FLAGS["a.weight"].clone()}, 0.5, r"one of several masks of a.weight"),
    ({**FLAGS, "a.weight": FLAGS["a.weight"].T.contiguous()}, 0.5, r"another model's: a.weight"),
    ({**FLAGS, "a.weight": FLAGS["a.weight"] * 2}, 0.5, r"a.weight: a mask is made of 0 and 1"),
    (mask_to_bytes(Mask(FLAGS))[:-1], 0.5, "not a mask file"),
    (b"", 0.5, "not a mask file"),
    (b"PK\x03\x04" * 9, 0.5, "not a mask file"),
]


@pytest.mark.parametrize(("content", "sparsity", "complaint"), BAD)
def test_anything_else_is_refused_with_the_name_of_the_file(
    content: dict[str, Tensor] | bytes, sparsity: float, complaint: str
) -> None:
    data = content if isinstance(content, bytes) else save(content)
    with pytest.raises(MaskFileError, match=f"^dir:m.st: .*{complaint}"):
        read(data, sparsity)


@pytest.mark.parametrize(
    "data",
    [
        save({name: flags.view(-1).float() for name, flags in FLAGS.items()}),
        save({name: flags.view(1, *flags.shape) for name, flags in FLAGS.items()}),
        save({name: torch.tensor(1.0) for name in FLAGS}),
        save({name: torch.zeros(0, 4) for name in FLAGS}),
        save({}),
        save({name: flags.float() * torch.nan for name, flags in FLAGS.items()}),
        save({name: flags.float().to(torch.float8_e8m0fnu) for name, flags in FLAGS.items()}),
        b"version https://git-lfs.github.com/spec/v1\n",
        b"",
        mask_to_bytes(Mask(FLAGS), {"more": "x" * 100})[:60],
    ],
    ids=["flat", "cube", "numbers", "empty", "nothing", "NaN", "odd type", "pointer", "0", "cut"],
)
def test_what_is_no_mask_is_refused_as_such(data: bytes) -> None:
    with pytest.raises(MaskFileError):
        read(data)


def test_metadata_nested_too_deep_is_no_mask() -> None:
    shapes = "[" * 100_000 + "]" * 100_000
    metadata = {"__metadata__": {"format": "tamt-mask-1", "shapes": shapes}}
    header = json.dumps(metadata).encode()
    with pytest.raises(MaskFileError, match="not a mask file"):
        read(len(header).to_bytes(8, "little") + header)


def test_a_file_is_held_to_the_pattern_that_is_asked_for() -> None:
    weights = {"w": torch.zeros(2, 8)}
    mask = Mask.by_score({"w": torch.arange(16.0).view(2, 8)}, 0.5, pattern="2:4")
    for data in (mask_to_bytes(mask), save(dict(mask))):
        assert imported_mask(data, weights, 0.5, "dir:m.st", "2:4").pattern == "2:4"
        assert imported_mask(data, weights, 0.5, "dir:m.st").pattern == "unstructured"
        with pytest.raises(MaskFileError, match=r"dir:m\.st: w breaks the pattern 1x4"):
            imported_mask(data, weights, 0.5, "dir:m.st", "1x4")
