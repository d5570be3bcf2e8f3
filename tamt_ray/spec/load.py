"""Reading a sweep file: every complaint names the file, the line and the nearest valid name."""

import difflib
import re
from collections.abc import Hashable
from pathlib import Path

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from tamt_ray.spec.method import METHODS
from tamt_ray.spec.sweep import Sweep

Location = tuple[str | int, ...]


class SpecError(ValueError):
    """The sweep file cannot be used; the message is complete and meant for the user."""


def load_sweep(path: Path) -> Sweep:
    """The sweep in a YAML file. Raises SpecError with one `file:line: complaint` a line."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: cannot be read: {error}") from error
    return parse_sweep(text, str(path))


def parse_sweep(text: str, name: str = "<sweep>") -> Sweep:
    """The sweep in YAML `text`; `name` stands for the file in complaints."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.load(text, Loader=_NumberLoader)  # noqa: S506 - a SafeLoader with one resolver more
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise SpecError(f"{name}:{line}: {error.problem or 'not valid YAML'}") from error
    if not isinstance(node, yaml.MappingNode):
        raise SpecError(f"{name}:1: a sweep file is a mapping that begins with `name: …`")
    lines: dict[Location, int] = {}
    _index(node, (), lines, name)
    try:
        return Sweep.model_validate(data)
    except ValidationError as error:
        complaints = [_complaint(detail, lines, name) for detail in error.errors()]
        raise SpecError("\n".join(dict.fromkeys(complaints))) from error


class _NumberLoader(yaml.SafeLoader):
    """YAML 1.1 reads 5e-5 as a string; everyone who writes it means a number."""


_NumberLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def _index(node: yaml.Node, at: Location, lines: dict[Location, int], name: str) -> None:
    """Record the line of every key and item; refuse keys given twice."""
    lines.setdefault(at, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        seen: set[Hashable] = set()
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.value in seen:
                raise SpecError(f"{name}:{line}: the key `{key.value}` is given twice")
            seen.add(key.value)
            lines[(*at, key.value)] = line
            _index(value, (*at, key.value), lines, name)
    elif isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            lines[(*at, number)] = item.start_mark.line + 1
            _index(item, (*at, number), lines, name)


def _complaint(detail: ErrorDetails, lines: dict[Location, int], name: str) -> str:
    at = _place(detail["loc"], lines)
    where = f"{name}:{lines.get(at, 1)}"
    dotted = ".".join(map(str, at)) or "the sweep"
    given = detail.get("input")
    context = detail.get("ctx", {})
    match detail["type"]:
        case "extra_forbidden":
            return f"{where}: unknown key `{dotted}`{_nearest(str(at[-1]), _known_keys(detail))}"
        case "missing":
            return f"{where}: `{'.'.join(map(str, (*at, detail['loc'][-1])))}` is missing"
        case "union_tag_invalid":
            expected = re.findall(r"'([^']+)'", str(context.get("expected_tags", "")))
            tag = str(context.get("tag", given))
            key = str(context.get("discriminator", "")).strip("'")
            return f"{where}: unknown {key} {tag!r} in `{dotted}`{_nearest(tag, expected)}"
        case "literal_error":
            expected = re.findall(r"'([^']+)'", str(context.get("expected", "")))
            return f"{where}: {given!r} is not valid for `{dotted}`{_nearest(str(given), expected)}"
        case "union_tag_not_found":
            key = str(context.get("discriminator", "")).strip("'")
            return f"{where}: `{dotted}` needs a `{key}`"
        case _:
            message = detail["msg"].removeprefix("Value error, ")
            shown = f" (given: {given!r})" if isinstance(given, int | float | str) else ""
            return f"{where}: `{dotted}`: {message}{shown}"


def _place(loc: Location, lines: dict[Location, int]) -> Location:
    """The deepest place of the file on the way to `loc`, which also names union members."""
    at: Location = ()
    for step in loc:
        if (*at, step) in lines:
            at = (*at, step)
        elif (*at, str(step)) in lines:
            at = (*at, str(step))
    return at


def _known_keys(detail: ErrorDetails) -> list[str]:
    """The fields of the model that refused a key, found by walking the JSON schema."""
    schema: dict[str, object] = Sweep.model_json_schema()
    found = _walk(schema, schema, list(detail["loc"][:-1]))
    return sorted({key for properties in found for key in properties})


def _walk(
    root: dict[str, object], node: dict[str, object], path: Location | list[str | int]
) -> list[dict[str, object]]:
    """`properties` of every schema node reachable along `path`, ignoring union member names."""
    if "$ref" in node:
        return _walk(root, root["$defs"][str(node["$ref"]).rsplit("/", 1)[1]], path)  # pyright: ignore
    options = node.get("anyOf") or node.get("oneOf")
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


def _nearest(given: str, known: list[str]) -> str:
    close = difflib.get_close_matches(given, known, n=1, cutoff=0.5)
    if close:
        return f"; did you mean `{close[0]}`?"
    return f"; valid are: {', '.join(known)}" if known else ""


__all__ = ["METHODS", "SpecError", "load_sweep", "parse_sweep"]
