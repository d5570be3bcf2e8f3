"""How alike two masks are."""

import torch

from tamt_ray.masks.mask import Mask


def jaccard(first: Mask, second: Mask) -> dict[str, float]:
    """|A ∩ B| / |A ∪ B| of the kept weights, for each matrix; two empty ones are alike (1)."""
    first.check_covers(second)
    return {name: _ratio(*_counts(first, second, name)) for name in first}


def jaccard_macro(first: Mask, second: Mask) -> float:
    """Unweighted mean over matrices, as the released code reports it."""
    values = jaccard(first, second)
    return sum(values.values()) / len(values)


def jaccard_global(first: Mask, second: Mask) -> float:
    """Over all weights together."""
    first.check_covers(second)
    counts = [_counts(first, second, name) for name in first]
    return _ratio(sum(both for both, _ in counts), sum(either for _, either in counts))


def _counts(first: Mask, second: Mask, name: str) -> tuple[int, int]:
    return (
        int(torch.count_nonzero(first[name] & second[name])),
        int(torch.count_nonzero(first[name] | second[name])),
    )


def _ratio(both: int, either: int) -> float:
    return both / either if either else 1.0
