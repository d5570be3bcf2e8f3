"""Finding φ of every matrix anew, exactly, after each step.

Scores stand as after some hundreds of steps and move by a step's learning rate from round to round.
Ratios are of processor time on one thread; `kthvalue` never uses more.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.answer import Answer, at_least, at_most
from benchmarks.clock import Times, interleave
from benchmarks.search_step import SPARSITY, masked_step
from benchmarks.shape import BASE, MINI, Shape
from tamt_ray.masks.bracket import ThresholdFinder
from tamt_ray.masks.select import zeros_at
from tamt_ray.objectives.mlm import Mlm

LR = 5e-5


class Scores:
    """The scores of all matrices of a shape, and two ways to rank them."""

    def __init__(self, shape: Shape) -> None:
        self._draw = torch.Generator().manual_seed(1)
        inner = 4 * shape.hidden
        square, wide = (shape.hidden, shape.hidden), (inner, shape.hidden)
        sizes = [(30522, shape.hidden), *([*[square] * 4, wide, wide[::-1]] * shape.layers)]
        self.matrices = [self._drawn(size) for size in sizes]
        self._selections = [ThresholdFinder(zeros_at(SPARSITY, m.numel())) for m in self.matrices]

    def _drawn(self, size: tuple[int, ...]) -> Tensor:
        kept = torch.rand(size, generator=self._draw) > SPARSITY
        return 0.02 * kept + 0.01 * torch.randn(size, generator=self._draw)

    def move(self) -> None:
        """One step of the optimiser."""
        for matrix in self.matrices:
            matrix.add_(torch.randn(matrix.shape, generator=self._draw), alpha=LR)

    def rank(self) -> list[float]:
        """φ of each matrix, our way: the largest score to be pruned."""
        found = zip(self._selections, self.matrices, strict=True)
        return [selection.cut(matrix).value for selection, matrix in found]

    def rank_by_kthvalue(self) -> list[float]:
        """The same as the released code finds it."""
        return [
            float(matrix.view(-1).kthvalue(zeros_at(SPARSITY, matrix.numel())).values)
            for matrix in self.matrices
        ]


def compare(shape: Shape, rounds: int) -> Times:
    """`ours` and `kthvalue`."""
    scores = Scores(shape)
    contestants = {"ours": scores.rank, "kthvalue": scores.rank_by_kthvalue}
    return interleave(contestants, rounds, before=scores.move)


def run() -> Iterator[Answer]:
    """Seven rounds at the small shape, five at BERT-base; then beside a whole step."""
    torch.set_num_threads(1)
    for shape, rounds in ((MINI, 7), (BASE, 5)):
        times = compare(shape, rounds)
        gain = times.cpu_ratio("kthvalue", "ours")
        yield at_least(f"kthvalue / exact re-ranking, {shape.name}", gain, 5, "x", str(times))
    with tempfile.TemporaryDirectory(prefix="tamt-rank-") as scratch:
        MINI.save(Path(scratch))
        scores = Scores(MINI)
        times = interleave(
            {"re-ranking": scores.rank, "step": masked_step(Path(scratch), MINI, [Mlm()])},
            rounds=5, before=scores.move,
        )  # fmt: skip
        share = 100 * times.cpu_ratio("re-ranking", "step")
        yield at_most(
            f"exact re-ranking in a tamt_mlm step, {MINI.name}", share, 5, "%", str(times)
        )
