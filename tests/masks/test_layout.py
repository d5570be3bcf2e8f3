"""Selection under a pattern: exact in each group, and what does not divide is refused."""

import itertools

import pytest
import torch
from torch import Tensor

from tamt_ray.masks.file import MaskFileError, mask_from_bytes, mask_to_bytes
from tamt_ray.masks.layout import Layout
from tamt_ray.masks.mask import Mask
from tamt_ray.masks.pruner import keep_by_sorting
from tamt_ray.masks.select import keep_largest_of_rows

LAYER = {
    "layer.0.attention.self.query.weight": (4, 6), "layer.0.attention.self.value.weight": (4, 6),
    "layer.0.attention.output.dense.weight": (6, 4), "layer.0.intermediate.dense.weight": (8, 6),
    "layer.0.output.dense.weight": (6, 8),
}  # fmt: skip


def drawn(shapes: dict[str, tuple[int, int]], seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def test_two_of_four_by_hand() -> None:
    scores = {"w": torch.tensor([[1.0, 4, 2, 3, 9, 9, 8, 9], [0, 0, 0, 0, 7, 5, 6, 5]])}
    mask = Mask.by_score(scores, 0.5, pattern="2:4")
    # Of equal scores the first are pruned.
    assert mask["w"].int().tolist() == [[0, 1, 0, 1, 0, 1, 0, 1], [0, 0, 1, 1, 1, 0, 1, 0]]


def test_blocks_by_hand() -> None:
    """Means of the 2 x 2 blocks: 4, 1 | 2, 3."""
    scores = {"w": torch.tensor([[4.0, 4, 0, 2], [0, 8, 1, 1], [2, 2, 3, 3], [2, 2, 9, -3]])}
    keep = Mask.by_score(scores, 0.5, pattern="2x2")["w"].int()
    assert keep.tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]


def test_heads_and_neurons_by_hand() -> None:
    """Two heads of width 2 and eight neurons; each is a set of rows here and of columns there."""
    scores = {name: torch.zeros(shape) for name, shape in LAYER.items()}
    scores["layer.0.attention.self.value.weight"][3, 5] = 1  # The second head.
    scores["layer.0.attention.output.dense.weight"][0, 0] = 0.5  # The first one.
    for neuron, name, at in (
        (1, "layer.0.intermediate.dense.weight", (1, 0)), (6, "layer.0.output.dense.weight", (2, 6))
    ):  # fmt: skip
        scores[name][at] = neuron
    mask = Mask.by_score(scores, 0.5, pattern="heads:2")
    for name in ("query", "value"):
        assert mask[f"layer.0.attention.self.{name}.weight"].all(1).tolist() == [0, 0, 1, 1]
    assert mask["layer.0.attention.output.dense.weight"].all(0).tolist() == [0, 0, 1, 1]
    kept = mask["layer.0.intermediate.dense.weight"].all(1).tolist()
    # Of the neurons without a score the first four are pruned.
    assert kept == [0, 1, 0, 0, 0, 1, 1, 1]
    assert mask["layer.0.output.dense.weight"].all(0).tolist() == kept
    assert mask.sparsity == 0.5


@pytest.mark.parametrize(
    ("names", "heads"),
    [
        (("attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin",
          "ffn.lin1", "ffn.lin2"), "layer.0."),
        (("attention.attn.q", "attention.attn.k", "attention.attn.v", "attention.attn.o",
          "intermediate.dense", "output.dense"), "layer.0.attention."),
        (("attn.Wqkv", "attn.Wo", "mlp.Wi", "mlp.Wo"), "layer.0."),
    ],
    ids=["distilbert", "mpnet", "modernbert"],
)  # fmt: skip
def test_heads_of_other_architectures(names: tuple[str, ...], heads: str) -> None:
    """ModernBERT has queries, keys and values in one matrix, and both halves of a gated unit."""
    shapes: dict[str, tuple[int, int]] = {}
    for name in names:
        sides = {"Wqkv": (12, 4), "Wi": (16, 4), "lin1": (8, 4), "intermediate.dense": (8, 4)}
        wide = name in {"mlp.Wo", "ffn.lin2", "output.dense"}
        rows = next((found for end, found in sides.items() if name.endswith(end)), (4, 4))
        shapes[f"layer.0.{name}.weight"] = (4, 8) if wide else rows
    scores = {name: torch.zeros(shape) for name, shape in shapes.items()}
    first = f"layer.0.{names[0]}.weight"
    scores[first][-1, 0] = 1  # The last row is the last head's.
    mask = Mask.by_score(scores, 0.5, pattern="heads:2")
    outer = next(name for name in names if name.endswith(("out_lin", "attn.o", "attn.Wo")))
    assert mask[f"layer.0.{outer}.weight"].all(0).tolist() == [0, 0, 1, 1], heads
    assert mask[first].view(-1, 2, 2, 4)[:, 1].all()
    assert not mask[first].view(-1, 2, 2, 4)[:, 0].any()


@pytest.mark.parametrize(
    ("pattern", "sparsity", "shape"),
    [("2:4", 0.5, (6, 8)), ("4:8", 0.5, (6, 16)), ("1:4", 0.75, (5, 4)), ("4x1", 0.25, (8, 6)),
     ("3x4", 0.5, (6, 8)), ("32x32", 0.75, (64, 64))],
)  # fmt: skip
def test_every_selection_is_exact_and_the_file_says_so(
    pattern: str, sparsity: float, shape: tuple[int, int]
) -> None:
    weights = drawn({"a": shape, "b": shape})
    weights["b"] = weights["b"].round()  # Many ties.
    for mask in (
        Mask.by_magnitude(weights, sparsity, pattern=pattern),
        Mask.at_random(weights, sparsity, 1, pattern=pattern),
    ):
        assert mask.sparsity == pytest.approx(sparsity)
        assert all(float(m.float().mean()) == pytest.approx(1 - sparsity) for m in mask.values())
        again = mask_from_bytes(mask_to_bytes(mask))
        assert again.pattern == pattern
        assert all(torch.equal(again[name], mask[name]) for name in mask)


def test_random_masks_under_a_pattern_are_uniform() -> None:
    weights = {"w": torch.empty(1, 4)}
    counts = torch.zeros(4)
    for seed in range(600):
        counts += Mask.at_random(weights, 0.5, seed, pattern="2:4")["w"][0]
    # 300 ± 12 each; five standard deviations.
    assert (counts - 300).abs().max() < 61, counts


def test_a_file_that_breaks_its_own_pattern_is_refused() -> None:
    mask = Mask.by_magnitude(drawn({"w": (4, 8)}), 0.5, pattern="2:4")
    data = bytearray(mask_to_bytes(mask))
    data[-1] ^= 1
    with pytest.raises(MaskFileError, match="w breaks the pattern 2:4"):
        mask_from_bytes(bytes(data))
    with pytest.raises(MaskFileError, match="'5:4' is no pattern"):
        mask_from_bytes(mask_to_bytes(mask).replace(b'"pattern":"2:4"', b'"pattern":"5:4"'))


@pytest.mark.parametrize("pattern", ["2:4", "2x2"])
def test_a_mask_cannot_hold_another_pattern(pattern: str) -> None:
    keep = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]], dtype=torch.bool)
    with pytest.raises(ValueError, match=f"w breaks the pattern {pattern}"):
        Mask({"w": keep}, pattern)


@pytest.mark.parametrize("count", [4, 8, 30])
@pytest.mark.parametrize("rounded", [False, True])
def test_rows_are_selected_as_by_a_sort(count: int, rounded: bool) -> None:
    values = torch.randn(50, count, generator=torch.Generator().manual_seed(0))
    values = values.round() if rounded else values
    for zeros in (0, 1, count // 2, count):
        expected = torch.stack([keep_by_sorting(row, zeros) for row in values])
        assert torch.equal(keep_largest_of_rows(values, zeros), expected)


def test_weights_are_ranked_per_row_or_over_the_model() -> None:
    scores = {"a": torch.tensor([[1.0, 2], [3, 4]]), "b": torch.tensor([[5.0, 6], [7, 8]])}
    rows = Mask.by_score(scores, 0.5, per="row")
    assert all(mask.int().tolist() == [[0, 1], [0, 1]] for mask in rows.values())
    whole = Mask.by_score(scores, 0.5, per="model")
    assert not whole["a"].any()
    assert whole["b"].all()
    blocks = Mask.by_score(scores, 0.75, pattern="1x2", per="model")
    assert {name: mask.int().tolist() for name, mask in blocks.items()} == {
        "a": [[0, 0], [0, 0]], "b": [[0, 0], [1, 1]]
    }  # fmt: skip


@pytest.mark.parametrize(
    ("pattern", "sparsity", "shapes", "complaint"),
    [
        ("2:4", 0.5, {"w": (4, 6)}, "2:4 does not divide w, 4 x 6"),
        ("32x32", 0.5, {"w": (48, 64)}, "32x32 does not divide w, 48 x 64"),
        ("32x32", 0.7, {"w": (64, 64)}, "0.7 of the 4 units of w; the nearest .* 0.5 and 0.75"),
        ("heads:3", 0.5, LAYER, "has 4 columns, which are no 3 heads"),
        ("heads:2", 0.7, LAYER, "0.7 of the 2 units of layer.0.heads; the nearest .* 0.5 and 1"),
        ("heads:2", 0.5, {"words.weight": (40, 4)}, "no heads or neurons in words.weight; .*prune"),
        ("heads:2", 0.5, dict(itertools.islice(LAYER.items(), 2)), "needs all matrices of layer.0"),
    ],
)  # fmt: skip
def test_impossible_combinations(
    pattern: str, sparsity: float, shapes: dict[str, tuple[int, int]], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        Layout(shapes, pattern).check(sparsity)
