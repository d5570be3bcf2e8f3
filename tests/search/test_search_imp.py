"""Iterative magnitude pruning with true rewinding against a plain reference."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from tamt_ray.data.tokens import Blocks
from tamt_ray.execution.worker.unit_runner import UnitRunner
from tamt_ray.masks.file import mask_from_bytes
from tamt_ray.masks.mask import Mask, pruned_nonzero
from tamt_ray.methods.imp import ImpSearch
from tamt_ray.plan.unit import Unit
from tamt_ray.search import imp
from tamt_ray.search.language_model import LanguageModel
from tamt_ray.search.mlm_corruption import Stream, stack
from tamt_ray.search.process_group import ProcessGroup
from tamt_ray.store.store import Store
from tamt_ray.values.model import Model
from tamt_ray.values.text import Corpus
from tamt_ray.values.training import Optimizer, Training

from .search_probes import CLIP, HORIZON, Watching, doubled, same, settings, state, train_level
from .search_reference import Reference

LoadModel = Callable[[Path], LanguageModel]
LoadBlocks = Callable[[Path], Blocks]
LR = 0.01
ZEROS = {
    0.1: {640: 64, 256: 26, 512: 51},  # 25.6, 51.2
    0.3: {640: 192, 256: 77, 512: 154},  # 76.8, 153.6
    0.4: {640: 256, 256: 102, 512: 205},  # 102.4, 204.8
    0.5: {640: 320, 256: 128, 512: 256},
}


def zeros(mask: Mapping[str, Tensor]) -> dict[str, int]:
    return {name: int((~keep).sum()) for name, keep in mask.items()}


def expected_zeros(matrices: Mapping[str, Tensor], sparsity: float) -> dict[str, int]:
    return {name: ZEROS[sparsity][weight.numel()] for name, weight in matrices.items()}


def nested(above: Mapping[str, Tensor], below: Mapping[str, Tensor]) -> bool:
    return not any(bool((above[name] & ~below[name]).any()) for name in above)


def test_a_level_equals_the_reference(
    encoder: Path, load: LoadModel, train_blocks: LoadBlocks
) -> None:
    steps = 6
    stream = Stream(train_blocks(encoder), 4, 5, 0.15)
    reference = Reference(encoder)
    model = doubled(load(encoder))
    below = Mask.by_magnitude(model.dense, 0.3)
    expected = reference.train_level(
        {name: below[name.removeprefix(reference.prefix)] for name in reference.matrices},
        [stack(stream.batch(step)) for step in range(steps)],
        expected_zeros(reference.matrices, 0.4), lr=LR, decay_steps=HORIZON, clip=CLIP,
    )  # fmt: skip
    mask, history, _ = train_level(model, below, 0.4, stream, settings(steps, LR), ProcessGroup())
    assert same(dict(mask), reference.short(expected.masks[0]))
    # OMP would have taken others: the training counts.
    assert not same(dict(mask), dict(Mask.by_magnitude(model.dense, 0.4)))
    assert max(expected.norms) > CLIP
    losses = [point.value for point in history.points if point.name == "mlm_loss"]
    assert losses == pytest.approx([loss["mlm_loss"] for loss in expected.losses], rel=1e-9)
    # The tied embedding moved by the gradients of both its uses, everything else by its own.
    trained = reference.short(expected.weights)
    torch.testing.assert_close(
        model.decoder.weight.detach(), trained[model.embedding], rtol=0, atol=1e-9
    )
    for name, parameter in model.body.named_parameters():
        keep = below[name] if name in below else torch.ones_like(parameter, dtype=torch.bool)
        torch.testing.assert_close(parameter.detach(), trained[name] * keep, rtol=0, atol=1e-9)
    for name, parameter in model.head_parameters().items():
        (full,) = [n for n in reference.head if n.split(".", 1)[1] == name]
        torch.testing.assert_close(parameter.detach(), trained[full], rtol=0, atol=1e-9)


def test_single_precision_finds_the_same_mask_up_to_a_tiny_fraction(
    bert: Path, load: LoadModel, train_blocks: LoadBlocks
) -> None:
    found = []
    for model in (load(bert), doubled(load(bert))):
        stream = Stream(train_blocks(bert), 4, 5, 0.15)
        below = Mask.by_magnitude(model.dense, 0.3)
        found.append(train_level(model, below, 0.4, stream, settings(10, LR), ProcessGroup())[0])
    single, double = found
    differing = sum(int((single[name] != double[name]).sum()) for name in single)
    assert differing <= single.weights // 1000


def test_what_is_pruned_stays_zero_and_the_decoder_stays_dense_while_it_trains(
    noisy: Path, load: LoadModel, train_blocks: LoadBlocks
) -> None:
    model = load(noisy)
    theta = state(model.body)
    below = Mask.by_magnitude(model.dense, 0.5)
    seen: list[dict[str, Tensor]] = []

    def look(step: int) -> None:
        assert pruned_nonzero(model.matrices, below) == 0, step
        assert torch.count_nonzero(model.decoder.weight) == model.decoder.weight.numel()
        if step:
            expected = model.decoder.weight.detach() * below[model.embedding]
            assert torch.equal(model.matrices[model.embedding].detach(), expected)
        seen.append(state(model.body))

    stream = Watching(train_blocks(noisy), 4, 5, 0.15, look=look)
    setting = settings(4, LR, weight_decay=0.1)
    train_level(model, below, 0.5, stream, setting, ProcessGroup())
    look(4)
    # It starts from θ0 ⊙ M bit for bit, and then every weight trains.
    for name, value in theta.items():
        start = value * below[name] if name in below else value
        assert torch.equal(seen[0][name], start), name
        assert not torch.equal(seen[-1][name], start), name
    hidden = ~below[model.embedding]
    dense = theta[model.embedding]
    assert not torch.equal(model.decoder.weight[hidden], dense[hidden])


def test_levels_are_nested_and_exact(
    noisy: Path, load: LoadModel, train_blocks: LoadBlocks
) -> None:
    stream = Stream(train_blocks(noisy), 4, 5, 0.15)
    mask = Mask.by_magnitude(load(noisy).dense, 0.1)
    for sparsity in (0.3, 0.4, 0.5):
        above, *_ = train_level(
            load(noisy), mask, sparsity, stream, settings(3, LR), ProcessGroup()
        )
        assert nested(above, mask)
        assert zeros(above) == expected_zeros(mask, sparsity)
        mask = above


def test_no_steps_prune_by_the_magnitude_of_theta_0(
    bert: Path, load: LoadModel, train_blocks: LoadBlocks
) -> None:
    model = load(bert)
    stream = Stream(train_blocks(bert), 4, 5, 0.15)
    below = Mask.by_magnitude(model.dense, 0.1)
    mask, *_ = train_level(model, below, 0.4, stream, settings(0, LR), ProcessGroup())
    assert same(dict(mask), dict(Mask.by_magnitude(model.dense, 0.4)))


def test_pruned_weights_go_first_even_where_survivors_are_zero(
    bert: Path, load: LoadModel, train_blocks: LoadBlocks
) -> None:
    model = load(bert)
    for weight in model.matrices.values():
        weight.data.zero_()
    below = Mask.at_random(model.dense, 0.3, 1)
    stream = Stream(train_blocks(bert), 4, 5, 0.15)
    mask, *_ = train_level(model, below, 0.4, stream, settings(0, LR), ProcessGroup())
    assert nested(mask, below)
    assert zeros(mask) == expected_zeros(model.dense, 0.4)


def test_a_seed_gives_the_same_level_bit_for_bit_and_another_seed_another(
    noisy: Path, load: LoadModel, train_blocks: LoadBlocks
) -> None:
    runs = []
    for seed in (4, 4, 5):
        model = load(noisy)
        below = Mask.by_magnitude(model.dense, 0.1)
        stream = Stream(train_blocks(noisy), 4, seed, 0.15)
        mask, *_ = train_level(
            model, below, 0.5, stream, settings(4, LR, seed=seed), ProcessGroup()
        )
        runs.append((dict(mask), state(model)))
    assert same(runs[0][0], runs[1][0])
    assert same(runs[0][1], runs[1][1])
    assert not same(runs[0][0], runs[2][0])


@pytest.mark.parametrize("rewind", [True, False])
def test_what_the_units_of_a_chain_hand_on(
    noisy: Path, corpus: Corpus, load: LoadModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    rewind: bool,
) -> None:  # fmt: skip
    """With rewinding the second level reads the mask of the first and nothing else."""
    theta = state(load(noisy))
    entered: list[tuple[dict[str, Tensor], Mask]] = []
    starts: list[dict[str, Tensor] | None] = []

    class Watched(imp.Subnetwork):
        def __init__(
            self, model: LanguageModel, mask: Mask, start: dict[str, Tensor] | None = None
        ) -> None:
            entered.append((state(model), mask))
            starts.append(start)
            super().__init__(model, mask, start)

    monkeypatch.setattr(imp, "Subnetwork", Watched)
    store = Store(str(tmp_path / "results"))
    bench = UnitRunner(store, ProcessGroup(), "here")
    common = {
        "model": Model(source=f"dir:{noisy}"), "text": corpus.training(), "seed": 1, "steps": 3,
        "rewind": rewind,
        "optimizer": Optimizer(lr=LR),
        "training": Training(batch_size=4, micro_batch=2), "start": 0.1,
    }  # fmt: skip
    first = Unit(ImpSearch.model_validate({**common, "sparsity": 0.3}))
    second = Unit(ImpSearch.model_validate({**common, "sparsity": 0.4, "level_below": first.id}))
    masks: list[Mask] = []
    handed: list[dict[str, Tensor]] = []
    for unit in (first, second):
        record = bench.perform(unit)
        assert record.metrics["zeros"] == sum(
            expected_zeros(entered[0][1], 0.3 if unit is first else 0.4).values()
        )
        masks.append(mask_from_bytes(store.artifact(record, "mask.safetensors")))
        assert ("weights.safetensors" in record.artifacts) == (not rewind)
        if not rewind:
            handed.append(safetensors.torch.load(store.artifact(record, "weights.safetensors")))
    assert starts[0] is None
    if rewind:
        assert starts[1] is None
    else:
        assert starts[1] is not None
        assert same(starts[1], handed[0])
        assert not same(handed[0], handed[1])
    assert len(entered) == 2
    for weights, _ in entered:
        assert same(weights, theta)
    assert same(dict(entered[0][1]), dict(Mask.by_magnitude(load(noisy).dense, 0.1)))
    assert same(dict(entered[1][1]), dict(masks[0]))
    assert nested(masks[1], masks[0])
    assert nested(masks[0], entered[0][1])
