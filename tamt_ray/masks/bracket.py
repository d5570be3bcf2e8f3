"""Exact selection on a CPU, within a bracket around the last threshold."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor

_SMALL = 20_000
_NEAR = 256
"""One value in so many lies in the bracket that the next selection starts from."""
_CHUNK = 2**18
"""Values compared at a time: a megabyte stays in a core's cache, and float32 counts it exactly."""
_WORD = 8
"""Flags read at once."""


@dataclass(frozen=True)
class Threshold:
    """The border of a selection.

    Kept are values above `value`, and from the flat index `start` on those equal to it.
    """

    value: float
    start: int

    def keep(self, values: Tensor) -> Tensor:
        """Return True where a value is kept, in the shape of `values`."""
        flat = values.reshape(-1)
        pruned = flat <= self.value  # False for NaN, which ranks above all numbers.
        if self.start < flat.numel():
            torch.lt(flat[self.start :], self.value, out=pruned[self.start :])
        return pruned.logical_not_().view(values.shape)

    def write(self, weights: Tensor, values: Tensor, out: Tensor) -> None:
        """Write the weight where its value is kept, else 0; all contiguous and of one shape."""
        # One vectorised pass that compares and selects; a product with a bool mask takes several.
        torch.ops.aten.threshold_backward.grad_input(weights, values, self.value, grad_input=out)
        if self.start < values.numel():
            end = out.view(-1)[self.start :]
            end.copy_(weights.view(-1)[self.start :])
            end.masked_fill_(values.view(-1)[self.start :] < self.value, 0.0)


class ThresholdFinder:
    """Finds the cut that prunes `zeros` values, again and again while the values change.

    It remembers where the last cut was and looks there first. That only decides how much is looked
    at: what is found there is counted exactly, and the cut depends on the present values alone.
    """

    def __init__(self, zeros: int) -> None:
        self._zeros = zeros
        self._near: tuple[float, float] | None = None
        """Above the first number, up to the second. One number twice: that many values equal it,
        or that it lies where there are none."""

    def cut(self, values: Tensor) -> Threshold:
        """Return the cut of `values`, at least `zeros` of any shape."""
        if self._zeros == 0:
            return Threshold(-math.inf, 0)
        flat = values.reshape(-1)
        value, up_to = self._border(flat)
        return Threshold(value, _start_of_last(flat, value, up_to - self._zeros))

    def _border(self, flat: Tensor) -> tuple[float, int]:
        """Return the `zeros`-th smallest value, or a number between it and the next one; and how
        many values are at most that."""
        n = self._zeros
        for low, high in self._brackets(flat):
            if low == high:
                up_to = sum(_counts(flat, torch.le, high))
                if up_to == n or (up_to > n and sum(_counts(flat, torch.lt, high)) < n):
                    self._near = low, high
                    return high, up_to
                continue
            below, inside = _look(flat, low, high)
            if below <= n <= below + len(inside):
                value = _narrowed(inside, n - below, flat.numel()) if n > below else low
                up_to = below + int(torch.count_nonzero(inside <= value))
                self._near = self._around(value, inside, n - below, (low, high), flat.numel())
                return value, up_to
        value = float(flat.kthvalue(n).values)
        return value, sum(_counts(flat, torch.le, value))

    def _brackets(self, flat: Tensor) -> Iterator[tuple[float, float]]:
        """Yield intervals that may hold the value: near the last one, then by a sample (Floyd and
        Rivest)."""
        if flat.numel() <= _SMALL:
            return
        if self._near:
            yield self._near
            self._near = None
        # Odd, so that no power of two in the shape is a multiple of it.
        sample = flat[:: int(flat.numel() ** (1 / 3)) | 1].sort().values
        middle = self._zeros / flat.numel() * len(sample)
        margin = 3 * math.sqrt(len(sample)) / 2 + 1
        low = sample[max(0, math.floor(middle - margin))]
        high = sample[min(len(sample) - 1, math.ceil(middle + margin))]
        # First between the two: of values that the sample met there may be very many.
        if low < high:
            yield float(low), float(_before(high))
            yield float(high), float(high)
        yield float(low), float(low)

    def _around(
        self, value: float, inside: Tensor, place: int, bracket: tuple[float, float], size: int
    ) -> tuple[float, float]:
        """Return the next bracket: so many values on both sides of the `place`-th smallest
        `inside`.

        Where `bracket` has too few on a side, it keeps its width there. Where it would be mostly a
        gap above that value, as between scores that begin as one of two values, it is the gap's
        middle.
        """
        step = max(1, len(inside) // 512)
        sample = inside[::step].sort().values
        reach = size // _NEAR // 2
        first, last = (place - 1 - reach) // step, (place - 1 + reach) // step + 1
        half = (bracket[1] - bracket[0]) / 2
        low = float(sample[first]) if first >= 0 else value - half
        high = float(sample[last]) if last < len(sample) else value + half
        above = inside[inside > value]
        gap = (float(above.min()) if len(above) else bracket[1]) - value
        if gap > (high - low) / 2 and len(above) == len(inside) - place:
            return value + gap / 2, value + gap / 2
        if int(torch.count_nonzero(inside == value)) > size // _NEAR:
            return value, value
        if low >= value:
            low = float(_before(sample.new_tensor(value)))
        return low, max(high, value)


def _narrowed(inside: Tensor, place: int, size: int) -> float:
    """Return the `place`-th smallest of those `inside` a bracket around some of `size` values."""
    if len(inside) > _SMALL and 2 * len(inside) < size:
        return ThresholdFinder(place).cut(inside).value
    return float(inside.kthvalue(place).values)


def _before(value: Tensor) -> Tensor:
    """Return the next smaller number."""
    return torch.nextafter(value, value.new_tensor(-math.inf))


def _look(flat: Tensor, low: float, high: float) -> tuple[int, Tensor]:
    """Return the number of values of at most `low`, and the values above it of at most `high`."""
    whole = flat.numel() // _WORD * _WORD
    flags = torch.empty(whole, dtype=torch.bool, device=flat.device)
    room = flat.new_empty(2, min(_CHUNK, whole))
    counts = [torch.count_nonzero(flat[whole:] <= low)]
    for chunk, marks in zip(flat[:whole].split(_CHUNK), flags.split(_CHUNK), strict=True):
        # Comparisons that write floats are several times faster than those that write flags.
        below, up_to = room[:, : len(chunk)]
        counts.append(torch.le(chunk, low, out=below).sum().long())
        marks.copy_(torch.le(chunk, high, out=up_to).sub_(below))
    # Few flags are set: find the words that are not zero, then look at each of their values.
    words = flags.view(torch.int64).nonzero().view(-1)
    rows = flat[:whole].view(-1, _WORD)
    near = (rows.index_select(0, some).view(-1) for some in words.split(_CHUNK // _WORD))
    inside = [some[(some > low) & (some <= high)] for some in chain(near, (flat[whole:],))]
    return int(torch.stack(counts).sum()), torch.cat(inside)


def _counts(flat: Tensor, compare: Callable[..., Tensor], value: float) -> list[int]:
    """Return the numbers of values that compare so with `value`, chunk by chunk."""
    room = flat.new_empty(min(_CHUNK, flat.numel()))
    counts = [compare(chunk, value, out=room[: len(chunk)]).sum() for chunk in flat.split(_CHUNK)]
    return torch.stack(counts).long().tolist()


def _start_of_last(flat: Tensor, value: float, ties: int) -> int:
    """Return the flat index from which on just `ties` values are equal to `value`."""
    if ties <= 0:
        return flat.numel()
    counts = _counts(flat, torch.eq, value)
    chunk = len(counts) - 1
    while ties > counts[chunk]:
        ties -= counts[chunk]
        chunk -= 1
    begin = chunk * _CHUNK
    found = (flat[begin : begin + _CHUNK] == value).nonzero().view(-1)
    return begin + int(found[counts[chunk] - ties])
