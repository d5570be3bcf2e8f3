"""A piece of work and its identity."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import get_args

from tamt_ray.plan.config import Kind, TamtConfig, UnitConfig, config_dict
from tamt_ray.values.identity import canonical, digest, identity


def identity_of(config: UnitConfig) -> str:
    """64 hex digits: the id of the unit with this config."""
    return identity(_whole(config))


class Identities:
    """Ids of many units, as `identity_of` has them; the text of what units share is written once.

    A grid has few models, tasks and corpora and many units, and the text behind an id is mostly
    theirs.
    """

    def __init__(self) -> None:
        self._shared: dict[tuple[int, ...], tuple[UnitConfig, tuple[tuple[str, str], ...]]] = {}
        """By the objects that a config holds; the config beside its texts keeps them alive."""

    def of(self, config: UnitConfig) -> str:
        """64 hex digits."""
        held: list[int] = [id(type(config))]
        texts: list[tuple[str, str]] = []
        defaults = _DEFAULTS[type(config)]
        for name, value in vars(config).items():
            if not isinstance(value, _PLAIN):
                held.append(id(value))
            elif value != defaults.get(name, _REQUIRED):
                texts.append((name, canonical(value)))
        key = tuple(held)
        if key not in self._shared:
            self._shared[key] = config, _shared_texts(config)
        texts.extend(self._shared[key][1])
        texts.sort()
        return digest("{" + ",".join([f'"{name}":{text}' for name, text in texts]) + "}")


_PLAIN = (str, int, float, type(None))
_REQUIRED = object()
_DISCRIMINATORS = {"kind", "method"}
"""Fields that stay although they have their default."""
_DEFAULTS: Mapping[type, Mapping[str, object]] = {
    kind: {
        name: field.default
        for name, field in kind.model_fields.items()
        if not field.is_required() and name not in _DISCRIMINATORS
    }
    for kind in get_args(UnitConfig)
}


def _shared_texts(config: UnitConfig) -> tuple[tuple[str, str], ...]:
    """What stands in a config's text for the version and for the fields that are not plain."""
    plain = {name for name, value in vars(config).items() if isinstance(value, _PLAIN)}
    return tuple(
        (name, canonical(value)) for name, value in _whole(config).items() if name not in plain
    )


def _whole(config: UnitConfig) -> dict[str, object]:
    return {"version": config.version, **config_dict(config)}


@dataclass(frozen=True, slots=True)
class Unit:
    """One piece of work: what it is, and how this sweep names it.

    Labels are the sweep's own words (model, method, task) and never enter the identity; nor does
    `after`, the unit of the same trajectory with the next fewer steps, whose training goes on here
    from the step `begin`, and `goes_on`, whether another unit goes on with this one's.
    """

    config: UnitConfig
    labels: Mapping[str, str | float | int] = field(default_factory=dict)
    after: str | None = None
    begin: int = 0
    goes_on: bool = False
    id: str = ""
    """64 hex digits; found from the config where it is not given."""

    def __post_init__(self) -> None:
        if not self.id:
            object.__setattr__(self, "id", identity_of(self.config))

    @property
    def kind(self) -> Kind:
        """Which of the four kinds."""
        return self.config.kind

    @property
    def parents(self) -> tuple[str, ...]:
        """Ids of the units whose results this one reads."""
        return self.config.parents

    @property
    def needs(self) -> tuple[str, ...]:
        """Ids of the units that come before this one."""
        return (*self.parents, self.after) if self.after else self.parents

    @property
    def trajectory(self) -> str:
        """64 hex digits shared by searches that differ only in their last step: the schedule does
        not depend on it, so the longer one passes through the shorter one's result."""
        if not isinstance(self.config, TamtConfig):
            return self.id
        data = _whole(self.config)
        del data["steps"]
        return identity(data)

    def __str__(self) -> str:
        words = " ".join(str(value) for value in self.labels.values())
        return f"{self.kind} {words} [{self.id[:8]}]"
