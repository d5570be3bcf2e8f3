"""`--set KEY=VALUE`: values given on the command line, laid over those of the sweep file."""

from collections.abc import Iterator
from dataclasses import dataclass

from tamt_ray.values.base import nearest

Location = tuple[str | int, ...]


class OverrideError(ValueError):
    """A `--set` that cannot be used; the message is complete and meant for the user."""


@dataclass(frozen=True)
class Override:
    """One `--set`, still as text: dotted keys, and a value in YAML."""

    text: str

    @property
    def option(self) -> str:
        """The words that complaints use instead of a line of a file."""
        return f"--set {self.text}"

    @property
    def value(self) -> str:
        """The YAML behind the first `=`."""
        return self.text.partition("=")[2]

    @property
    def keys(self) -> list[str]:
        """The steps to the value. Raises OverrideError."""
        key, equals, _ = self.text.partition("=")
        steps = key.strip().split(".")
        if not equals or not all(steps):
            raise OverrideError(
                f"{self.option}: write it as KEY=VALUE, as in --set search.batch_size=8"
            )
        return steps

    def lay(self, data: dict[str, object], value: object) -> tuple[dict[str, object], Location]:
        """Return `data` with the value in its place, and that place. Raises OverrideError.

        Mappings are merged, null removes a key, everything else replaces, as with `extends`. An
        entry of a list goes by its number, or by its `name` or `method`.
        """
        changed, at = self._laid(data, self.keys, value, ())
        assert isinstance(changed, dict)
        return changed, at

    def _laid(
        self, node: object, keys: list[str], value: object, at: Location
    ) -> tuple[object, Location]:
        if not keys:
            return (patched(node, value) if isinstance(value, dict) else value), at
        key, *rest = keys
        if isinstance(node, list):
            number = self._number(node, key, at)
            entry = node[number]
            if rest and isinstance(entry, str):
                entry = {"method": entry}
            entry, at = self._laid(entry, rest, value, (*at, number))
            return [*node[:number], entry, *node[number + 1 :]], at
        if node is not None and not isinstance(node, dict):
            raise OverrideError(f"{self.option}: `{_dotted(at)}` is {node!r} and has no keys")
        changed = dict(node or {})
        if not rest and value is None:
            changed.pop(key, None)
            return changed, (*at, key)
        changed[key], at = self._laid(changed.get(key), rest, value, (*at, key))
        return changed, at

    def _number(self, entries: list[object], key: str, at: Location) -> int:
        names = [_name(entry) or str(number) for number, entry in enumerate(entries)]
        if key in names:
            return names.index(key)
        if key.isdigit() and int(key) < len(names):
            return int(key)
        raise OverrideError(
            f"{self.option}: `{_dotted(at)}` has no entry {key!r}{nearest(key, names)}"
        )


def patched(base: object, patch: dict[str, object]) -> dict[str, object]:
    """Lay `patch` over `base` as a JSON merge patch (RFC 7386)."""
    merged = dict(base) if isinstance(base, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = patched(merged.get(key), value) if isinstance(value, dict) else value
    return merged


def locations(value: object, at: Location) -> Iterator[Location]:
    """Yield the place of a value and of all that is in it."""
    yield at
    items = value.items() if isinstance(value, dict) else ()
    for key, inner in enumerate(value) if isinstance(value, list) else items:
        yield from locations(inner, (*at, key))


def _name(entry: object) -> str | None:
    if isinstance(entry, dict):
        entry = entry.get("name", entry.get("method"))
    return entry if isinstance(entry, str) else None


def _dotted(at: Location) -> str:
    return ".".join(map(str, at))
