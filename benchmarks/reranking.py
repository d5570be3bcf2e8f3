"""Finding φ of every matrix anew, exactly, after each step.

Scores stand as after some hundreds of steps and move by a step's learning rate from round to round.
On a CPU ratios are of processor time on one thread; `kthvalue` never uses more. On a GPU ours
writes W ⊙ M too, as does the stable sort, and `kthvalue` does not.
"""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.answer import Answer, at_least, at_most
from benchmarks.clock import Times, interleave
from benchmarks.device import CPU, Device
from benchmarks.search_step import SPARSITY, masked_step
from benchmarks.shape import BASE, MINI, Shape
from tamt_ray.masks.bracket import ThresholdFinder
from tamt_ray.masks.pruner import Matrices, Pruner
from tamt_ray.masks.select import make_pruner, zeros_at
from tamt_ray.objectives.mlm import Mlm

LR = 5e-5


class Scores:
    """The scores of all matrices of a shape, and ways to rank them."""

    def __init__(self, shape: Shape, device: Device = CPU) -> None:
        self._draw = torch.Generator(device.torch).manual_seed(1)
        self._device = device
        inner = 4 * shape.hidden
        square, wide = (shape.hidden, shape.hidden), (inner, shape.hidden)
        sizes = [(30522, shape.hidden), *([*[square] * 4, wide, wide[::-1]] * shape.layers)]
        self.matrices = [self._drawn(size) for size in sizes]
        self._zeros = [zeros_at(SPARSITY, matrix.numel()) for matrix in self.matrices]
        self._selections = [ThresholdFinder(zeros) for zeros in self._zeros]

    def _drawn(self, size: tuple[int, ...]) -> Tensor:
        place = self._device.torch
        kept = torch.rand(size, generator=self._draw, device=place) > SPARSITY
        return 0.02 * kept + 0.01 * torch.randn(size, generator=self._draw, device=place)

    def move(self) -> None:
        """One step of the optimiser."""
        for matrix in self.matrices:
            step = torch.randn(matrix.shape, generator=self._draw, device=matrix.device)
            matrix.add_(step, alpha=LR)

    def rank(self) -> list[float]:
        """φ of each matrix, our way on a CPU: the largest score to be pruned."""
        found = zip(self._selections, self.matrices, strict=True)
        return [selection.cut(matrix).value for selection, matrix in found]

    def rank_by_kthvalue(self) -> list[Tensor]:
        """The same as the released code finds it."""
        found = zip(self.matrices, self._zeros, strict=True)
        return [matrix.view(-1).kthvalue(zeros).values for matrix, zeros in found]

    def contestants(self) -> dict[str, Callable[[], object]]:
        """`ours` and `kthvalue`; on a GPU also a stable `sort` of each matrix."""
        if not self._device.gpu:
            return {"ours": self.rank, "kthvalue": self.rank_by_kthvalue}
        scores = {str(number): matrix for number, matrix in enumerate(self.matrices)}
        dense = {name: torch.randn_like(score) for name, score in scores.items()}
        weights = {name: torch.zeros_like(score) for name, score in scores.items()}
        zeros = dict(zip(scores, self._zeros, strict=True))
        matrices = Matrices(scores, dense, weights, zeros, magnitude=False)
        return {
            "ours": make_pruner(matrices).prune,
            "kthvalue": self.rank_by_kthvalue,
            "sort": Pruner(matrices).prune,
        }


def compare(shape: Shape, rounds: int, device: Device = CPU) -> Times:
    """Rank the scores of a shape in all ways."""
    scores = Scores(shape, device)
    return interleave(scores.contestants(), rounds, before=scores.move, device=device)


def run(device: Device = CPU) -> Iterator[Answer]:
    """Seven rounds at the small shape, five at BERT-base; then beside a whole step."""
    torch.set_num_threads(1)
    shapes = [(device.shape, 3)] if device.gpu else [(MINI, 7), (BASE, 5)]
    for shape, rounds in shapes:
        times = compare(shape, rounds, device)
        gain = times.ratio("kthvalue", "ours")
        question = f"kthvalue / exact re-ranking, {shape.name}"
        yield device.judged(at_least(question, gain, 5, "x", str(times)))
        if device.gpu:
            gain = times.ratio("sort", "ours")
            yield device.judged(at_least(f"stable sort / the same, {shape.name}", gain, 5, "x"))
            question = f"selecting in all matrices of {shape.name} and writing W ⊙ M"
            took = 1e3 * times.spent("ours")
            yield device.judged(at_most(question, took, 1.5, "ms"))
    shape = device.shape if device.gpu else MINI
    with tempfile.TemporaryDirectory(prefix="tamt-rank-") as scratch:
        shape.save(Path(scratch))
        scores = Scores(shape, device)
        contestants = {
            "re-ranking": scores.contestants()["ours"],
            "step": masked_step(Path(scratch), shape, [Mlm()], device),
        }
        times = interleave(contestants, rounds=5, before=scores.move, device=device)
        share = 100 * times.ratio("re-ranking", "step")
        question = f"exact re-ranking in a tamt_mlm step, {shape.name}"
        yield device.judged(at_most(question, share, 5, "%", str(times)))
