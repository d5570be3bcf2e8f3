"""One step of a mask training beside the dense step that it wraps and the released code's step.

All contestants read the same batches of 16 × 128 tokens in one piece, draw them anew for every
step, and train in train mode with dropout. The released code's step is timed without re-ranking.
Ours begins with scores spread by noise, as they are after some hundreds of steps: then φ lies among
many. In a search's first steps it lies in the gap between two values, and one count finds it.
Ratios are of processor time on one thread, which other work on the machine disturbs least.
"""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from benchmarks.answer import Answer, at_least, at_most
from benchmarks.clock import Times, interleave
from benchmarks.dense_step import DenseStep
from benchmarks.released_step import ReleasedStep
from benchmarks.shape import BASE, MINI, Shape
from tamt_ray.search.engine import Settings
from tamt_ray.search.language_model import LanguageModel
from tamt_ray.search.masking import Corrupted, join
from tamt_ray.search.objective import Terms
from tamt_ray.search.tamt import MaskTraining
from tamt_ray.search.team import Team
from tamt_ray.spec.method import Scoring
from tamt_ray.values.optimizer import Optimizer
from tamt_ray.values.training import Training

SPARSITY = 0.7
SPREAD = 0.01
"""Standard deviation of the noise on scores of 0 and 0.02, so that the two heaps overlap. Chosen,
not trained: training itself (2 layers, hidden 384, lr 5e-5) brings them to touch after some 200
steps of distillation."""


def mask_training(
    path: Path, shape: Shape, terms: Terms, sparsity: float = SPARSITY
) -> MaskTraining:
    """A search of the shape that computes its batch in one piece."""
    training = Training(batch_size=shape.batch, micro_batch=shape.batch, log_every=10**6)
    settings = Settings(training, Optimizer(lr=5e-5), 10**6, 0)
    return MaskTraining(
        LanguageModel(path), terms, sparsity, Scoring(), shape.stream(), settings, Team()
    )


def masked_step(path: Path, shape: Shape, terms: Terms) -> Callable[[], None]:
    """Our own step, exact sparsity after each."""
    training, step = mask_training(path, shape, terms), 0
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for score in training.weights.scores.values():
            score.add_(torch.randn(score.shape, generator=generator), alpha=SPREAD)
    training.weights.apply()

    def work() -> None:
        nonlocal step
        step += 1
        training.train(step)

    return work


def drawing(shape: Shape, step: Callable[[Corrupted], float]) -> Callable[[], None]:
    """`step` with the next batch, drawn as ours is."""
    stream, number = shape.stream(), 0

    def work() -> None:
        nonlocal number
        step(join(stream.batch(number)))
        number += 1

    return work


def compare_mlm(shape: Shape, path: Path, rounds: int) -> Times:
    """`ours`, `dense` and `released`."""
    return interleave(
        {
            "ours": masked_step(path, shape, "mlm"),
            "dense": drawing(shape, DenseStep(path, "mlm")),
            "released": drawing(shape, ReleasedStep(path, SPARSITY)),
        },
        rounds,
    )


def compare_kd(shape: Shape, path: Path, rounds: int) -> Times:
    """`ours`, and `dense` without clipping and optimiser."""
    dense = DenseStep(path, "kd")
    return interleave(
        {"ours": masked_step(path, shape, "kd"), "dense": drawing(shape, dense.backward)}, rounds
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
