"""Reading a sweep file: every complaint names the file, the line and the nearest valid name."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from pydantic import ValidationError

from tamt_ray.spec.complaints import complaint
from tamt_ray.spec.overrides import Location, Override, OverrideError, locations, patched
from tamt_ray.spec.sweep import Sweep
from tamt_ray.spec.union import DisagreementError, unite
from tamt_ray.spec.yaml_lines import Lines, SpecError, parsed, place

_LARGEST = 1 << 17
"""Bytes of a file, far more than anybody writes by hand; reading so many takes half a second."""
_MOST_COMPLAINTS = 20
_SHOWN = 60
"""Characters of a path that is none."""
_MOST_FILES, _MOST_BYTES, _MOST_VALUES = 100, 1 << 22, 100_000
"""Files that a sweep is put together from, and all that they hold; reading so much takes some
seconds."""


def load_sweep(path: Path, overrides: Sequence[str] = ()) -> Sweep:
    """Return the sweep in a YAML file. Raises SpecError with one `file:line: complaint` per line.

    `extends: other.yaml` lays this file over another one as a JSON merge patch (RFC 7386): mappings
    are merged, null removes a key, everything else replaces. `parts: [a.yaml, b.yaml]` is the union
    of sweeps. Both are relative to the file that names them. `overrides`: `KEY=VALUE` each, laid
    over the result; complaints about them name the option `--set`.
    """
    return parse_sweep(_text(path), str(path), overrides)


def line_of(path: Path, at: Location, overrides: Sequence[str] = ()) -> str:
    """Return `file:line` of a place in a sweep file that loads, or of what holds it; the option
    where a `--set` gave it."""
    lines: Lines = {}
    data = _extended(_text(path), lines, Chain((path,)))
    for override in map(Override, overrides):
        data = _overridden(data, override, lines)
    return lines[place(at, lines)]


def parse_sweep(text: str, name: str = "<sweep>", overrides: Sequence[str] = ()) -> Sweep:
    """Return the sweep in YAML `text`; `name` stands for the file in complaints."""
    return _sweep(text, Chain((Path(name),)), overrides)


@dataclass
class Amount:
    """All that the files of a sweep hold, as far as they were read."""

    files: int = 0
    bytes: int = 0
    values: int = 0


@dataclass(frozen=True)
class Chain:
    """The path from the sweep file to another file, through `extends` and `parts`.

    `above`: each file is named by the one before. `read`: shared by all chains of the sweep.
    """

    above: tuple[Path, ...]
    read: Amount = field(default_factory=Amount)

    @property
    def file(self) -> Path:
        """The file at the end."""
        return self.above[-1]

    def to(self, name: str, where: str, verb: str) -> "Chain":
        """Return the chain to a file that is named at `where`. Raises SpecError for a missing file,
        for a ring and for too many files."""
        path = self.file.parent / name
        try:
            above = path.resolve() in {place.resolve() for place in self.above}
            there = path.is_file()
        except (OSError, ValueError, RuntimeError) as error:
            shown = f"{name[:_SHOWN]!r}" + ("…" if name[_SHOWN:] else "")
            reason = getattr(error, "strerror", None) or error
            raise SpecError(f"{where}: {shown} is no path to {verb}: {reason}") from error
        if above:
            raise SpecError(f"{where}: {name} {verb}s this file in turn")
        if not there:
            raise SpecError(f"{where}: there is no file {path} to {verb}")
        self.read.files += 1
        self.read.bytes += path.stat().st_size
        if self.read.files > _MOST_FILES:
            raise SpecError(f"{where}: more than {_MOST_FILES} files make up this sweep")
        if self.read.bytes > _MOST_BYTES:
            raise SpecError(
                f"{where}: more than {_MOST_BYTES >> 20} MiB in all files of this sweep"
            )
        return Chain((*self.above, path), self.read)


def _sweep(text: str, chain: Chain, overrides: Sequence[str] = ()) -> Sweep:
    lines: Lines = {}
    name = str(chain.file)
    data = _extended(text, lines, chain)
    for override in map(Override, overrides):
        data = _overridden(data, override, lines)
    try:
        if "parts" in data:
            return _united(data, lines, chain)
        return Sweep.model_validate(data)
    except ValidationError as error:
        details = [
            detail
            for detail in error.errors(include_url=False)
            # A list may be called too short only because an item of it was refused.
            if detail["type"] != "too_short"
            or len(detail["input"]) < detail.get("ctx", {}).get("min_length", 0)
        ]
        shown = details[:_MOST_COMPLAINTS]
        complaints = [*dict.fromkeys(complaint(detail, lines, name) for detail in shown)]
        if more := len(details) - len(shown):
            complaints.append(f"{name}: and {more} more")
        raise SpecError("\n".join(complaints)) from error


def _text(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            data = stream.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise SpecError(f"{path}: too large for a sweep file: more than {_LARGEST >> 10} KiB")
        return data.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: cannot be read: {error}") from error


def _extended(text: str, lines: Lines, chain: Chain) -> dict[str, object]:
    """Return the plain values of a file laid over those of the file it extends."""
    own: Lines = {}
    name = str(chain.file)
    node, data = parsed(text, name, own)
    chain.read.values += len(own)
    if chain.read.values > _MOST_VALUES:
        raise SpecError(f"{name}: more than {_MOST_VALUES:,} values in all files of this sweep")
    if not isinstance(node, yaml.MappingNode):
        raise SpecError(f"{name}:1: a sweep file is a mapping that begins with `name: …`")
    assert isinstance(data, dict)
    base = data.pop("extends", None)
    if base is None:
        lines.update(own)
        return data
    where = own["extends",]
    if not isinstance(base, str):
        raise SpecError(f"{where}: `extends` names one sweep file, as in `extends: main.yaml`")
    longer = chain.to(base, where, "extend")
    merged = _extended(_text(longer.file), lines, longer)
    if isinstance(parts := merged.get("parts"), list):
        folder = longer.file.parent.absolute()
        merged["parts"] = [str(folder / part) if isinstance(part, str) else part for part in parts]
    lines.update(own)
    return patched(merged, data)


def _overridden(data: dict[str, object], override: Override, lines: Lines) -> dict[str, object]:
    try:
        _, value = parsed(override.value, override.option)
        changed, at = override.lay(data, value)
    except SpecError as error:
        # The option has no lines.
        raise SpecError(
            str(error).replace(f"{override.option}:1:", f"{override.option}:")
        ) from error
    except OverrideError as error:
        raise SpecError(str(error)) from error
    for depth in range(1, len(at)):
        lines.setdefault(at[:depth], override.option)
    lines.update(dict.fromkeys(locations(value, at), override.option))
    return changed


def _united(data: dict[str, object], lines: Lines, chain: Chain) -> Sweep:
    where = lines["parts",]
    names = data["parts"]
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        raise SpecError(f"{where}: `parts` lists sweep files, as in `parts: [main.yaml]`")
    allowed = ("name", "store", "mlflow", "execution", "parts")
    for key in data:
        if key not in allowed:
            raise SpecError(
                f"{lines[key,]}: a union of sweeps has no `{key}` of its own; "
                f"valid are: {', '.join(allowed)}"
            )
    longer = [chain.to(name, lines["parts", n], "unite") for n, name in enumerate(names)]
    parts = [_sweep(_text(each.file), each) for each in longer]
    try:
        return unite({key: value for key, value in data.items() if key != "parts"}, parts)
    except DisagreementError as error:
        raise SpecError(f"{where}: {error}") from error
