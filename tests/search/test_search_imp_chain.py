"""One level of IMP hands to the next a mask with rewinding, trained weights without."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tamt_ray.data.tokens import Blocks
from tamt_ray.masks.mask import Mask
from tamt_ray.search.language_model import LanguageModel
from tamt_ray.search.mlm_corruption import Stream, stack
from tamt_ray.search.process_group import ProcessGroup

from .conftest import MakeModel
from .search_probes import CLIP, HORIZON, Watching, doubled, same, settings, state, train_level
from .search_reference import Reference, prune_smallest

LoadModel = Callable[[Path], LanguageModel]
LoadBlocks = Callable[[Path], Blocks]
LR, STEPS = 0.01, 4
ZEROS = {
    0.1: {640: 64, 256: 26, 512: 51},  # 25.6, 51.2
    0.2: {640: 128, 256: 51, 512: 102},  # 51.2, 102.4
    0.3: {640: 192, 256: 77, 512: 154},  # 76.8, 153.6
}


def test_without_rewinding_every_level_equals_the_reference(
    encoder: Path, load: LoadModel, train_blocks: LoadBlocks
) -> None:
    stream = Stream(train_blocks(encoder), 4, 5, 0.15)
    batches = [stack(stream.batch(step)) for step in range(STEPS)]
    reference = Reference(encoder)
    zeros = {
        sparsity: {name: ZEROS[sparsity][w.numel()] for name, w in reference.matrices.items()}
        for sparsity in ZEROS
    }
    below = {n: prune_smallest(w.abs(), zeros[0.1][n]) for n, w in reference.matrices.items()}
    mask = Mask.by_magnitude(reference.short(reference.matrices), 0.1)
    theirs: dict[str, Tensor] | None = None
    ours: dict[str, Tensor] | None = None
    rewound = mask
    for sparsity in (0.2, 0.3):
        expected = reference.train_level(
            below, batches, zeros[sparsity], lr=LR, decay_steps=HORIZON, clip=CLIP, start=theirs
        )
        below, theirs = expected.masks[0], expected.weights
        model = doubled(load(encoder))
        mask, history, ours = train_level(
            model, mask, sparsity, stream, settings(STEPS, LR), ProcessGroup(), start=ours
        )
        assert same(dict(mask), reference.short(below))
        losses = [point.value for point in history.points if point.name == "mlm_loss"]
        assert losses == pytest.approx([loss["mlm_loss"] for loss in expected.losses], rel=1e-9)
        rewound, *_ = train_level(
            doubled(load(encoder)), rewound, sparsity, stream, settings(STEPS, LR), ProcessGroup()
        )
    # The second level began elsewhere than at θ0.
    assert not same(dict(mask), dict(rewound))


def test_a_level_goes_on_with_the_data_of_the_one_below(
    noisy: Path, load: LoadModel, train_blocks: LoadBlocks
) -> None:
    """Text, corruption and dropout are those of one uninterrupted training: the second half of it,
    begun with the weights of the first, has the losses that it has in one piece."""
    text, seen = train_blocks(noisy), list[Tensor]()
    whole = Stream(text, 4, 5, 0.15)
    later = Stream(text, 4, 5, 0.15, first=STEPS)
    for step in range(STEPS):
        one, other = stack(whole.batch(STEPS + step)), stack(later.batch(step))
        assert torch.equal(one.ids, other.ids)
        assert torch.equal(one.labels, other.labels)
        seen.append(one.ids)
    assert len({ids.numpy().tobytes() for ids in seen}) == STEPS

    dense = Mask.by_magnitude(load(noisy).dense, 0.0)

    def losses(stream: Stream) -> list[float]:
        """Nothing moves with a rate of 0, so they differ by the data and the dropout alone."""
        steps = 2 * STEPS - stream.first
        _, history, _ = train_level(
            load(noisy), dense, 0.2, stream, settings(steps, 1e-12), ProcessGroup()
        )  # fmt: skip
        return [point.value for point in history.points if point.name == "mlm_loss"]

    assert losses(later) == pytest.approx(losses(whole)[STEPS:], rel=1e-6)


def test_the_trained_weights_are_all_parameters_once(
    bert: Path, load: LoadModel, train_blocks: LoadBlocks
) -> None:
    model = load(bert)
    stream = Stream(train_blocks(bert), 4, 5, 0.15)
    below = Mask.by_magnitude(model.dense, 0.3)
    _, _, weights = train_level(model, below, 0.4, stream, settings(2, LR), ProcessGroup())
    everything = dict(model.named_parameters())
    (left_out,) = everything.keys() - weights.keys()
    # The input embedding is E ⊙ M; E itself is the decoder's.
    assert left_out == f"body.{model.embedding}"
    assert any(value is not None and torch.equal(value, model.decoder.weight)
               for name, value in weights.items() if "decoder" in name)  # fmt: skip
    storages = {value.untyped_storage().data_ptr() for value in weights.values()}
    assert len(storages) == len(weights)
    assert all(torch.equal(weights[name], everything[name]) for name in weights)


def test_a_level_starts_from_what_it_is_given_under_the_new_mask(
    bert: Path, load: LoadModel, train_blocks: LoadBlocks
) -> None:
    stream = Stream(train_blocks(bert), 4, 5, 0.15)
    first = load(bert)
    below = Mask.by_magnitude(first.dense, 0.1)
    mask, _, weights = train_level(first, below, 0.3, stream, settings(3, LR), ProcessGroup())
    kept = {name: weight.clone() for name, weight in weights.items()}
    model = load(bert)
    seen: list[dict[str, Tensor]] = []

    def look(step: int) -> None:
        if step == 0:
            seen.append(state(model))

    watching = Watching(train_blocks(bert), 4, 5, 0.15, look=look)
    train_level(model, mask, 0.4, watching, settings(1, LR), ProcessGroup(), start=weights)
    for name, value in kept.items():
        short = name.removeprefix("body.")
        expected = value * mask[short] if short in mask else value
        assert torch.equal(seen[0][name], expected), name
    decoder = next(value for name, value in kept.items() if "decoder" in name and value.ndim == 2)
    masked = seen[0][f"body.{model.embedding}"]
    assert torch.equal(masked, decoder * mask[model.embedding])
    assert same(weights, kept), "what was handed on was written to"


def test_another_models_weights_are_refused(
    bert: Path, roberta: Path, load: LoadModel, train_blocks: LoadBlocks
) -> None:
    stream = Stream(train_blocks(bert), 4, 5, 0.15)
    mask = Mask.by_magnitude(load(bert).dense, 0.1)
    other = {name: value.detach() for name, value in load(roberta).named_parameters()}
    with pytest.raises(ValueError, match="the level below are another model's"):
        train_level(load(bert), mask, 0.3, stream, settings(1, LR), ProcessGroup(), start=other)


def test_a_level_is_a_function_of_theta_0_and_the_mask_below(
    noisy: Path, load: LoadModel, train_blocks: LoadBlocks
) -> None:
    """However that mask was found: with rewinding nothing else of the levels below is left."""
    stream = Stream(train_blocks(noisy), 4, 5, 0.15)
    below = Mask.by_magnitude(load(noisy).dense, 0.1)
    mask, *_ = train_level(load(noisy), below, 0.2, stream, settings(3, LR), ProcessGroup())
    copy = Mask({name: keep.clone() for name, keep in mask.items()})
    # A level trained in between moves nothing that the next one reads.
    first = load(noisy)
    theta = state(first)
    train_level(load(noisy), below, 0.2, stream, settings(5, 2 * LR, seed=8), ProcessGroup())
    assert same(state(load(noisy)), theta)
    found = [
        train_level(model, given, 0.3, stream, settings(3, LR), ProcessGroup())
        for model, given in ((first, mask), (load(noisy), copy))
    ]
    assert same(dict(found[0][0]), dict(found[1][0]))
    assert same(found[0][2], found[1][2])
    # Survivors, taken from θ0 as a fine-tune takes them, are θ0's bit for bit.
    subnetwork = load(noisy)
    subnetwork.prune(found[0][0])
    for name, weight in subnetwork.matrices.items():
        keep = found[0][0][name]
        assert torch.equal(weight[keep], theta[f"body.{name}"][keep])
        assert torch.count_nonzero(weight[~keep]) == 0


def test_an_embedding_that_is_not_pruned_trains_tied(bert: Path, train_blocks: LoadBlocks) -> None:
    model = LanguageModel(bert, prune=("encoder.*",))
    stream = Stream(train_blocks(bert), 4, 5, 0.15)
    below = Mask.by_magnitude(model.dense, 0.1)
    mask, _, weights = train_level(model, below, 0.2, stream, settings(3, LR), ProcessGroup())
    assert len(mask) == 12
    trained = model.body.get_parameter(model.embedding)
    assert torch.equal(trained, model.decoder.weight)
    before = LanguageModel(bert).dense[model.embedding]
    assert not torch.equal(trained, before)
    again = LanguageModel(bert, prune=("encoder.*",))
    train_level(again, mask, 0.3, stream, settings(0, LR), ProcessGroup(), start=weights)
    assert torch.equal(again.body.get_parameter(again.embedding), trained)


def test_the_poolers_matrix_is_ranked_by_theta_0(
    make_model: MakeModel, train_blocks: LoadBlocks
) -> None:
    path = make_model("headless")
    stream = Stream(train_blocks(path), 4, 5, 0.15)
    torch.manual_seed(0)  # transformers fills in the missing head from here.
    model = LanguageModel(path, pooler=True)
    mask = Mask.by_magnitude(model.dense, 0.1)
    for sparsity in (0.2, 0.3):
        model = LanguageModel(path, pooler=True)
        mask, *_ = train_level(model, mask, sparsity, stream, settings(3, LR), ProcessGroup())
        omp = Mask.by_magnitude(model.dense, sparsity)
        assert torch.equal(mask["pooler.dense.weight"], omp["pooler.dense.weight"])
        assert not same(dict(mask), dict(omp))
        assert {int((~keep).sum()) for keep in mask.values()} == set(ZEROS[sparsity].values())
