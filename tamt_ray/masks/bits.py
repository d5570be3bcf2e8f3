"""Masks that stay packed, one bit a weight: for comparing many of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

_WORD = 8
"""Bytes counted at once."""


@dataclass(frozen=True, eq=False)
class Bits:
    """The kept weights of every matrix as one row of 64-bit words.

    `starts`: the word at which each matrix begins, in the order of `shapes`; `kept`: the number of
    its kept weights.
    """

    shapes: Mapping[str, tuple[int, ...]]
    words: NDArray[np.uint64]
    starts: NDArray[np.int64]
    kept: NDArray[np.int64]

    @classmethod
    def of(cls, packed: Mapping[str, bytes], shapes: Mapping[str, tuple[int, ...]]) -> Self:
        """Return the masks with the bits that `numpy.packbits` gives, zeros behind the last."""
        ordered = {name: shapes[name] for name in sorted(shapes)}
        sizes = np.array([-(-len(packed[name]) // _WORD) for name in ordered])
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
        words = np.zeros(sizes.sum(), dtype=np.uint64)
        flat = words.view(np.uint8)
        for name, start in zip(ordered, starts * _WORD, strict=True):
            data = np.frombuffer(packed[name], dtype=np.uint8)
            flat[start : start + len(data)] = data
        return cls(ordered, words, starts, _counts(words, starts))

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return self.words.nbytes

    def distances(self, other: Self) -> tuple[float, float]:
        """1 − |A ∩ B| / |A ∪ B|: the unweighted mean over matrices, two empty ones being alike,
        and over all weights together. Raises ValueError for another model's mask."""
        both, either = self._overlap(other)
        macro = np.where(either > 0, both / np.maximum(either, 1), 1.0).mean()
        whole = both.sum() / either.sum() if either.sum() else 1.0
        return 1 - float(macro), 1 - float(whole)

    def _overlap(self, other: Self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        if self.shapes != other.shapes:
            differing = sorted(set(self.shapes.items()) ^ set(other.shapes.items()))
            raise ValueError(f"the mask is another model's: {differing[0][0]} {differing[0][1]}")
        both = _counts(self.words & other.words, self.starts)
        return both, self.kept + other.kept - both


def _counts(words: NDArray[np.uint64], starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Set bits of each matrix."""
    return np.add.reduceat(np.bitwise_count(words), starts, dtype=np.int64)
