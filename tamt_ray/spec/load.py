"""Reading a sweep file: every complaint names the file, the line and the nearest valid name."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from tamt_ray.spec.overrides import Location, Override, OverrideError, locations, patched
from tamt_ray.spec.sweep import Sweep
from tamt_ray.spec.union import DisagreementError, unite
from tamt_ray.values.base import nearest

_LARGEST = 1 << 20
"""Bytes of a file, far more than anybody writes by hand, as are the next four."""
_MOST_FILES = 100
"""Files that a sweep is put together from."""
_MOST_VALUES = 10_000
"""Values of a file, counting what its aliases stand for."""
_DEEPEST = 32
_LONGEST_NUMBER = 100
"""Characters."""
Lines = dict[Location, str]
"""`file:line` of every key and item."""


class SpecError(ValueError):
    """The sweep file cannot be used; the message is complete and meant for the user."""


def load_sweep(path: Path, overrides: Sequence[str] = ()) -> Sweep:
    """The sweep in a YAML file. Raises SpecError with one `file:line: complaint` per line.

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
    data = _extended(_text(path), lines, Chain((path,), []))
    for override in map(Override, overrides):
        data = _overridden(data, override, lines)
    return lines[_place(at, lines)]


def parse_sweep(text: str, name: str = "<sweep>", overrides: Sequence[str] = ()) -> Sweep:
    """The sweep in YAML `text`; `name` stands for the file in complaints."""
    return _sweep(text, Chain((Path(name),), []), overrides)


@dataclass(frozen=True)
class Chain:
    """The path from the sweep file to another file, through `extends` and `parts`.

    `above`: each file is named by the one before. `read`: all files of the sweep read so far.
    """

    above: tuple[Path, ...]
    read: list[Path]

    @property
    def file(self) -> Path:
        """The file at the end."""
        return self.above[-1]

    def to(self, name: str, where: str, verb: str) -> "Chain":
        """The chain to a file that is named at `where`. Raises SpecError for a missing file, for a
        ring and for too many files."""
        path = self.file.parent / name
        if path.resolve() in {place.resolve() for place in self.above}:
            raise SpecError(f"{where}: {name} {verb}s this file in turn")
        if not path.is_file():
            raise SpecError(f"{where}: there is no file {path} to {verb}")
        self.read.append(path)
        if len(self.read) > _MOST_FILES:
            raise SpecError(f"{where}: more than {_MOST_FILES} files make up this sweep")
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
        complaints = [
            _complaint(detail, lines, name)
            for detail in error.errors()
            # A list may be called too short only because an item of it was refused.
            if detail["type"] != "too_short"
            or len(detail["input"]) < detail.get("ctx", {}).get("min_length", 0)
        ]
        raise SpecError("\n".join(dict.fromkeys(complaints))) from error


def _text(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            data = stream.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise SpecError(f"{path}: too large for a sweep file: more than {_LARGEST >> 20} MiB")
        return data.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: cannot be read: {error}") from error


def _extended(text: str, lines: Lines, chain: Chain) -> dict[str, object]:
    """The plain values of a file laid over those of the file it extends."""
    own: Lines = {}
    name = str(chain.file)
    node, data = _parsed(text, name, own)
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
        _, value = _parsed(override.value, override.option)
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


class _NumberLoader(yaml.SafeLoader):
    """YAML 1.1 reads 5e-5 as a string; everyone who writes it means a number. Dates are words."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> object:
        """The value of a node. Raises ConstructorError where it does not fit its tag: `!!int x`."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError) as error:
            raise yaml.constructor.ConstructorError(
                None, None, f"not a value of {node.tag.rpartition(':')[2]!r}", node.start_mark
            ) from error


# A sweep named after a day is a word, and `2001-13-45` no reason to stop.
_NumberLoader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_NumberLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def _parsed(text: str, name: str, lines: Lines | None = None) -> tuple[yaml.Node | None, object]:
    """A YAML text as its node and as plain values; fills in the line of each."""
    try:
        _weigh(text, name)
        node = yaml.compose(text, Loader=_NumberLoader)
        if node is not None:
            _index(node, (), {} if lines is None else lines, name, ())
        return node, yaml.load(text, Loader=_NumberLoader)  # noqa: S506 - a SafeLoader with one resolver more
    except yaml.MarkedYAMLError as error:
        words, mark = _in_words(error)
        raise SpecError(f"{name}:{mark.line + 1 if mark else 1}: {words}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise SpecError(f"{name}:{line}: {error.reason}; is it a text file?") from error


_PROBLEMS = {
    r"found character '\\t'": "a tab; YAML is indented with spaces",
    "escape": "a backslash between double quotes; write a path with `/`, a regular expression in "
    "single quotes",
    "expected <block end>": "indented unlike the lines above",
    "mapping values are not allowed": "a colon where none can be; check the indentation, or put "
    "the value in quotes",
}
"""Problems that the parser finds, in words for people."""


def _in_words(error: yaml.MarkedYAMLError) -> tuple[str, yaml.Mark | None]:
    """Return the problem and its place."""
    problem = error.problem or "not valid YAML"
    if problem == "could not find expected ':'":
        return "neither `key: value` nor an item; is a space missing behind a colon?", (
            error.context_mark
        )
    found = [words for known, words in _PROBLEMS.items() if re.search(known, problem)]
    return found[0] if found else problem, error.problem_mark


def _weigh(text: str, name: str) -> None:
    """Refuse too many values or levels by counting parser events, before values are built."""
    weights: dict[str, int] = {}
    """Values within each anchor that is closed."""
    around: list[tuple[str | None, int]] = []
    """Anchor of each open part, and how many values there were before it."""
    count = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1
        if isinstance(event, yaml.NodeEvent):
            before = count
            # An alias inside its own part is told later, by name.
            count += weights.get(event.anchor, 1) if isinstance(event, yaml.AliasEvent) else 1
            if isinstance(event, yaml.CollectionStartEvent):
                around.append((event.anchor, before))
            elif isinstance(event, yaml.ScalarEvent) and event.anchor:
                weights[event.anchor] = 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = around.pop()
            if anchor:
                weights[anchor] = count - before
        if count > _MOST_VALUES:
            aliases = ", counting what aliases stand for" if weights else ""
            raise SpecError(f"{name}:{line}: more than {_MOST_VALUES:,} values{aliases}")
        if len(around) > _DEEPEST:
            raise SpecError(f"{name}:{line}: nested more than {_DEEPEST} deep")


def _index(
    node: yaml.Node, at: Location, lines: Lines, name: str, around: tuple[yaml.Node, ...]
) -> None:
    """Record the line of every key and item; refuse keys given twice and endless aliases.

    A merged key (`<<`) counts where it is merged into, with the line where it is written.
    """
    line = node.start_mark.line + 1
    if any(node is outer for outer in around):
        raise SpecError(f"{name}:{line}: an alias inside this part stands for the part itself")
    around = (*around, node)
    lines.setdefault(at, f"{name}:{line}")
    if isinstance(node, yaml.ScalarNode):
        if node.tag.endswith((":int", ":float")) and len(node.value) > _LONGEST_NUMBER:
            raise SpecError(f"{name}:{line}: a number of {len(node.value):,} characters")
    elif isinstance(node, yaml.MappingNode):
        merged: list[yaml.Node] = []
        seen: set[str] = set()
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise SpecError(f"{name}:{line}: a key must be a word or a number")
            if key.value in seen:
                raise SpecError(f"{name}:{line}: the key `{key.value}` is given twice")
            seen.add(key.value)
            if key.tag == "tag:yaml.org,2002:merge":
                merged += value.value if isinstance(value, yaml.SequenceNode) else [value]
                continue
            lines.setdefault((*at, key.value), f"{name}:{line}")
            _index(value, (*at, key.value), lines, name, around)
        for mapping in merged:
            _index(mapping, at, lines, name, around)
    elif isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            _index(item, (*at, number), lines, name, around)


def _complaint(detail: ErrorDetails, lines: Lines, name: str) -> str:
    context = detail.get("ctx", {})
    at = _place((*detail["loc"], *context.get("at", ())), lines)
    where = lines.get(at, f"{name}:1")
    dotted = ".".join(map(str, at)) or "the sweep"
    given = detail.get("input")
    match detail["type"]:
        case "extra_forbidden":
            # The fields of the model that refused it.
            schema: dict[str, object] = Sweep.model_json_schema()
            fields = _walk(schema, schema, list(detail["loc"][:-1]))
            known = sorted({key for properties in fields for key in properties})
            return f"{where}: unknown key `{dotted}`{nearest(str(at[-1]), known)}"
        case "missing":
            return f"{where}: `{'.'.join(map(str, (*at, detail['loc'][-1])))}` is missing"
        case "union_tag_invalid":
            expected = re.findall(r"'([^']+)'", str(context.get("expected_tags", "")))
            tag = str(context.get("tag", given))
            key = str(context.get("discriminator", "")).strip("'")
            return f"{where}: unknown {key} {tag!r} in `{dotted}`{nearest(tag, expected)}"
        case "literal_error":
            expected = re.findall(r"'([^']+)'", str(context.get("expected", "")))
            return f"{where}: {given!r} is not valid for `{dotted}`{nearest(str(given), expected)}"
        case "union_tag_not_found":
            key = str(context.get("discriminator", "")).strip("'")
            return f"{where}: `{dotted}` needs a `{key}`"
        case _:
            message = _EXPECTED.get(detail["type"]) or detail["msg"].removeprefix("Value error, ")
            if share := _percent(detail):
                message += f"; write {share:g} for {100 * share:g} %"
            shown = f" (given: {given!r})" if isinstance(given, int | float | str) else ""
            return f"{where}: `{dotted}`: {message}{shown}"


_EXPECTED = {
    "tuple_type": "a list is needed, such as `[a, b]`, or lines that begin with `- `",
    "model_type": "keys with values are needed, one per line; check the indentation",
    "dict_type": "keys with values are needed, one per line; check the indentation",
}
"""Complaints about a value of another form, in words for people."""


def _percent(detail: ErrorDetails) -> float | None:
    """Return the fraction that was meant by a number of percent."""
    given = detail["input"]
    if detail["type"] == "float_parsing" and re.fullmatch(r"\d+ *%", str(given)):
        return float(str(given).rstrip("% ")) / 100
    if detail["type"] == "less_than" and detail.get("ctx", {}).get("lt") == 1 and 1 < given < 100:
        return given / 100
    return None


def _place(loc: Location, lines: Lines) -> Location:
    """The deepest place of the file on the way to `loc`, which also names union members."""
    at: Location = ()
    for step in loc:
        if (*at, step) in lines:
            at = (*at, step)
        elif (*at, str(step)) in lines:
            at = (*at, str(step))
    return at


def _walk(
    root: dict[str, object], node: dict[str, object], path: Location | list[str | int]
) -> list[dict[str, object]]:
    """`properties` of every schema node reachable along `path`, ignoring union member names."""
    if "$ref" in node:
        return _walk(root, root["$defs"][str(node["$ref"]).rsplit("/", 1)[1]], path)  # pyright: ignore
    options = node.get("anyOf") or node.get("oneOf")
    members = node.get("discriminator", {}).get("mapping", {})  # pyright: ignore
    if path and path[0] in members:
        return _walk(root, {"$ref": members[path[0]]}, path[1:])
    if isinstance(options, list):
        return [found for option in options for found in _walk(root, option, path)]
    properties = node.get("properties")
    if not path:
        return [properties] if isinstance(properties, dict) else []
    head, rest = path[0], list(path[1:])
    if isinstance(properties, dict) and head in properties:
        return _walk(root, properties[head], rest)
    if isinstance(head, int) and isinstance(node.get("items"), dict):
        return _walk(root, node["items"], rest)  # pyright: ignore
    for key in ("additionalProperties", "patternProperties"):
        inner = node.get(key)
        if isinstance(inner, dict) and inner:
            inner = inner if key == "additionalProperties" else next(iter(inner.values()))
            return _walk(root, inner, rest)
    return _walk(root, node, rest)
