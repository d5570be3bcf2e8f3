"""Several sweeps as one: what `parts` in a sweep file means."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from tamt_ray.spec.sweep import Sweep

T = TypeVar("T")


class DisagreementError(ValueError):
    """Two parts use one name for different things."""


def unite(own: Mapping[str, object], parts: Sequence[Sweep]) -> Sweep:
    """Return the union of `parts` under the name, store, tracking and execution given in `own`.

    Raises DisagreementError, and pydantic.ValidationError for `own`.
    """
    first = parts[0]
    for part in parts[1:]:
        for field in ("corpus", "search", "pretrain_eval"):
            if getattr(part, field) != getattr(first, field):
                raise DisagreementError(
                    f"{first.name} and {part.name} differ in `{field}`; parts must share it"
                )
    methods = [{method.name: method for method in part.methods} for part in parts]
    return Sweep.model_validate(
        {
            "corpus": first.corpus,
            "search": first.search,
            "pretrain_eval": first.pretrain_eval,
            "models": _agreed(
                "model", [part.models for part in parts], lambda a, b: a if a == b else None
            ),
            "methods": tuple(_agreed("method", methods, lambda a, b: a.joined(b)).values()),
            "tasks": _agreed("task", [part.tasks for part in parts], lambda a, b: a.joined(b)),
            "sparsities": tuple(sorted({s for part in parts for s in part.sparsities})),
            "mask_seeds": tuple(sorted({s for part in parts for s in part.mask_seeds})),
            "finetune_seeds": tuple(sorted({s for part in parts for s in part.finetune_seeds})),
            "parts": tuple(parts),
            **own,
        }
    )


def _agreed(
    what: str, maps: Sequence[Mapping[str, T]], join: Callable[[T, T], T | None]
) -> dict[str, T]:
    agreed: dict[str, T] = {}
    for entries in maps:
        for name, entry in entries.items():
            joined = join(agreed[name], entry) if name in agreed else entry
            if joined is None:
                raise DisagreementError(
                    f"the {what} {name!r} is not the same in all parts; give one another name"
                )
            agreed[name] = joined
    return agreed
