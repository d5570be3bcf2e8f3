"""Wanda, diagonal Fisher and movement pruning beside slow versions in plain Torch."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForMaskedLM

from tamt_ray.data.tokens import Blocks
from tamt_ray.execution.worker.bench import UnitBench
from tamt_ray.methods.fisher import FisherSearch
from tamt_ray.methods.wanda import WandaSearch
from tamt_ray.objectives.mlm import Mlm
from tamt_ray.search.engine import train
from tamt_ray.search.language_model import LanguageModel
from tamt_ray.search.mlm_corruption import Stream, stack
from tamt_ray.search.movement import MovedWeights
from tamt_ray.search.process_group import ProcessGroup
from tamt_ray.testing import Entry, check_method
from tamt_ray.values.model import Model
from tamt_ray.values.pattern import UNSTRUCTURED
from tamt_ray.values.text import Corpus

from .search_probes import CLIP, HORIZON, doubled, same, settings
from .search_reference import AdamW, Reference, prune_smallest

LoadModel = Callable[[Path], LanguageModel]
LoadBlocks = Callable[[Path], Blocks]
BATCHES = 3


def bench_of(path: Path) -> UnitBench:
    def nothing(unit: str, name: str) -> bytes:
        raise AssertionError(f"{name} of {unit} is not needed")

    return UnitBench(Model(source=f"dir:{path}"), ProcessGroup(), nothing)


def test_fisher_is_the_mean_squared_gradient_times_the_squared_weight(
    encoder: Path, corpus: Corpus
) -> None:
    search = FisherSearch(
        model=Model(source=f"dir:{encoder}"), sparsity=0.5, text=corpus.training(), batches=BATCHES,
        batch_size=2, seed=4,
    )  # fmt: skip
    bench, reference = bench_of(encoder), Reference(encoder)
    reference.model.eval()
    weights = {n: w.clone().requires_grad_() for n, w in reference.matrices.items()}
    expected = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    for batch in bench.batches(corpus.training(), 2, BATCHES, 4):
        tied = {reference.decoder: reference.parameters[reference.embedding]}
        loss = reference.losses({**weights, **tied}, batch)["mlm_loss"]
        gradients = torch.autograd.grad(loss, list(weights.values()))
        for total, gradient in zip(expected.values(), gradients, strict=True):
            total += gradient**2 / BATCHES
    found = search.scores(bench)
    for name, weight in reference.short(weights).items():
        curvature = reference.short(expected)[name]
        torch.testing.assert_close(
            found[name].double(), weight.detach() ** 2 * curvature, rtol=1e-3, atol=1e-12
        )


def inputs_by_hand(path: Path, ids: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Yield the input [tokens, in] of every linear layer of a BERT, module by module."""
    body = AutoModelForMaskedLM.from_pretrained(path).eval().base_model
    hidden = body.embeddings(ids)
    for number, layer in enumerate(body.encoder.layer):
        place = f"encoder.layer.{number}"
        for name in ("query", "key", "value"):
            yield f"{place}.attention.self.{name}.weight", hidden
        context = layer.attention.self(hidden)[0]
        yield f"{place}.attention.output.dense.weight", context
        attended = layer.attention.output(context, hidden)
        yield f"{place}.intermediate.dense.weight", attended
        inner = layer.intermediate(attended)
        yield f"{place}.output.dense.weight", inner
        hidden = layer.output(inner, attended)


@torch.no_grad()
def test_wanda_is_the_weight_times_the_norm_of_its_input(noisy: Path, corpus: Corpus) -> None:
    text = corpus.training(corruption="none")
    search = WandaSearch(
        model=Model(source=f"dir:{noisy}"), sparsity=0.5, text=text, batches=BATCHES, batch_size=2,
        seed=4, per="row",
    )  # fmt: skip
    bench = bench_of(noisy)
    ids = torch.cat([batch.ids for batch in bench.batches(text, 2, BATCHES, 4)])
    found, dense = search.scores(bench), bench.model().dense
    norms = {
        name: inputs.flatten(0, 1).square().sum(0).sqrt()
        for name, inputs in inputs_by_hand(noisy, ids)
    }
    assert found.keys() - norms.keys() == {"embeddings.word_embeddings.weight"}
    for name, norm in norms.items():
        # The norm over all tokens, up to one factor for all weights of the model.
        expected = dense[name].abs() * norm / ids.numel() ** 0.5
        torch.testing.assert_close(found[name], expected, rtol=1e-4, atol=1e-6)
    mask = search.find(bench).mask
    for name, scores in found.items():
        kept = [prune_smallest(row, len(row) // 2) for row in scores]
        assert torch.equal(mask[name], torch.stack(kept))


def test_movement_equals_the_reference(
    encoder: Path, load: LoadModel, train_blocks: LoadBlocks
) -> None:
    steps, ramp, sparsity, lr = 6, 4, 0.6, 0.01
    stream = Stream(train_blocks(encoder), 4, 5, 0.15)
    model = doubled(load(encoder))
    weights = MovedWeights(model, sparsity, ramp, UNSTRUCTURED)
    history = train(model, [Mlm()], weights, stream, settings(steps, lr), ProcessGroup())

    reference = Reference(encoder)
    values = {name: p.clone().requires_grad_() for name, p in reference.parameters.items()}
    scores = {n: torch.zeros_like(w).requires_grad_() for n, w in reference.matrices.items()}
    keep: Mapping[str, Tensor] = {n: torch.ones_like(w) for n, w in reference.matrices.items()}
    optimizer, losses = AdamW(CLIP, (0.9, 0.999), 1e-8), list[float]()
    density: list[float] = []
    for step in range(steps):
        masked = {n: w * (keep[n] + scores[n] - scores[n].detach()) if n in keep else w
                  for n, w in values.items()}  # fmt: skip
        tied = {reference.decoder: values[reference.embedding], **reference._decoder_bias(values)}
        loss = reference.losses({**masked, **tied}, stack(stream.batch(step)))["mlm_loss"]
        moved = {**values, **{f"scores of {name}": score for name, score in scores.items()}}
        # The decoder's use of E passes through no mask, and the scores get E's input gradient only.
        gradients = torch.autograd.grad(loss, list(moved.values()))
        optimizer.step(moved, dict(zip(moved, gradients, strict=True)), lr * (1 - step / HORIZON))
        losses.append(loss.item())
        share = sparsity * (1 - max(0.0, 1 - (step + 1) / ramp) ** 3)
        keep = {
            n: prune_smallest(s.detach(), int(share * s.numel() + 0.5)) for n, s in scores.items()
        }
        total = sum(mask.numel() for mask in keep.values())
        density.append(sum(int(mask.sum()) for mask in keep.values()) / total)
    assert same(dict(weights.mask()), reference.short(dict(keep)))
    assert [p.value for p in history.points if p.name == "mlm_loss"] == pytest.approx(losses)
    assert [p.value for p in history.points if p.name == "density"] == pytest.approx(density)
    assert density[0] > density[2] > density[-1]


@pytest.mark.parametrize(
    ("entry", "exact"),
    [
        ({"method": "omp", "per": "row"}, True),
        ({"method": "omp", "per": "model"}, False),
        ({"method": "wanda", "batches": 2}, True),
        ({"method": "fisher", "batches": 3}, True),
        ({"method": "random", "pattern": "4x1"}, True),
        ({"method": "fisher", "batches": 2, "pattern": "2:4"}, True),
    ],
    ids=str,
)
def test_the_contract_is_kept(entry: Entry, exact: bool) -> None:
    check_method(entry, exact=exact)


def test_the_contract_of_movement_is_kept() -> None:
    check_method({"method": "movement", "steps": 6, "lr": 1e-3})
