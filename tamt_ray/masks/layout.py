"""Division of matrices by a pattern: scores in, a mask under the pattern out."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from tamt_ray.masks.pruner import Matrices, Pruner
from tamt_ray.masks.select import CountZeros, keep_largest, keep_largest_of_rows, zeros_at
from tamt_ray.values.pattern import PatternForm, Per, clash

_Shapes = Mapping[str, tuple[int, ...]]

_SLACK = 0.005
"""Largest difference between the sparsity of whole units and that of a comparison."""
_LEAVE_OUT = 'leave it out with the model\'s `prune`, as in `prune: ["*layer*"]`'
_ATTENTION = re.compile(r"(.*)\b(?:attention|attn)\.(.*)")
_OUTPUT = re.compile(r"(?:output\.dense|out_lin|attn\.o|Wo|lin2)\.weight$")
"""Ends of the names of matrices whose columns, not rows, belong to heads or neurons."""
_FEED_FORWARD = re.compile(r"(.*?)(?:intermediate\.|output\.|ffn\.|mlp\.).*")


@dataclass(frozen=True)
class _Part:
    """A matrix's share of some units: its shape with the units' axes apart, and the axes within."""

    name: str
    shape: tuple[int, ...]
    within: tuple[int, ...] = ()

    def sums(self, scores: Tensor) -> Tensor:
        """Return the sum over each unit."""
        laid = scores.reshape(self.shape)
        return laid.sum(self.within) if self.within else laid

    def spread(self, units: Tensor, sides: tuple[int, ...]) -> Tensor:
        """Return the matrix, [out, in], with the value of its unit at every weight."""
        for axis in self.within:
            units = units.unsqueeze(axis)
        # Weights of a neuron would share one number in memory.
        return units.expand(self.shape).reshape(sides).contiguous()


@dataclass(frozen=True)
class _Pool:
    """Units that are ranked together, in `groups` groups of equal size."""

    parts: tuple[_Part, ...]
    groups: int
    size: int
    """Weights of a unit."""

    @property
    def unit_shape(self) -> tuple[int, ...]:
        first = self.parts[0]
        return tuple(n for axis, n in enumerate(first.shape) if axis not in first.within)

    @property
    def per_group(self) -> int:
        """Units in each group."""
        return math.prod(self.unit_shape) // self.groups


class Layout:
    """Units, which are kept or pruned whole, and the groups that they are ranked in.

    A unit is one weight, a block, a head or a neuron; its score is the mean of its weights'. A
    group is a matrix, a row, or the m weights of n:m; heads and neurons are ranked in their layer.
    With `per: model` all units make one group.
    """

    def __init__(self, shapes: _Shapes, pattern: str, per: Per = "matrix") -> None:
        """`shapes` [out, in] by name. Raises ValueError for a shape that does not divide."""
        self.pattern = pattern
        self._shapes = {name: tuple(shape) for name, shape in shapes.items()}
        self._whole = per == "model"
        form = PatternForm.read(pattern)
        if complaint := clash(pattern, per):
            raise ValueError(complaint)
        self._pools = dict(
            _structures(self._shapes, form.heads)
            if form.heads
            else _within_matrices(self._shapes, form, pattern, per)
        )

    def check(self, sparsity: float) -> None:
        """Raise ValueError where no whole number of units is `sparsity` of a group, to 0.5 %."""
        counts = {name: pool.per_group for name, pool in self._pools.items()}
        if self._whole:
            counts = {"the model": sum(counts.values())}
        for name, units in counts.items():
            zeros = zeros_at(sparsity, units)
            if abs(zeros / units - sparsity) > _SLACK:
                near = sorted({math.floor(sparsity * units), math.ceil(sparsity * units)})
                fitting = " and ".join(f"{count / units:.4g}" for count in near)
                raise ValueError(
                    f"pattern {self.pattern} cannot prune {sparsity:.4g} of the {units} units of "
                    f"{name}; the nearest sparsities are {fitting}"
                )

    def select(
        self, scores: Mapping[str, Tensor], sparsity: float, zeros: CountZeros = zeros_at
    ) -> dict[str, Tensor]:
        """Return True where a weight is kept: the units with the largest mean scores of each group.

        The nearest whole number of units is pruned; of equal ones the first. On any device.
        """
        return self.select_units(self.pool(scores), sparsity, zeros)

    def select_units(
        self, pooled: Mapping[str, Tensor], sparsity: float, zeros: CountZeros = zeros_at
    ) -> dict[str, Tensor]:
        """Return the same by the scores of the units, as `pool` gives them."""
        if self._whole:
            flat = torch.cat([units.reshape(-1) for units in pooled.values()])
            kept = keep_largest(flat, zeros(sparsity, len(flat)))
            parts = kept.split([units.numel() for units in pooled.values()])
            return self.spread(dict(zip(pooled, parts, strict=True)))
        return self.spread(
            {
                name: keep_largest_of_rows(units, zeros(sparsity, units.shape[1]))
                for name, units in pooled.items()
            }
        )

    def pool(self, scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the mean score of each unit, [groups, units] by the name of what ranks them."""
        found: dict[str, Tensor] = {}
        for name, pool in self._pools.items():
            sums = [part.sums(scores[part.name]) for part in pool.parts]
            total = sums[0] if len(sums) == 1 else torch.stack(sums).sum(0)
            found[name] = (total if pool.size == 1 else total / pool.size).reshape(pool.groups, -1)
        return found

    def spread(self, units: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return matrices [out, in] that have the value of its unit at every weight."""
        found: dict[str, Tensor] = {}
        for name, pool in self._pools.items():
            values = units[name].reshape(pool.unit_shape)
            for part in pool.parts:
                found[part.name] = part.spread(values, self._shapes[part.name])
        return {name: found[name] for name in self._shapes}

    def check_mask(self, mask: Mapping[str, Tensor]) -> None:
        """Raise ValueError for a mask that breaks the pattern: a unit that is not whole, or another
        number of weights than n in m."""
        form = PatternForm.read(self.pattern)
        for name, shares in self.pool({name: keep.float() for name, keep in mask.items()}).items():
            sound = (shares == shares.round()).all()
            if form.of:
                sound = (shares.sum(1) == form.of[0]).all()
            if not sound:
                raise ValueError(f"{name} breaks the pattern {self.pattern}")


class PatternPruner(Pruner):
    """Prunes all matrices of a search under a pattern; without thresholds."""

    def __init__(self, matrices: Matrices, layout: Layout, sparsity: float) -> None:
        super().__init__(matrices)
        self._layout, self._sparsity = layout, sparsity

    def keep(self) -> dict[str, Tensor]:
        ranked = {name: self.matrices.ranked(name) for name in self.matrices.scores}
        return self._layout.select(ranked, self._sparsity)

    def prune(self) -> None:
        for name, keep in self.keep().items():
            self._write(name, keep)


def _within_matrices(
    shapes: _Shapes, form: PatternForm, pattern: str, per: Per
) -> Iterator[tuple[str, _Pool]]:
    """Yield the pool of each matrix, whose units lie in it."""
    for name, (rows, columns) in shapes.items():
        high, wide = form.block or (1, form.of[1] if form.of else 1)
        if rows % high or columns % wide:
            raise ValueError(
                f"pattern {pattern} does not divide {name}, {rows} x {columns}; {_LEAVE_OUT}"
            )
        if form.of:
            groups = rows * columns // wide
            yield name, _Pool((_Part(name, (groups, wide)),), groups, 1)
            continue
        part = _Part(name, (rows, columns))
        if form.block:
            part = _Part(name, (rows // high, high, columns // wide, wide), (1, 3))
        yield name, _Pool((part,), rows // high if per == "row" else 1, high * wide)


def _structures(shapes: _Shapes, heads: int) -> Iterator[tuple[str, _Pool]]:
    """Yield the pools of heads and neurons of each layer."""
    pattern = f"heads:{heads}"
    layers: dict[str, list[str]] = {}
    for name in shapes:
        if name.endswith("in_proj.weight"):
            raise ValueError(f"pattern {pattern} cannot tell the heads of {name} apart")
        attention, other = _ATTENTION.fullmatch(name), _FEED_FORWARD.fullmatch(name)
        if attention:
            layers.setdefault(f"{attention[1]}heads", []).append(name)
        elif other:
            layers.setdefault(f"{other[1]}neurons", []).append(name)
        else:
            raise ValueError(f"pattern {pattern} has no heads or neurons in {name}; {_LEAVE_OUT}")
    for place, names in layers.items():
        outer = [name for name in names if _OUTPUT.search(name)]
        if len(outer) != 1 or len(names) < 2:
            raise ValueError(
                f"pattern {pattern} needs all matrices of {place}, there is only {', '.join(names)}"
            )
        inside = shapes[outer[0]][1]
        units = heads if place.endswith("heads") else inside
        if inside % units:
            raise ValueError(f"{outer[0]} has {inside} columns, which are no {heads} heads")
        parts: list[_Part] = []
        for name in names:
            rows, columns = shapes[name]
            if name == outer[0]:
                parts.append(_Part(name, (rows, units, columns // units), (0, 2)))
                continue
            if rows % inside:
                raise ValueError(f"{name} has {rows} rows, which are no multiple of {inside}")
            # Several outputs in one matrix, such as ModernBERT's Wqkv, lie one behind the other.
            parts.append(_Part(name, (rows // inside, units, inside // units * columns), (0, 2)))
        size = sum(math.prod(shapes[name]) for name in names) // units
        yield place, _Pool(tuple(parts), 1, size)
