"""One step of a mask training beside the dense step that it wraps and the released code's step.

All contestants read the same batches in one piece, draw them anew for every step, and train in
train mode with dropout: 16 × 128 tokens on a CPU, 16 × 512 on a GPU. The released code's step is
timed without re-ranking. Ours begins with scores spread by noise, as they are after some hundreds
of steps: then φ lies among many. In a search's first steps it lies in the gap between two values,
and one count finds it. On a CPU ratios are of processor time on one thread, which other work on the
machine disturbs least.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.answer import Answer, at_least, at_most
from benchmarks.clock import Times, interleave
from benchmarks.dense_step import DenseStep
from benchmarks.device import CPU, Device
from benchmarks.released_step import ReleasedStep
from benchmarks.shape import BASE, MINI, Shape
from tamt_ray.data.device import autocast, matrix_products
from tamt_ray.data.graphs import Recorder
from tamt_ray.objectives.base import Objective, needs_head
from tamt_ray.objectives.kd import Kd
from tamt_ray.objectives.mlm import Mlm
from tamt_ray.search.engine import Engine, Settings
from tamt_ray.search.language_model import LanguageModel
from tamt_ray.search.loss import SearchLoss
from tamt_ray.search.mlm_corruption import Corrupted, stack
from tamt_ray.search.process_group import ProcessGroup
from tamt_ray.search.tamt import MaskedWeights
from tamt_ray.values.training import Optimizer, Precision, Scoring, Training

SPARSITY = 0.7
SPREAD = 0.01
"""Standard deviation of the noise on scores of 0 and 0.02, so that the two heaps overlap. Chosen,
not trained: training itself (2 layers, hidden 384, lr 5e-5) brings them to touch after some 200
steps of distillation."""


@dataclass(frozen=True)
class Case:
    """Shape, number format and targets of a comparison."""

    shape: Shape
    rounds: int
    dense: float
    """Our step over the dense one, at most."""
    released: float
    """The released code's step over ours, at least."""
    precision: Precision = "float32"
    compile: bool = False

    @property
    def name(self) -> str:
        """The case in words."""
        return f"{self.shape.name}, {self.precision}{', compiled' * self.compile}"


def cases(device: Device) -> dict[str, Case]:
    """The cases of a device by name."""
    if not device.gpu:
        return {"mini": Case(MINI, 5, 1.2, 1.6), "base": Case(BASE, 2, 1.1, 1.15)}
    shape, rounds = device.shape, 1 if device.toy else 3
    formats: tuple[Precision, ...] = ("float32", "tf32", "bfloat16")
    found = {name: Case(shape, rounds, 1.1, 2, name) for name in formats}
    if device.cuda:
        found["compiled"] = Case(shape, rounds, 1.15, 2, "bfloat16", compile=True)
    return found


def mask_training(
    path: Path,
    shape: Shape,
    terms: Sequence[Objective],
    sparsity: float = SPARSITY,
    device: Device = CPU,
    *,
    record: Recorder | None = None,
    **changes: object,
) -> tuple[MaskedWeights, Engine]:
    """Return a search of the shape that computes its batch in one piece, with `changes` of
    `Training`: scores and training. With `record`, micro-batches are replayed."""
    given = {"batch_size": shape.batch, "micro_batch": shape.batch, "log_every": 10**6, **changes}
    settings = Settings(Training.model_validate(given), Optimizer(lr=5e-5), 10**6, 0)
    model = LanguageModel(path, device=device.torch)
    weights = MaskedWeights(model, sparsity, Scoring(), settings.seed, head=needs_head(terms))
    loss = SearchLoss(model, terms)
    group = ProcessGroup(device.torch)
    return weights, Engine(loss, weights, shape.stream(), settings, group, record=record)


def spread(weights: MaskedWeights) -> None:
    """Spread the scores by noise."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for score in weights.scores.values():
            noise = torch.randn(score.shape, generator=generator)
            score.add_(noise.to(score.device), alpha=SPREAD)
    weights.after_step()


def masked_step(
    path: Path, shape: Shape, terms: Sequence[Objective], device: Device = CPU, **changes: object
) -> Callable[[], None]:
    """Our own step, exact sparsity after each, with `changes` of `Training`."""
    weights, engine = mask_training(path, shape, terms, SPARSITY, device, record=None, **changes)
    spread(weights)

    def work() -> None:
        engine.run(until=engine.step + 1)

    return work


def drawing(
    shape: Shape,
    step: Callable[[Corrupted], Tensor],
    device: Device = CPU,
    precision: Precision = "float32",
) -> Callable[[], None]:
    """`step` with the next batch, drawn as ours is."""
    stream, number = shape.stream(), 0

    def work() -> None:
        nonlocal number
        batch = stack(stream.batch(number)).to(device.torch)
        with matrix_products(precision), autocast(precision, device.torch):
            step(batch)
        number += 1

    return work


def compare_mlm(case: Case, path: Path, device: Device) -> Times:
    """`ours`, `dense` and `released`."""
    dense, released = DenseStep(path, "mlm"), ReleasedStep(path, SPARSITY)
    for peer in (dense, released):
        torch.nn.Module.to(peer.model, device.torch)
    if case.compile:
        dense.model.bert.compile()
    contestants = {
        "ours": _ours(case, path, Mlm(), device),
        "dense": drawing(case.shape, dense, device, case.precision),
        "released": drawing(case.shape, released, device, case.precision),
    }
    return interleave(contestants, case.rounds, device=device)


def compare_kd(case: Case, path: Path, device: Device) -> Times:
    """`ours`, and `dense` without clipping and optimiser."""
    dense = DenseStep(path, "kd")
    for model in (dense.model, dense.teacher):
        torch.nn.Module.to(model, device.torch)
        if case.compile:
            model.base_model.compile()
    contestants = {
        "ours": _ours(case, path, Kd(), device),
        "dense": drawing(case.shape, dense.backward, device, case.precision),
    }
    return interleave(contestants, case.rounds, device=device)


def _ours(case: Case, path: Path, term: Objective, device: Device) -> Callable[[], None]:
    return masked_step(
        path, case.shape, [term], device, precision=case.precision, compile=case.compile
    )


def micro_batches(device: Device) -> Iterator[Answer]:
    """A step in micro-batches of a quarter beside one that computes its batch at once."""
    torch.set_num_threads(1)
    shape = device.shape
    with tempfile.TemporaryDirectory(prefix="tamt-micro-") as scratch:
        path = Path(scratch)
        shape.save(path)
        for precision in ("float32", "bfloat16"):
            contestants = {
                f"micro_batch {size}": masked_step(
                    path, shape, [Mlm()], device, micro_batch=size, precision=precision
                )
                for size in (max(1, shape.batch // 4), shape.batch)
            }
            times = interleave(contestants, 1 if device.toy else 3, device=device)
            small, large = contestants
            question = f"tamt_mlm step with {small} over {large}, {shape.name}, {precision}"
            yield Answer(question, times.ratio(small, large), detail=str(times), unit="x")


def run(device: Device = CPU, *only: str) -> Iterator[Answer]:
    """Every case of the device, or those named."""
    torch.set_num_threads(1)
    for case_name, case in cases(device).items():
        if only and case_name not in only:
            continue
        with tempfile.TemporaryDirectory(prefix="tamt-step-") as scratch:
            path, name = Path(scratch), case.name
            case.shape.save(path)
            times = compare_mlm(case, path, device)
            ours = times.ratio("ours", "dense")
            question = f"tamt_mlm step / dense step, {name}"
            yield device.judged(at_most(question, ours, case.dense, "x", str(times)))
            gain = times.ratio("released", "ours")
            question = f"released code's step / tamt_mlm step, {name}"
            yield device.judged(at_least(question, gain, case.released, "x", str(times)))
            times = compare_kd(case, path, device)
            ours, limit = times.ratio("ours", "dense"), 1.15 if case.compile else 1.1
            question = f"tamt_kd step / dense forward, backward and teacher, {name}"
            yield device.judged(at_most(question, ours, limit, "x", str(times)))
