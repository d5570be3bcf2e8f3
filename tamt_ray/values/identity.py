"""Content identity: sha256 over canonical JSON of everything that decides a result."""

import hashlib
import json
import math

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


_ENCODER = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
)


def canonical(value: object) -> str:
    """The one JSON text of `value`: sorted keys, no spaces, shortest floats.

    Raises TypeError for what has no deterministic form (sets, objects, non-string keys, NaN).
    """
    return _ENCODER.encode(_strict(value))


def identity(config: object) -> str:
    """64 hex digits that stand for `config`."""
    return digest(canonical(config))


def digest(text: str) -> str:
    """64 hex digits that stand for a canonical text."""
    return hashlib.sha256(text.encode()).hexdigest()


def _strict(value: object) -> Json:
    if value is None or isinstance(value, bool | str | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TypeError(f"{value} has no place in an identity")
        # 1 and 1.0 are the same setting and must be the same unit.
        return int(value) if value.is_integer() else value
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise TypeError("only string keys have one form")
        return {str(key): _strict(item) for key, item in value.items()}
    raise TypeError(f"{type(value).__name__} has no deterministic form")
