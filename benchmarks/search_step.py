"""One step of a mask training beside the dense step that it wraps and the released code's step.

All contestants read the same batches of 16 × 128 tokens in one piece, draw them anew for every
step, and train in train mode with dropout. The released code's step is timed without re-ranking.
Ours begins with scores spread by noise, as they are after some hundreds of steps: then φ lies among
many. In a search's first steps it lies in the gap between two values, and one count finds it.
Ratios are of processor time on one thread, which other work on the machine disturbs least.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.answer import Answer, at_least, at_most
from benchmarks.clock import Times, interleave
from benchmarks.dense_step import DenseStep
from benchmarks.released_step import ReleasedStep
from benchmarks.shape import BASE, MINI, Shape
from tamt_ray.objectives.base import Objective, needs_head
from tamt_ray.objectives.kd import Kd
from tamt_ray.objectives.mlm import Mlm
from tamt_ray.search.engine import Engine, Settings
from tamt_ray.search.language_model import LanguageModel
from tamt_ray.search.loss import SearchLoss
from tamt_ray.search.mlm_corruption import Corrupted, stack
from tamt_ray.search.tamt import MaskedWeights
from tamt_ray.search.team import ProcessGroup
from tamt_ray.values.training import Optimizer, Scoring, Training

SPARSITY = 0.7
SPREAD = 0.01
"""Standard deviation of the noise on scores of 0 and 0.02, so that the two heaps overlap. Chosen,
not trained: training itself (2 layers, hidden 384, lr 5e-5) brings them to touch after some 200
steps of distillation."""


CPU = torch.device("cpu")


def mask_training(
    path: Path,
    shape: Shape,
    terms: Sequence[Objective],
    sparsity: float = SPARSITY,
    device: torch.device = CPU,
    **changes: object,
) -> tuple[MaskedWeights, Engine]:
    """Return a search of the shape that computes its batch in one piece, with `changes` of
    `Training`: scores and training."""
    given = {"batch_size": shape.batch, "micro_batch": shape.batch, "log_every": 10**6, **changes}
    settings = Settings(Training.model_validate(given), Optimizer(lr=5e-5), 10**6, 0)
    model = LanguageModel(path, device=device)
    weights = MaskedWeights(model, sparsity, Scoring(), settings.seed, head=needs_head(terms))
    loss = SearchLoss(model, terms)
    return weights, Engine(loss, weights, shape.stream(), settings, ProcessGroup(device))


def spread(weights: MaskedWeights) -> None:
    """Spread the scores by noise."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for score in weights.scores.values():
            noise = torch.randn(score.shape, generator=generator)
            score.add_(noise.to(score.device), alpha=SPREAD)
    weights.after_step()


def masked_step(path: Path, shape: Shape, terms: Sequence[Objective]) -> Callable[[], None]:
    """Our own step, exact sparsity after each."""
    weights, engine = mask_training(path, shape, terms)
    spread(weights)

    def work() -> None:
        engine.run(until=engine.step + 1)

    return work


def drawing(
    shape: Shape, step: Callable[[Corrupted], Tensor], device: torch.device = CPU
) -> Callable[[], None]:
    """`step` with the next batch, drawn as ours is."""
    stream, number = shape.stream(), 0

    def work() -> None:
        nonlocal number
        step(stack(stream.batch(number)).to(device))
        number += 1

    return work


def compare_mlm(shape: Shape, path: Path, rounds: int) -> Times:
    """`ours`, `dense` and `released`."""
    return interleave(
        {
            "ours": masked_step(path, shape, [Mlm()]),
            "dense": drawing(shape, DenseStep(path, "mlm")),
            "released": drawing(shape, ReleasedStep(path, SPARSITY)),
        },
        rounds,
    )


def compare_kd(shape: Shape, path: Path, rounds: int) -> Times:
    """`ours`, and `dense` without clipping and optimiser."""
    dense = DenseStep(path, "kd")
    return interleave(
        {"ours": masked_step(path, shape, [Kd()]), "dense": drawing(shape, dense.backward)}, rounds
    )


def run() -> Iterator[Answer]:
    """Five rounds at the small shape, two at BERT-base."""
    torch.set_num_threads(1)
    for shape, rounds, dense, released in ((MINI, 5, 1.2, 1.6), (BASE, 2, 1.1, 1.15)):
        with tempfile.TemporaryDirectory(prefix="tamt-step-") as scratch:
            path = Path(scratch)
            shape.save(path)
            times = compare_mlm(shape, path, rounds)
            ours = times.cpu_ratio("ours", "dense")
            question = f"tamt_mlm step / dense step, {shape.name}"
            yield at_most(question, ours, dense, "x", str(times))
            gain = times.cpu_ratio("released", "ours")
            question = f"released code's step / tamt_mlm step, {shape.name}"
            yield at_least(question, gain, released, "x", str(times))
            times = compare_kd(shape, path, rounds)
            ours = times.cpu_ratio("ours", "dense")
            question = f"tamt_kd step / dense forward, backward and teacher, {shape.name}"
            yield at_most(question, ours, 1.1, "x", str(times))
