"""What a mask covers, what it keeps out, and that pruned weights stay at zero."""

import math

import pytest
import torch
from torch import nn
from transformers import (
    AlbertConfig,
    AlbertModel,
    BertConfig,
    BertModel,
    RobertaConfig,
    RobertaModel,
)

from tamt_ray.masks.mask import (
    KeptZero,
    Mask,
    apply_mask,
    clear_pruned,
    pruned_nonzero,
    zero_pruned,
)
from tamt_ray.masks.matrices import UnsupportedModelError, prunable_matrices
from tamt_ray.values.pattern import Per

TINY = {
    "vocab_size": 40, "hidden_size": 8, "num_hidden_layers": 3, "num_attention_heads": 2,
    "intermediate_size": 16, "max_position_embeddings": 20,
}  # fmt: skip


def mask_of(**rows: list[list[int]]) -> Mask:
    return Mask({name: torch.tensor(values, dtype=torch.bool) for name, values in rows.items()})


@pytest.mark.parametrize(
    "matrix",
    [torch.ones(2, 2), torch.ones(2, 2, dtype=torch.int64), torch.ones(2, 2, dtype=torch.uint8),
     torch.ones(4, dtype=torch.bool), torch.ones(2, 2, 2, dtype=torch.bool),
     torch.tensor(True), torch.ones(0, 3, dtype=torch.bool)],
)  # fmt: skip
def test_a_mask_holds_boolean_matrices_only(matrix: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="layer: a mask is a bool matrix"):
        Mask({"good": torch.ones(1, 1, dtype=torch.bool), "layer": matrix})


def test_a_mask_of_nothing_is_none() -> None:
    with pytest.raises(ValueError, match="at least one matrix"):
        Mask({})


def test_counts_by_hand() -> None:
    mask = mask_of(a=[[1, 0, 1], [0, 0, 1]], b=[[1], [0]])
    assert (mask.weights, mask.zeros, mask.sparsity) == (8, 4, 0.5)
    assert list(mask) == ["a", "b"]
    assert len(mask) == 2


def test_a_mask_cannot_be_given_another_matrix() -> None:
    given = {"a": torch.ones(1, 2, dtype=torch.bool)}
    mask = Mask(given)
    given["b"] = torch.ones(1, 1, dtype=torch.bool)
    assert list(mask) == ["a"]
    with pytest.raises(TypeError):
        mask["a"] = given["b"]  # pyright: ignore[reportIndexIssue]


def test_magnitude_is_local_to_each_matrix_and_ignores_the_sign() -> None:
    weights = {
        "small": torch.tensor([[0.1, -0.4], [0.2, -0.3]]),
        "large": torch.tensor([[-9.0, 8.0]]),
    }
    mask = Mask.by_magnitude(weights, 0.5)
    assert mask["small"].tolist() == [[False, True], [False, True]]
    assert mask["large"].tolist() == [[True, False]]
    signed = Mask.by_score(weights, 0.5)
    assert signed["small"].tolist() == [[True, False], [True, False]]


@pytest.mark.parametrize("per", ["matrix", "row", "model"])
def test_a_score_that_is_not_a_number_ranks_nothing(per: Per) -> None:
    scores = {"w": torch.tensor([[1.0, math.nan], [math.inf, 0.0]])}
    with pytest.raises(ValueError, match="w: 1 scores are not a number"):
        Mask.by_score(scores, 0.5, per=per)


def test_random_masks_follow_the_seed_and_nothing_else() -> None:
    weights = {"a": torch.randn(30, 40), "b": torch.randn(20, 30)}
    other = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    torch.manual_seed(0)
    first = Mask.at_random(weights, 0.7, seed=3)
    torch.manual_seed(1)
    second = Mask.at_random(other, 0.7, seed=3)
    third = Mask.at_random(weights, 0.7, seed=4)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["a"], third["a"])
    assert first.zeros == 840 + 420


def test_a_random_mask_prefers_no_place() -> None:
    """Each of 64 places is pruned in half of 400 masks: 200 ± 10; 6 deviations are allowed."""
    weights = {"a": torch.zeros(8, 8)}
    total = sum(Mask.at_random(weights, 0.5, seed)["a"].float() for seed in range(400))
    assert float(total.min()) > 140
    assert float(total.max()) < 260


def test_another_models_mask_is_refused() -> None:
    mask = mask_of(a=[[1, 0]])
    for wrong in ({"a": torch.ones(2, 1)}, {"b": torch.ones(1, 2)}, {},
                  {"a": torch.ones(1, 2), "b": torch.ones(1, 2)}):  # fmt: skip
        with pytest.raises(ValueError, match="another model's"):
            mask.check_covers(wrong)
        with pytest.raises(ValueError, match="another model's"):
            zero_pruned({name: nn.Parameter(value) for name, value in wrong.items()}, mask)
    mask.check_covers({"a": torch.zeros(1, 2)})


def test_pruned_weights_are_zeroed_and_kept_ones_are_untouched() -> None:
    weight = nn.Parameter(torch.tensor([[1.0, -2.0], [3.0, 4.0]]))
    mask = mask_of(w=[[1, 0], [0, 1]])
    assert pruned_nonzero({"w": weight}, mask) == 2
    zero_pruned({"w": weight}, mask)
    assert weight.tolist() == [[1.0, 0.0], [0.0, 4.0]]
    assert pruned_nonzero({"w": weight}, mask) == 0
    assert weight.requires_grad


@pytest.mark.parametrize("optimizer", ["AdamW", "Adam", "SGD"])
@pytest.mark.parametrize("hooks", [False, True])
def test_no_optimiser_moves_a_pruned_weight(optimizer: str, *, hooks: bool) -> None:
    """Weight decay, momentum, accumulated gradients and clipping included."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = nn.Linear(6, 5)
        data = torch.randn(20, 8, 6)
    weights = {"w": layer.weight}
    mask = Mask.by_magnitude(weights, 0.6)
    kept_before = layer.weight.detach().clone()
    pruned = KeptZero(weights, mask)
    if hooks:
        apply_mask(weights, mask)
    more = {"momentum": 0.9} if optimizer == "SGD" else {}
    steps = getattr(torch.optim, optimizer)(layer.parameters(), lr=0.1, weight_decay=0.1, **more)
    for batch in data:
        for half in batch.split(4):
            (layer(half) ** 2).sum().backward()
        if not hooks:
            pruned.clear_gradients()
        nn.utils.clip_grad_norm_(layer.parameters(), 1.0)
        steps.step()
        steps.zero_grad()
        assert pruned_nonzero(weights, mask) == 0
    keep = mask["w"]
    assert not torch.equal(layer.weight[keep], kept_before[keep])
    assert int(torch.count_nonzero(layer.weight[keep])) == 12


@pytest.mark.parametrize("shape", [(), (3,), (5, 7), (400, 700)])
@pytest.mark.parametrize("turned", [False, True])
def test_clearing_is_the_product_with_the_flags_to_the_bit(
    shape: tuple[int, ...], turned: bool
) -> None:
    """The last shape is of more than one chunk; transposed, the memory is in another order."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(shape, generator=generator)
    if values.numel() > 4:
        values.view(-1)[:4] = torch.tensor([torch.inf, -torch.inf, torch.nan, -0.0])
    keep = torch.rand(shape, generator=generator) > 0.5
    if turned and values.ndim > 1:
        values, keep = values.mT, keep.mT
    expected = values * keep
    at_once = values.clone()
    torch._foreach_mul_([at_once], [keep])  # A GPU's way.
    clear_pruned([values], [keep])
    for found in (values, at_once):
        bits = found.reshape(-1).view(torch.int32)
        assert torch.equal(bits, expected.reshape(-1).view(torch.int32))


def test_clearing_takes_all_matrices_of_any_type() -> None:
    for kind in (torch.float32, torch.float64):
        values = [torch.ones(2, 2, dtype=kind), torch.ones(3, dtype=kind)]
        clear_pruned(values, [torch.eye(2) > 0, torch.zeros(3, dtype=torch.bool)])
        assert [each.sum() for each in values] == [2, 0]


def test_without_the_handles_gradients_flow_again() -> None:
    weight = nn.Parameter(torch.ones(1, 2))
    handles = apply_mask({"w": weight}, mask_of(w=[[1, 0]]))
    weight.sum().backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == [[1.0, 0.0]]
    for handle in handles:
        handle.remove()
    weight.grad = None
    weight.sum().backward()
    assert weight.grad.tolist() == [[1.0, 1.0]]


LINEAR = (
    "attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense",
    "intermediate.dense", "output.dense",
)  # fmt: skip


@pytest.mark.parametrize("pooler", [True, False])
@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_six_matrices_a_layer_and_the_word_embedding(kind: str, pooler: bool) -> None:
    """3 layers of 4 × 8·8 + 2 × 8·16 weights, and 40 × 8 of the vocabulary."""
    if kind == "bert":
        body = BertModel(BertConfig(**TINY), add_pooling_layer=pooler)
    else:
        body = RobertaModel(RobertaConfig(**TINY), add_pooling_layer=pooler)
    matrices = prunable_matrices(body)
    expected = {f"encoder.layer.{i}.{name}.weight" for i in range(3) for name in LINEAR}
    assert set(matrices) == expected | {"embeddings.word_embeddings.weight"}
    assert sum(matrix.numel() for matrix in matrices.values()) == 3 * (4 * 64 + 2 * 128) + 320
    own = dict(body.named_parameters())
    assert all(matrices[name] is own[name] for name in matrices)


def test_shared_layers_are_refused() -> None:
    config = AlbertConfig(**TINY, embedding_size=8)
    with pytest.raises(UnsupportedModelError, match=r"AlbertModel .*shared between layers"):
        prunable_matrices(AlbertModel(config))


def test_what_is_no_transformer_is_refused() -> None:
    with pytest.raises(UnsupportedModelError, match="no list of Transformer layers"):
        prunable_matrices(nn.Sequential(nn.Linear(2, 2)))
    layers = nn.Sequential(nn.ModuleList([nn.Linear(2, 2)]))
    with pytest.raises(UnsupportedModelError, match="no word embedding"):
        prunable_matrices(layers)
