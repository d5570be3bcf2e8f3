"""Content identity: sha256 over canonical JSON of everything that decides a result."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, cast

from tamt_ray.values.base import Frozen, Incidental
from tamt_ray.values.plugin import package_of

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

_ENCODER = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
)
_TAGS = frozenset({"kind", "method", "objective"})
"""Fields that name a class; they stay although they have their default."""
_SCALARS = (str, int, float, type(None))


def identity(value: object) -> str:
    """Return the id, 64 hex digits, of a config or of any plain value.

    Raises TypeError for what has no deterministic form (sets, objects, NaN, keys that are neither
    words nor numbers).
    """
    return Identities().of(value)


def canonical(value: object) -> str:
    """Return the one JSON text of `value`: sorted keys, no spaces, shortest floats.

    A frozen value is written without fields that have their default, without `Incidental` ones,
    with the `version` of its class where that is not 1 and the package of a plug-in that is not
    ours. Raises TypeError as `identity` does.
    """
    return Identities().text(value)


def written(value: Frozen) -> dict[str, object]:
    """Return the canonical JSON of a frozen value as plain data, as records keep it."""
    return json.loads(canonical(value))


def decisive_dump(value: Frozen) -> dict[str, object]:
    """Return the fields that decide a result as plain data, with those that have their default and
    without those that are None."""
    found: dict[str, object] = {}
    chosen: Mapping[str, frozenset[str]] = getattr(type(value), "decisive", {})
    for name, _ in _decisive(type(value)):
        item = vars(value)[name]
        if isinstance(item, Frozen):
            inner = decisive_dump(item)
            keep = chosen.get(name, inner.keys())
            found[name] = {key: each for key, each in inner.items() if key in keep}
        elif isinstance(item, tuple) and item and isinstance(item[0], Frozen):
            found[name] = [decisive_dump(each) for each in cast("tuple[Frozen, ...]", item)]
        elif item is not None:
            found[name] = item
    return found


class Identities:
    """Ids of many values; the text of the parts that they share is made once.

    A grid has few models, tasks and corpora and many units, and most of an id's text is theirs.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[int, frozenset[str] | None], tuple[Frozen, str]] = {}
        """Texts by object and chosen fields; holding the object keeps its number from reuse."""

    def of(self, value: object) -> str:
        """Return the id, 64 hex digits."""
        return hashlib.sha256(self.text(value).encode()).hexdigest()

    def text(self, value: object) -> str:
        """Return the canonical text."""
        if isinstance(value, Frozen):
            # The outermost value is new each time; what it holds is shared.
            return self._fields(value, None)
        return self._part(value)

    def _part(self, value: object, chosen: frozenset[str] | None = None) -> str:
        if isinstance(value, _SCALARS):
            return _ENCODER.encode(_plain(value))
        if isinstance(value, Frozen):
            key = id(value), chosen
            found = self._known.get(key)
            if found is None:
                found = self._known[key] = value, self._fields(value, chosen)
            return found[1]
        if isinstance(value, list | tuple):
            return "[" + ",".join([self._part(item) for item in cast("list[object]", value)]) + "]"
        if isinstance(value, dict | MappingProxyType):
            items = cast("dict[object, object]", value).items()
            texts = {_key(key): self._part(item) for key, item in items}
            if len(texts) < len(items):
                raise TypeError("two keys have one form")
            pairs = [f"{_ENCODER.encode(key)}:{texts[key]}" for key in sorted(texts)]
            return "{" + ",".join(pairs) + "}"
        raise TypeError(f"{type(value).__name__} has no deterministic form")

    def _fields(self, value: Frozen, chosen: frozenset[str] | None) -> str:
        form = _form(type(value))
        held = vars(value)
        texts = dict(form.own)
        version = getattr(value, "version", 1)
        if isinstance(version, int) and version != 1:
            texts["version"] = str(version)
        for name, default in form.fields:
            item = held[name]
            if (chosen is None or name in chosen) and (name in _TAGS or item != default):
                texts[name] = self._part(item, form.decisive.get(name))
        for name, item in value.identity_extras().items():
            texts[name] = self._part(item)
        return "{" + ",".join([f'"{name}":{texts[name]}' for name in sorted(texts)]) + "}"


@dataclass(frozen=True, slots=True)
class _Form:
    """Canonical form of the values of one class."""

    fields: tuple[tuple[str, object], ...]
    """Names and defaults; a default that nothing equals where there is none."""
    own: Mapping[str, str]
    """Texts that the class adds: its package."""
    decisive: Mapping[str, frozenset[str]]
    """Names of the fields that count of a value inside."""


@cache
def _form(kind: type[Frozen]) -> _Form:
    own: dict[str, str] = {}
    if package := package_of(kind):
        own["package"] = _ENCODER.encode(package)
    return _Form(tuple(_decisive(kind)), own, getattr(kind, "decisive", {}))


def _decisive(kind: type[Frozen]) -> Iterator[tuple[str, object]]:
    for name, field in kind.model_fields.items():
        if any(isinstance(mark, Incidental) for mark in field.metadata):
            continue
        default: Any = (
            object()
            if field.is_required()
            else field.get_default(call_default_factory=True, validated_data={})
        )
        # A default that holds values with versions is written out: they may be raised.
        yield name, object() if _versioned(default) else default


def _versioned(value: object) -> bool:
    if isinstance(value, tuple):
        return any(_versioned(each) for each in cast("tuple[object, ...]", value))
    return isinstance(value, Frozen) and hasattr(value, "version")


def _key(key: object) -> str:
    if isinstance(key, str):
        return key
    if isinstance(key, int | float):
        return _ENCODER.encode(_plain(key))
    raise TypeError("only words and numbers are keys in one form")


def _plain(value: object) -> Json:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TypeError(f"{value} has no place in an identity")
        # 1 and 1.0 are the same setting and must be the same unit.
        return int(value) if value.is_integer() else value
    return cast("Json", value)
