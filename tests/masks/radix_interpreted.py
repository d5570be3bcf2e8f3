"""Run the GPU's selection in Triton's interpreter and print what it found as JSON."""

import json
import sys
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from tamt_ray.masks import radix
from tamt_ray.masks.pruner import Matrices, Pruner

BLOCK = 512
SIZES = [3, 512, 1801]
"""Less than a vector, one whole chunk, and four chunks of which the last is not full."""


def kinds(draw: np.random.Generator, size: int) -> dict[str, np.ndarray]:
    normal = draw.normal(size=size)
    heaps = draw.choice([0.0, 0.02], size=size)
    return {
        "normal": normal,
        "constant": np.full(size, 0.25),
        "two heaps": heaps,
        "heaps of which half have moved": heaps + normal * 1e-4 * (draw.random(size) < 0.5),
        "heavily tied": np.round(normal, 1),
        "signs of zero": draw.choice([-0.0, 0.0, 1.0, -1.0], size=size),
        "infinite": draw.choice([-np.inf, 0.0, 1.0, np.inf], size=size),
        "not a number": np.where(draw.random(size) < 0.3, draw.choice([np.nan, -np.nan]), normal),
        "subnormal": normal * 1e-40,
        "ascending": np.arange(size),
        "descending": -np.arange(size),
    }


def matrices(seed: int) -> Matrices:
    """All kinds of values in all sizes; nothing, something or everything is to be pruned."""
    draw = np.random.default_rng(seed)
    scores, dense, zeros = dict[str, Tensor](), dict[str, Tensor](), dict[str, int]()
    for size in SIZES:
        for kind, values in kinds(draw, size).items():
            name = f"{kind}, {size}"
            scores[name] = torch.from_numpy(values.astype(np.float32))
            dense[name] = torch.from_numpy(draw.normal(size=size).astype(np.float32))
            zeros[name] = int(draw.choice([0, size, draw.integers(size + 1), int(0.7 * size)]))
    return Matrices(scores, dense, _sevens(dense), zeros, magnitude=False)


def _sevens(like: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.full_like(tensor, 7.0) for name, tensor in like.items()}


def by_sorting(given: Matrices, name: str) -> np.ndarray:
    values = given.scores[name].numpy()
    values = np.abs(values) if given.magnitude else values
    order = np.lexsort((np.arange(values.size), values))
    expected = given.dense[name].numpy().copy()
    expected[order[: given.zeros[name]]] = 0.0
    return expected


def exact(pruner: radix.RadixPruner) -> list[str]:
    """The matrices whose masked weights are not those of a stable sort."""
    pruner.prune()
    given = pruner.matrices
    return [
        name
        for name, weights in given.weights.items()
        if weights.numpy().tobytes() != by_sorting(given, name).tobytes()
    ]


def exact_again(given: Matrices) -> list[str]:
    """The same after the scores have turned round, by a pruner that has pruned before."""
    pruner = radix.RadixPruner(given)
    pruner.prune()
    for score in given.scores.values():
        score.copy_(score.flip(0))
    return exact(pruner)


def standing(given: Matrices, *, at_least: bool) -> list[str]:
    """The matrices whose φ, or whose weights under it, differ from the plain pruner's."""
    other = replace(given, weights=_sevens(dict(given.dense)))
    mine, theirs = radix.RadixPruner(given), Pruner(other)
    found = mine.thresholds(at_least=at_least)
    expected = theirs.thresholds(at_least=at_least)
    mine.prune_at(expected, at_least=at_least)
    theirs.prune_at(expected, at_least=at_least)
    return [
        name
        for name in given.scores
        if not torch.equal(found[name], expected[name])
        or not torch.equal(given.weights[name], other.weights[name])
    ]


def only(given: Matrices, *words: str, magnitude: bool = False) -> Matrices:
    """The matrices whose names have one of the words."""
    names = [name for name in given.scores if any(word in name for word in words)]
    tensors = ({n: part[n] for n in names} for part in (given.scores, given.dense, given.weights))
    return Matrices(*tensors, {n: given.zeros[n] for n in names}, magnitude=magnitude)


def main() -> None:
    radix.BLOCK, radix.STEP = BLOCK, 2
    given = [matrices(seed) for seed in range(2)]
    usual = "two heaps", "heavily tied", "normal", "signs"
    found = {
        "compared": sum(len(some.scores) for some in given),
        "exact": [exact(radix.RadixPruner(some)) for some in given],
        "magnitude": exact_again(only(given[0], *usual, magnitude=True)),
        "above": standing(only(given[0], *usual), at_least=False),
        "at_least": standing(only(given[1], *usual), at_least=True),
    }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    with torch.no_grad():
        main()
