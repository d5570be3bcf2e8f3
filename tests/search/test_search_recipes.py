"""The released code's way of searching against the plain reference."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tamt_ray.data.tokens import Blocks, Documents
from tamt_ray.masks.mask import Mask
from tamt_ray.search.language_model import LanguageModel
from tamt_ray.search.mlm_corruption import Stream, stack
from tamt_ray.search.process_group import ProcessGroup
from tamt_ray.search.tamt import MaskedWeights
from tamt_ray.values.training import Scoring

from .conftest import MakeModel
from .search_probes import (
    CLIP,
    HORIZON,
    doubled,
    record,
    same,
    settings,
    state,
    terms_of,
    train_mask,
)
from .search_reference import Reference, Rules

LoadModel = Callable[[Path], LanguageModel]
LoadBlocks = Callable[[Path], Blocks]
LoadDocuments = Callable[[Path], Documents]
LR = 0.0037
ZEROS = {640: 448, 256: 179, 512: 358}
"""At 70 % of matrices of 40 × 16, 16 × 16 and 16 × 32."""
RELEASED_KD = Scoring(comparison="above", rerank_every=4, rerank_early=True)
BERT_ADAM: dict[str, object] = {
    "bias_correction": False, "eps": 1e-6, "weight_decay": 0.01, "clip_per": "tensor",
    "clip": 1e-3,
}  # fmt: skip


@pytest.mark.parametrize(
    ("terms", "scoring", "rules"),
    [
        ("mlm", Scoring(comparison="above", rerank_every=3), Rules(every=3, above=True)),
        ("mlm_kd", Scoring(comparison="above"), Rules(above=True)),
        ("kd", Scoring(ranking="magnitude"), Rules(magnitude=True)),
        ("mlm", Scoring(ranking="magnitude", rerank_every=2), Rules(magnitude=True, every=2)),
        (
            "mlm_kd", Scoring(rerank_every=4, rerank_early=True), Rules(every=4, early=True),
        ),
    ],
    ids=["released mlm", "above", "magnitude", "magnitude, now and then", "at least"],
)  # fmt: skip
def test_every_step_equals_the_reference(
    bert: Path, load: LoadModel, train_blocks: LoadBlocks, monkeypatch: pytest.MonkeyPatch,
    terms: str, scoring: Scoring, rules: Rules,
) -> None:  # fmt: skip
    steps = 8
    stream = Stream(train_blocks(bert), 4, 5, 0.15)
    reference = Reference(bert)
    expected = reference.train_mask(
        [f"{term}_loss" for term in terms.split("_")],
        [stack(stream.batch(step)) for step in range(steps)],
        {n: ZEROS[w.numel()] for n, w in reference.matrices.items()},
        lr=LR, decay_steps=HORIZON, clip=CLIP, rules=rules,
    )  # fmt: skip
    seen = record(monkeypatch)
    model = doubled(load(bert))
    mask, history = train_mask(
        model, terms_of(terms), 0.7, scoring, stream, settings(steps, LR), ProcessGroup()
    )
    densities = {p.step: p.value for p in history.points if p.name == "density"}
    total = sum(weight.numel() for weight in model.dense.values())
    for step in range(steps):
        scores, masks = (reference.short(e[step]) for e in (expected.scores, expected.masks))
        for name, weight in model.dense.items():
            torch.testing.assert_close(seen.scores[step + 1][name], scores[name], rtol=0, atol=1e-9)
            assert torch.equal(seen.effective[step + 1][name], weight * masks[name])
        kept = sum(int(torch.count_nonzero(keep)) for keep in masks.values())
        assert densities[step + 1] == kept / total
    assert same(dict(mask), reference.short(expected.saved))
    # Something happened, and where φ stands the density drifts.
    assert not same(dict(mask), dict(Mask.by_magnitude(model.dense, 0.7)))
    exact = 1 - sum(ZEROS[weight.numel()] for weight in model.dense.values()) / total
    off = {step for step, density in densities.items() if abs(density - exact) > 1e-9}
    reranked = {step for step in densities if (step + rules.early) % rules.every == 0}
    if rules.early:
        reranked.add(1)
    assert not off & reranked
    assert (len(off) > 1) == (rules.every > 1)


def test_distillation_of_the_released_code_equals_the_reference(
    bert: Path, load: LoadModel, train_documents: LoadDocuments, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BertAdam with decay and clipping by tensor; documents with pads; φ after steps 1, 3, 7."""
    steps = 9
    stream = Stream(train_documents(bert), 4, 5, 0.15)
    batches = [stack(stream.batch(step)) for step in range(steps)]
    assert sum(int((~batch.real).sum()) for batch in batches if batch.real is not None) > 30
    assert (
        sum(int(batch.segments.any(1).sum()) for batch in batches if batch.segments is not None) > 2
    )
    reference = Reference(bert)
    expected = reference.train_mask(
        ["kd_loss"], batches, {n: ZEROS[w.numel()] for n, w in reference.matrices.items()},
        lr=5e-4, decay_steps=HORIZON, clip=1e-3,
        rules=Rules(every=4, early=True, above=True, bert_adam=True, decay=0.01, pads=True),
    )  # fmt: skip
    seen = record(monkeypatch)
    model = doubled(load(bert))
    before = state(model)
    mask, history = train_mask(
        model, terms_of("kd", pads=True), 0.7, RELEASED_KD, stream,
        settings(steps, 5e-4, **BERT_ADAM), ProcessGroup(),
    )  # fmt: skip
    assert max(expected.norms) > 1e-3
    losses = [p.value for p in history.points if p.name == "kd_loss"]
    assert losses == pytest.approx([loss["kd_loss"] for loss in expected.losses], rel=1e-9)
    for step in range(steps):
        scores, masks = (reference.short(e[step]) for e in (expected.scores, expected.masks))
        for name, weight in model.dense.items():
            torch.testing.assert_close(seen.scores[step + 1][name], scores[name], rtol=0, atol=1e-9)
            assert torch.equal(seen.effective[step + 1][name], weight * masks[name])
    # The density has drifted since step 7; the mask that comes out has the asked one.
    assert same(dict(mask), reference.short(expected.saved))
    assert not same(dict(mask), reference.short(expected.masks[-1]))
    drifted = [int((~keep).sum()) for keep in expected.masks[-1].values()]
    assert (
        sum(drifted) != mask.zeros == sum(ZEROS[weight.numel()] for weight in model.dense.values())
    )
    # Weight decay acts on scores alone: biases, LayerNorm, decoder and head are θ0's.
    after = state(model)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {f"body.{name}" for name in model.matrices}


def hand(
    model: LanguageModel, scoring: Scoring, sparsity: float, scores: list[Tensor]
) -> list[Tensor]:
    """The mask of one matrix after each of the given scores."""
    weights = MaskedWeights(model, sparsity, scoring, 1)
    name = next(iter(model.matrices))
    found = []
    for score in scores:
        weights.scores[name].data = score.expand_as(model.dense[name]).clone()
        weights.after_step()
        assert torch.equal(model.matrices[name].detach(), model.dense[name] * weights.keep(name))
        found.append(weights.keep(name))
    return found


def columns(*values: float) -> Tensor:
    """Scores of the embedding, 40 × 16, that are equal within a column: 40 of each."""
    return torch.tensor([*values, *[9.0] * (16 - len(values))])


@pytest.mark.parametrize(
    ("comparison", "zeros"), [("at_least", [180, 80, 180, 80]), ("above", [200, 120, 200, 160])]
)
def test_ties_are_resolved_where_the_sparsity_is_exact_and_fall_together_elsewhere(
    bert: Path, load: LoadModel, comparison: str, zeros: list[int]
) -> None:
    """Of 640 weights 180 are to go: four columns of 40 and half of the fifth."""
    scoring = Scoring.model_validate(
        {"comparison": comparison, "rerank_every": 4, "rerank_early": True}
    )
    masks = hand(
        load(bert), scoring, 180 / 640,
        [
            columns(1, 1, 2, 2, 3),  # φ = 3 by either rule
            columns(1, 1, 3, 4, 4),  # φ stands
            columns(1, 2, 2, 4, 4),  # φ = 4
            columns(4, 4, 3, 3, 9),  # φ stands
        ],
    )  # fmt: skip
    assert [int((~keep).sum()) for keep in masks] == zeros


@pytest.mark.parametrize(("comparison", "zeros"), [("at_least", 40), ("above", 80)])
def test_until_it_is_chosen_the_threshold_is_the_given_one(
    bert: Path, load: LoadModel, comparison: str, zeros: int
) -> None:
    scoring = Scoring.model_validate({"comparison": comparison, "rerank_every": 2})
    scores = columns(0.01, 0.00999, 0.01001)
    assert [int((~keep).sum()) for keep in hand(load(bert), scoring, 0.5, [scores])] == [zeros]


def test_without_sparsity_nothing_is_ever_pruned(bert: Path, load: LoadModel) -> None:
    scoring = Scoring(comparison="above", rerank_every=2, rerank_early=True)
    scores = [columns(-1, 0), columns(-5, -0.5), columns(-9), columns(-99)]
    assert all(bool(keep.all()) for keep in hand(load(bert), scoring, 0.0, scores))


@pytest.mark.parametrize("scoring", [RELEASED_KD, Scoring(rerank_every=4), Scoring()])
@pytest.mark.parametrize("cut", [3, 4])
def test_it_goes_on_from_its_state_bit_for_bit(
    bert: Path, load: LoadModel, scoring: Scoring, cut: int
) -> None:
    draw = torch.Generator().manual_seed(0)
    shapes = {name: weight.shape for name, weight in load(bert).matrices.items()}
    steps = [
        {name: torch.rand(shape, generator=draw) / 50 for name, shape in shapes.items()}
        for _ in range(6)
    ]

    def advance(weights: MaskedWeights, scores: dict[str, Tensor]) -> None:
        for name, score in scores.items():
            weights.scores[name].data = score.clone()
        weights.after_step()

    whole_model, model = load(bert), load(bert)
    whole, first = (MaskedWeights(m, 0.7, scoring, 1) for m in (whole_model, model))
    for scores in steps[:cut]:
        advance(whole, scores)
        advance(first, scores)
    kept = {name: tensor.clone() for name, tensor in first.state().items()}
    assert kept.keys() == MaskedWeights(load(bert), 0.7, scoring, 1).state().keys()
    other_model = load(bert)
    second = MaskedWeights(other_model, 0.7, scoring, 1)
    for name, score in first.scores.items():
        second.scores[name].data = score.detach().clone()
    second.load_state(kept)
    assert same(dict(second.mask()), dict(whole.mask()))
    assert same(state(other_model.body), state(whole_model.body))
    for scores in steps[cut:]:
        advance(whole, scores)
        advance(second, scores)
        assert same(state(other_model.body), state(whole_model.body))
        assert second.figures() == whole.figures()
    assert same(dict(second.mask()), dict(whole.mask()))


@pytest.mark.parametrize("scoring", [Scoring(), RELEASED_KD, Scoring(init="random")])
def test_the_pooler_keeps_its_first_mask(
    make_model: MakeModel, train_blocks: LoadBlocks, scoring: Scoring
) -> None:
    path = make_model("headless")
    model = LanguageModel(path, pooler=True)
    stream = Stream(train_blocks(path), 4, 5, 0.15)
    setting = settings(5, LR, weight_decay=0.5)
    mask, history = train_mask(model, terms_of("kd"), 0.7, scoring, stream, setting, ProcessGroup())
    first = (
        Mask.by_magnitude(model.dense, 0.7)
        if scoring.init == "omp"
        else Mask.at_random(model.dense, 0.7, 1)
    )
    assert set(mask) == set(model.matrices) | {"pooler.dense.weight"}
    assert torch.equal(mask["pooler.dense.weight"], first["pooler.dense.weight"])
    assert int((~mask["pooler.dense.weight"]).sum()) == 179
    assert all(not torch.equal(mask[name], first[name]) for name in model.matrices)
    densities = [point.value for point in history.points if point.name == "density"]
    if scoring.rerank_every == 1:
        assert densities[-1] == (mask.weights - mask.zeros) / mask.weights


def test_only_the_matrices_that_are_named_are_masked_and_trained(
    bert: Path, train_blocks: LoadBlocks
) -> None:
    model = LanguageModel(bert, prune=("*.query.weight", "*.key.weight"))
    before = state(model)
    stream = Stream(train_blocks(bert), 4, 5, 0.15)
    mask, _ = train_mask(
        model, terms_of("kd"), 0.7, Scoring(), stream, settings(3, LR), ProcessGroup()
    )
    assert len(mask) == 4
    after = state(model)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {f"body.{name}" for name in mask}


@pytest.mark.parametrize("pads", [False, True])
@pytest.mark.parametrize("micro_batch", [1, 3, 4])
def test_micro_batches_of_unequal_length_are_shares_of_one_mean(
    bert: Path, load: LoadModel, train_documents: LoadDocuments, micro_batch: int, pads: bool
) -> None:
    found = []
    for size in (2, micro_batch):
        stream = Stream(train_documents(bert), 4, 5, 0.15)
        found.append(
            train_mask(
                doubled(load(bert)), terms_of("mlm_kd", pads=pads), 0.7, RELEASED_KD, stream,
                settings(4, LR, micro_batch=size), ProcessGroup(),
            )
        )  # fmt: skip
    (first, curve), (second, other) = found
    assert same(dict(first), dict(second))
    for one, two in zip(curve.points, other.points, strict=True):
        assert (one.step, one.name) == (two.step, two.name)
        assert one.value == pytest.approx(two.value, rel=1e-9)


def test_dropout_in_the_teacher_is_its_own_draw_of_seed_and_step(
    noisy: Path, load: LoadModel, train_blocks: LoadBlocks
) -> None:
    def first_losses(*, dropout: bool, seed: int = 1) -> dict[str, float]:
        torch.manual_seed(99)  # What ran before must not matter.
        stream = Stream(train_blocks(noisy), 4, 5, 0.15)
        _, history = train_mask(
            load(noisy), terms_of("mlm_kd", teacher_dropout=dropout), 0.0, Scoring(), stream,
            settings(1, LR, seed=seed), ProcessGroup(),
        )  # fmt: skip
        return {p.name: p.value for p in history.points}

    without, drawn = first_losses(dropout=False), first_losses(dropout=True)
    assert drawn == first_losses(dropout=True)
    # The student draws what it drew before, and nothing is pruned: were the draws the same, the
    # distance to the teacher would be nil.
    assert drawn["mlm_loss"] == without["mlm_loss"]
    assert drawn["kd_loss"] > without["kd_loss"] > 1e-3
    assert drawn["kd_loss"] != first_losses(dropout=True, seed=2)["kd_loss"]
