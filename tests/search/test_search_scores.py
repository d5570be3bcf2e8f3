"""Mask training (Eq. 3–5) against a plain reference, and what it leaves alone."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tamt_ray.data.tokens import Blocks
from tamt_ray.masks.mask import Mask
from tamt_ray.search.engine import train
from tamt_ray.search.language_model import LanguageModel
from tamt_ray.search.loss import SearchLoss
from tamt_ray.search.mlm_corruption import Stream, stack
from tamt_ray.search.process_group import ProcessGroup
from tamt_ray.search.tamt import MaskedWeights
from tamt_ray.values.training import Scoring

from .search_probes import (
    CLIP,
    HORIZON,
    doubled,
    masked_weights,
    record,
    same,
    settings,
    state,
    terms_of,
    train_mask,
)
from .search_reference import Reference, prune_smallest

LoadModel = Callable[[Path], LanguageModel]
LoadBlocks = Callable[[Path], Blocks]
TERMS: dict[str, list[str]] = {
    "mlm": ["mlm_loss"], "kd": ["kd_loss"], "mlm_kd": ["mlm_loss", "kd_loss"],
}  # fmt: skip
LR = 0.0037
"""Large enough for scores to cross within six steps, and no divisor of αφ, so that no kept and
pruned scores meet exactly."""
ZEROS = {
    0.0: {640: 0, 256: 0, 512: 0},
    0.3: {640: 192, 256: 77, 512: 154},  # 76.8 and 153.6 are rounded
    0.7: {640: 448, 256: 179, 512: 358},  # 179.2, 358.4
    0.9: {640: 576, 256: 230, 512: 461},  # 230.4, 460.8
}
"""Zeros by hand for matrices of 40 × 16, 16 × 16 and 16 × 32."""


@pytest.mark.parametrize("terms", TERMS)
def test_the_gradient_of_a_score_is_the_effective_weights_times_the_weight(
    encoder: Path, load: LoadModel, train_blocks: LoadBlocks, terms: str
) -> None:
    batch = stack(Stream(train_blocks(encoder), 4, 3, 0.15).batch(0))
    reference = Reference(encoder)
    scores = {
        name: torch.full_like(weight, 0.01).requires_grad_()
        for name, weight in reference.matrices.items()
    }
    masks = {n: prune_smallest(w.abs(), w.numel() // 2) for n, w in reference.matrices.items()}
    losses = reference.losses(reference.straight_through(scores, masks), batch)
    total = torch.stack([losses[term] for term in TERMS[terms]]).sum()
    expected = reference.short(
        dict(zip(scores, torch.autograd.grad(total, list(scores.values())), strict=True))
    )

    model = doubled(load(encoder))
    weights = MaskedWeights(model, 0.5, Scoring(), 1)
    loss_of = SearchLoss(model, terms_of(terms))
    loss, _ = loss_of(batch, loss_of.counts(batch))
    loss.backward()
    weights.before_step()
    assert weights.scores.keys() == expected.keys()
    assert len(expected) == 13
    for name, score in weights.scores.items():
        torch.testing.assert_close(score.grad, expected[name], rtol=1e-9, atol=1e-13, msg=name)
        # Pruned weights have a gradient too, or none could ever come back.
        assert torch.count_nonzero(score.grad[model.matrices[name] == 0]) > 0, name


@pytest.mark.parametrize("terms", TERMS)
def test_every_step_equals_the_reference(
    encoder: Path, load: LoadModel, train_blocks: LoadBlocks, terms: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    steps, sparsity = 6, 0.7
    stream = Stream(train_blocks(encoder), 4, 5, 0.15)
    reference = Reference(encoder)
    zeros = {n: ZEROS[sparsity][w.numel()] for n, w in reference.matrices.items()}
    expected = reference.train_mask(
        TERMS[terms], [stack(stream.batch(step)) for step in range(steps)], zeros,
        lr=LR, decay_steps=HORIZON, clip=CLIP,
    )  # fmt: skip
    seen = record(monkeypatch)
    model = doubled(load(encoder))
    mask, history = train_mask(
        model, terms_of(terms), sparsity, Scoring(), stream, settings(steps, LR), ProcessGroup()
    )
    assert len(seen.scores) == steps + 1
    for step in range(steps):
        scores = reference.short(expected.scores[step])
        masks = reference.short(expected.masks[step])
        for name, weight in model.dense.items():
            torch.testing.assert_close(seen.scores[step + 1][name], scores[name], rtol=0, atol=1e-9)
            assert torch.equal(seen.effective[step + 1][name], weight * masks[name])
    assert same(dict(mask), reference.short(expected.masks[-1]))
    # The comparison means something: masks moved, and the clipping was at work.
    first = reference.short(expected.masks[0])
    assert sum(int((first[name] != mask[name]).sum()) for name in mask) > 100
    assert max(expected.norms) > CLIP or terms == "kd"
    for point in history.points:
        if point.name in TERMS[terms]:
            loss = expected.losses[point.step - 1][point.name]
            assert point.value == pytest.approx(loss, rel=1e-9), point
    for name, value in expected.head.items():
        torch.testing.assert_close(dict(model.head.named_parameters())[name.split(".", 1)[1]],
                                   value, rtol=0, atol=1e-9)  # fmt: skip
    assert bool(expected.head) == ("mlm" in terms)


def test_from_a_random_mask_equals_the_reference(
    bert: Path, load: LoadModel, train_blocks: LoadBlocks
) -> None:
    stream = Stream(train_blocks(bert), 4, 5, 0.15)
    reference = Reference(bert)
    first = Mask.at_random(reference.short(reference.matrices), 0.7, 11)
    zeros = {n: ZEROS[0.7][w.numel()] for n, w in reference.matrices.items()}
    expected = reference.train_mask(
        ["kd_loss"], [stack(stream.batch(step)) for step in range(4)], zeros,
        lr=LR, decay_steps=HORIZON, clip=CLIP,
        first={name: first[name.removeprefix(reference.prefix)] for name in zeros},
    )  # fmt: skip
    model = doubled(load(bert))
    mask, _ = train_mask(
        model,
        terms_of("kd"),
        0.7,
        Scoring(init="random"),
        stream,
        settings(4, LR, seed=11),
        ProcessGroup(),
    )
    assert same(dict(mask), reference.short(expected.masks[-1]))


@pytest.mark.parametrize("micro_batch", [1, 3, 4])
def test_micro_batches_do_not_change_what_is_computed(
    bert: Path, load: LoadModel, train_blocks: LoadBlocks, micro_batch: int
) -> None:
    found = []
    for size in (2, micro_batch):
        model = doubled(load(bert))
        stream = Stream(train_blocks(bert), 4, 5, 0.15)
        setting = settings(4, LR, micro_batch=size)
        found.append(
            train_mask(model, terms_of("mlm_kd"), 0.7, Scoring(), stream, setting, ProcessGroup())
        )
    (first, curve), (second, other) = found
    assert same(dict(first), dict(second))
    assert [p.step for p in curve.points] == [p.step for p in other.points]
    for one, two in zip(curve.points, other.points, strict=True):
        assert one.value == pytest.approx(two.value, rel=1e-9)


@pytest.mark.parametrize("sparsity", ZEROS)
@pytest.mark.parametrize("terms", ["kd", "mlm_kd"])
def test_the_model_is_the_masked_one_with_the_exact_zeros_after_every_step(
    noisy: Path, load: LoadModel, train_blocks: LoadBlocks, sparsity: float, terms: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    seen = record(monkeypatch)
    model = load(noisy)
    theta = {name: weight.clone() for name, weight in model.dense.items()}
    stream = Stream(train_blocks(noisy), 4, 5, 0.15)
    mask, _ = train_mask(
        model, terms_of(terms), sparsity, Scoring(), stream, settings(5, LR), ProcessGroup()
    )
    assert len(seen.effective) == 6
    for scores, effective in zip(seen.scores, seen.effective, strict=True):
        for name, weight in theta.items():
            keep = prune_smallest(scores[name], ZEROS[sparsity][weight.numel()])
            assert int((~keep).sum()) == ZEROS[sparsity][weight.numel()]
            assert torch.equal(effective[name], weight * keep), name
            # θ0 has no zeros of its own, so these are the mask's.
            assert int((effective[name] == 0).sum()) == ZEROS[sparsity][weight.numel()]
    assert {n: int((~m).sum()) for n, m in mask.items()} == {
        n: ZEROS[sparsity][w.numel()] for n, w in theta.items()
    }
    for name, weight in theta.items():
        assert torch.equal(model.matrices[name].detach(), weight * mask[name])
        assert torch.equal(model.dense[name], weight), "θ0 moved"


def test_the_last_gradients_are_gone_before_the_next_ones_come(
    bert: Path, load: LoadModel, train_blocks: LoadBlocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One copy of the masked weights less at the peak: scores hold their matrices' gradients."""
    stream = Stream(train_blocks(bert), 4, 5, 0.15)
    model, terms = load(bert), terms_of("kd")
    weights = masked_weights(model, terms, 0.5, Scoring(), 1)
    scores, forward, held = weights.scores, SearchLoss.forward, []

    def looking(loss: SearchLoss, *given: object) -> object:
        held.append(sum(score.grad is not None for score in scores.values()))
        return forward(loss, *given)  # pyright: ignore

    monkeypatch.setattr(SearchLoss, "forward", looking)
    train(model, terms, weights, stream, settings(2, LR), ProcessGroup())
    assert held == [0] * 4, "two steps of two micro-batches"
    assert all(score.grad is not None for score in scores.values())


def test_rows_of_words_never_seen_keep_their_scores(
    bert: Path, load: LoadModel, train_blocks: LoadBlocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Stream(train_blocks(bert), 4, 5, 0.15)
    read = stack([block for step in range(4) for block in stream.batch(step)]).ids.unique()
    unseen = [word for word in range(40) if word not in read]
    assert len(unseen) > 4
    seen = record(monkeypatch)
    model = load(bert)
    mask, _ = train_mask(
        model, terms_of("mlm"), 0.9, Scoring(), stream, settings(4, LR), ProcessGroup()
    )
    name = model.embedding
    assert torch.equal(seen.scores[0][name][unseen], seen.scores[-1][name][unseen])
    assert not torch.equal(seen.scores[0][name][read], seen.scores[-1][name][read])
    assert int((~mask[name]).sum()) == 576


def test_ties_are_cut_to_the_exact_number_the_first_ones_going_first(
    bert: Path, load: LoadModel
) -> None:
    model = load(bert)
    weights = MaskedWeights(model, 0.3, Scoring(), 1)
    for score in weights.scores.values():
        score.data.fill_(0.01)
    weights.after_step()
    for name, keep in weights.mask().items():
        zeros = ZEROS[0.3][keep.numel()]
        assert keep.flatten().tolist() == [False] * zeros + [True] * (keep.numel() - zeros)
        assert torch.equal(model.matrices[name], model.dense[name] * keep)


@pytest.mark.parametrize("init", ["omp", "random"])
def test_scores_start_at_alpha_phi_where_the_first_mask_keeps_and_at_zero_elsewhere(
    bert: Path, load: LoadModel, init: str
) -> None:
    model = load(bert)
    given = Scoring.model_validate({"init": init, "threshold": 0.03, "scale": 1.5})
    weights = MaskedWeights(model, 0.7, given, 9)
    for name, theta in model.dense.items():
        score = weights.scores[name].detach()
        kept = score != 0
        assert int((~kept).sum()) == ZEROS[0.7][theta.numel()]
        assert score[kept].tolist() == pytest.approx([0.045] * int(kept.sum()))
        if init == "omp":
            assert theta[kept].abs().min() >= theta[~kept].abs().max()
            assert torch.equal(kept, prune_smallest(theta.abs(), ZEROS[0.7][theta.numel()]))
    if init == "random":
        # The `random` method's own subnetwork of this seed, and no other's.
        first = {name: score != 0 for name, score in weights.scores.items()}
        assert same(first, dict(Mask.at_random(model.dense, 0.7, 9)))
        assert not same(first, dict(Mask.at_random(model.dense, 0.7, 8)))


@pytest.mark.parametrize("terms", TERMS)
def test_no_steps_give_the_first_mask(
    noisy: Path, load: LoadModel, train_blocks: LoadBlocks, terms: str
) -> None:
    model = load(noisy)
    before = state(model.head)
    stream = Stream(train_blocks(noisy), 4, 5, 0.15)
    mask, history = train_mask(
        model, terms_of(terms), 0.7, Scoring(), stream, settings(0, LR), ProcessGroup()
    )
    assert same(dict(mask), dict(Mask.by_magnitude(model.dense, 0.7)))
    assert history.points == []
    assert same(state(model.head), before)


@pytest.mark.parametrize("terms", TERMS)
def test_only_the_matrices_and_the_head_move(
    encoder: Path, load: LoadModel, train_blocks: LoadBlocks, terms: str
) -> None:
    model = load(encoder)
    before = state(model)
    stream = Stream(train_blocks(encoder), 4, 5, 0.15)
    train_mask(model, terms_of(terms), 0.5, Scoring(), stream, settings(3, LR), ProcessGroup())
    after = state(model)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    masked = {f"body.{name}" for name in model.matrices}
    head = {f"head.{name}" for name in model.head_parameters()}
    # Transform and LayerNorm with a bias each, and the output bias.
    assert len(head) == 5
    assert moved == (masked if terms == "kd" else masked | head)
    assert torch.equal(model.decoder.weight, before[f"body.{model.embedding}"])
    assert not any("position" in name or "LayerNorm" in name for name in masked)


def test_a_seed_gives_the_same_search_bit_for_bit_and_another_seed_another(
    noisy: Path, load: LoadModel, train_blocks: LoadBlocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = []
    for number, seed in enumerate((4, 4, 5)):
        seen = record(monkeypatch)
        torch.manual_seed(number)  # What ran before in the process must not matter.
        model = load(noisy)
        stream = Stream(train_blocks(noisy), 4, seed, 0.15)
        setting = settings(4, LR, seed=seed)
        mask, history = train_mask(
            model, terms_of("mlm_kd"), 0.5, Scoring(), stream, setting, ProcessGroup()
        )
        curve = [(p.step, p.name, p.value) for p in history.points]
        runs.append((dict(mask), seen.scores[-1], state(model.head), curve))
    for one, two in zip(runs[0][:3], runs[1][:3], strict=True):
        assert same(one, two)
    assert runs[0][3] == runs[1][3]
    assert not same(runs[0][0], runs[2][0])
    assert runs[0][3] != runs[2][3]


def test_dropout_is_drawn_anew_for_every_seed(
    noisy: Path, load: LoadModel, train_blocks: LoadBlocks
) -> None:
    # The same data, so that only dropout can tell the two apart.
    stream = Stream(train_blocks(noisy), 4, 5, 0.15)
    losses = [
        train_mask(
            load(noisy),
            terms_of("kd"),
            0.5,
            Scoring(),
            stream,
            settings(1, LR, seed=seed),
            ProcessGroup(),
        )[1]
        for seed in (1, 2)
    ]
    values = [{p.name: p.value for p in history.points}["kd_loss"] for history in losses]
    assert values[0] != values[1]
