# Triton has no types: its kernels get launchers that their signatures do not show.
# pyright: basic, reportMissingImports=false, reportIndexIssue=false, reportArgumentType=false
# pyright: reportCallIssue=false, reportGeneralTypeIssues=false
"""Exact selection in many matrices at once on a GPU: a radix select in Triton.

Twelve launches whatever the values are, and the host waits for none of them, so that a CUDA graph
can hold them. The matrices stay where they are: the kernels find them through tables of addresses.
Programs add up whole numbers only, so the result is the same in every run.
"""

import itertools
from collections.abc import Mapping, Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from tamt_ray.masks.pruner import Matrices, Pruner

BLOCK = 8192
"""Values of one matrix that one program reads."""
ALIGNED = 16
"""Bytes of a vector load; every matrix has to begin at a multiple of them."""
STEP = 1024
"""Counts that one program adds up at a time."""
WARPS = 8


@triton.jit
def _begin(table, matrix):
    """Return the address of a matrix, from a table of addresses."""
    start = tl.load(table + matrix).to(tl.pointer_type(tl.float32))
    return tl.multiple_of(start, 16)


@triton.jit
def _load(table, matrix, number, size, block: tl.constexpr):
    """A chunk of a matrix. One that is full is read without a mask, which vector loads need."""
    begin = _begin(table, matrix) + number * block
    inner = tl.arange(0, block)
    if (number + 1) * block <= size:
        values = tl.load(begin + inner)
    else:
        values = tl.load(begin + inner, mask=number * block + inner < size, other=0.0)
    return values


@triton.jit
def _keys(table, matrix, number, size, magnitude: tl.constexpr, block: tl.constexpr):
    """The keys of a chunk's values, and which of them lie inside the matrix."""
    values = _load(table, matrix, number, size, block)
    if magnitude:
        values = tl.abs(values)
    return _key(values), number * block + tl.arange(0, block) < size


@triton.jit
def _key(values):
    """int32 in the order of the values: −0 and +0 are one, NaN comes last, as in a sort."""
    bits = tl.where(values == 0.0, 0.0, values).to(tl.int32, bitcast=True)
    return tl.where(values != values, 0x7FFFFFFF, tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits))


@triton.jit
def count_digits(values, chunk_matrix, chunk_number, size, prefix, counts,
                 digit: tl.constexpr, magnitude: tl.constexpr, block: tl.constexpr):  # fmt: skip
    """Count the values of a matrix by their next digit, of those that share the prefix."""
    chunk = tl.program_id(0)
    matrix = tl.load(chunk_matrix + chunk)
    number, end = tl.load(chunk_number + chunk), tl.load(size + matrix)
    keys, inside = _keys(values, matrix, number, end, magnitude, block)
    shift: tl.constexpr = 24 - 8 * digit
    if digit == 0:
        found = (keys >> shift) + 128  # The first digit has the sign.
    else:
        found = (keys >> shift) & 255
        inside &= (keys >> (shift + 8)) == tl.load(prefix + matrix)
    counted = tl.histogram(found, 256, mask=inside)
    bins = tl.arange(0, 256)
    tl.atomic_add(counts + matrix * 256 + bins, counted, mask=counted > 0, sem="relaxed")


@triton.jit
def choose_digit(counts, zeros, prefix, place, kept_ties, digit: tl.constexpr):
    """Add to the prefix the digit of the `zeros`-th smallest value.

    `place` becomes its rank, from 1, among the values with that prefix. After the last digit these
    are ties, of which `kept_ties` are kept.
    """
    matrix = tl.program_id(0)
    bins = tl.arange(0, 256)
    counted = tl.load(counts + matrix * 256 + bins)
    rank = tl.load((zeros if digit == 0 else place) + matrix)
    chosen = tl.sum((tl.cumsum(counted, 0) < rank).to(tl.int32), 0)
    rank -= tl.sum(tl.where(bins < chosen, counted, 0), 0)
    longer = chosen - 128 if digit == 0 else tl.load(prefix + matrix) * 256 + chosen
    tl.store(prefix + matrix, longer)
    tl.store(place + matrix, rank)
    if digit == 3:
        ties = tl.sum(tl.where(bins == chosen, counted, 0), 0)
        tl.store(kept_ties + matrix, ties - rank)


@triton.jit
def count_ties(values, chunk_matrix, chunk_number, size, prefix, kept_ties, ties,
               magnitude: tl.constexpr, block: tl.constexpr):  # fmt: skip
    """Count the values equal to φ in each chunk, where only some of them are kept."""
    chunk = tl.program_id(0)
    matrix = tl.load(chunk_matrix + chunk)
    if tl.load(kept_ties + matrix) > 0:
        number, end = tl.load(chunk_number + chunk), tl.load(size + matrix)
        keys, inside = _keys(values, matrix, number, end, magnitude, block)
        equal = inside & (keys == tl.load(prefix + matrix))
        tl.store(ties + chunk, tl.sum(equal.to(tl.int32), 0))


@triton.jit
def find_cut(values, first_chunk, size, zeros, prefix, place, kept_ties, ties, phi, start,
             magnitude: tl.constexpr, block: tl.constexpr, step: tl.constexpr):  # fmt: skip
    """φ of each matrix, and the flat index from which on values equal to it are kept."""
    matrix = tl.program_id(0)
    key = tl.load(prefix + matrix)
    end = tl.load(size + matrix)
    bits = tl.where(key < 0, key ^ 0x7FFFFFFF, key)
    value = bits.to(tl.float32, bitcast=True)
    if tl.load(zeros + matrix) == 0:
        tl.store(phi + matrix, float("-inf"))
        tl.store(start + matrix, 0)
    elif tl.load(kept_ties + matrix) == 0:
        tl.store(phi + matrix, value)
        tl.store(start + matrix, end)
    else:
        rank = tl.load(place + matrix)
        first = tl.load(first_chunk + matrix)
        last = tl.load(first_chunk + matrix + 1)
        passed = 0  # Chunks whose ties are all pruned.
        before = 0  # Ties in them.
        seen = 0
        for begin in range(first, last, step):
            chunks = begin + tl.arange(0, step)
            counted = tl.load(ties + chunks, mask=chunks < last, other=0)
            whole = (chunks < last) & (seen + tl.cumsum(counted, 0) < rank)
            passed += tl.sum(whole.to(tl.int32), 0)
            before += tl.sum(tl.where(whole, counted, 0), 0)
            seen += tl.sum(counted, 0)
        keys, inside = _keys(values, matrix, passed, end, magnitude, block)
        number = before + tl.cumsum((inside & (keys == key)).to(tl.int32), 0)
        tl.store(phi + matrix, value)
        tl.store(start + matrix, passed * block + 1 + tl.sum((number < rank).to(tl.int32), 0))


@triton.jit
def write_kept(values, dense, weights, chunk_matrix, chunk_number, size, phi, start,
               magnitude: tl.constexpr, block: tl.constexpr):  # fmt: skip
    """Write the dense weight where its value is kept, else 0."""
    chunk = tl.program_id(0)
    matrix = tl.load(chunk_matrix + chunk)
    number, end = tl.load(chunk_number + chunk), tl.load(size + matrix)
    keys, inside = _keys(values, matrix, number, end, magnitude, block)
    border = _key(tl.load(phi + matrix))
    inner = tl.arange(0, block)
    ties = number * block + inner >= tl.load(start + matrix)
    keep = (keys > border) | ((keys == border) & ties)
    kept = tl.where(keep, _load(dense, matrix, number, end, block), 0.0)
    begin = _begin(weights, matrix) + number * block
    if (number + 1) * block <= end:
        tl.store(begin + inner, kept)
    else:
        tl.store(begin + inner, kept, mask=inside)


class RadixPruner(Pruner):
    """Prunes all matrices together; float32 on one GPU."""

    def __init__(self, matrices: Matrices) -> None:
        super().__init__(matrices)
        scores = list(matrices.scores.values())
        assert all(score.dtype is torch.float32 and score.is_contiguous() for score in scores)
        self._device = scores[0].device
        sizes = [score.numel() for score in scores]
        chunks = [-(-size // BLOCK) for size in sizes]
        self._addresses = self._read_addresses()
        assert all(start % ALIGNED == 0 for table in self._addresses for start in table)
        self._values, self._dense, self._weights = (
            torch.tensor(table, dtype=torch.int64, device=self._device) for table in self._addresses
        )
        self._chunks = (
            self._numbers([number for number, count in enumerate(chunks) for _ in range(count)]),
            self._numbers([number for count in chunks for number in range(count)]),
            self._numbers(sizes),
        )
        """The matrix of each chunk, its number there, and the sizes of the matrices."""
        self._first_chunk = self._numbers([0, *itertools.accumulate(chunks)])
        self._zeros = self._numbers([matrices.zeros[name] for name in matrices.scores])
        self._counts = self._zeros.new_zeros(4, len(sizes), 256)
        self._ties = self._zeros.new_zeros(sum(chunks))
        self._found = tuple(torch.zeros_like(self._zeros) for _ in range(3))
        """Per matrix: φ's digits so far, the place among ties, how many ties are kept."""
        self._phi = torch.zeros_like(self._zeros, dtype=torch.float32)
        self._start = torch.zeros_like(self._zeros)

    def prune(self) -> None:
        self._choose(self._zeros)
        self._write(self._phi, self._start)

    def thresholds(self, *, at_least: bool) -> dict[str, Tensor]:
        size = self._chunks[2]
        if at_least:
            self._choose((self._zeros + 1).minimum(size))
            phi = self._phi.masked_fill(self._zeros == size, torch.inf)
        else:
            self._choose(self._zeros)
            phi = self._phi.clone()
        return dict(zip(self.matrices.scores, phi.unbind(), strict=True))

    def prune_at(self, thresholds: Mapping[str, Tensor], *, at_least: bool) -> None:
        phi = torch.stack([thresholds[name] for name in self.matrices.scores])
        self._write(phi, torch.zeros_like(self._start) if at_least else self._chunks[2])

    def _choose(self, zeros: Tensor) -> None:
        """Find φ and where ties begin to be kept, so that `zeros` values of each are pruned."""
        assert self._read_addresses() == self._addresses, "a tensor has moved"
        here = {"magnitude": self.matrices.magnitude, "block": BLOCK, "num_warps": WARPS}
        every, each = (len(self._ties),), (len(zeros),)
        prefix, place, kept_ties = self._found
        self._counts.zero_()
        with torch.cuda.device_of(zeros):
            for digit, counts in enumerate(self._counts):
                count_digits[every](
                    self._values, *self._chunks, prefix, counts, digit=digit, **here
                )
                choose_digit[each](counts, zeros, prefix, place, kept_ties, digit=digit)
            count_ties[every](self._values, *self._chunks, prefix, kept_ties, self._ties, **here)
            find_cut[each](
                self._values, self._first_chunk, self._chunks[2], zeros, *self._found,
                self._ties, self._phi, self._start, step=STEP, **here,
            )  # fmt: skip

    def _write(self, phi: Tensor, start: Tensor) -> None:
        with torch.cuda.device_of(phi):
            write_kept[(len(self._ties),)](
                self._values, self._dense, self._weights, *self._chunks, phi, start,
                magnitude=self.matrices.magnitude, block=BLOCK, num_warps=WARPS,
            )  # fmt: skip

    def _numbers(self, numbers: Sequence[int]) -> Tensor:
        return torch.tensor(numbers, dtype=torch.int32, device=self._device)

    def _read_addresses(self) -> list[list[int]]:
        """Return the addresses of scores, dense and masked weights."""
        given = self.matrices
        return [
            [tensors[name].data_ptr() for name in given.scores]
            for tensors in (given.scores, given.dense, given.weights)
        ]
