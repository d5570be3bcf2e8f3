"""Complaints about the values of a sweep file, in words for people."""

import re
from functools import cache

from pydantic_core import ErrorDetails

from tamt_ray.spec.overrides import Location
from tamt_ray.spec.sweep import Sweep
from tamt_ray.spec.yaml_lines import Lines, place
from tamt_ray.values.base import nearest


def complaint(detail: ErrorDetails, lines: Lines, name: str) -> str:
    """Return the error with its line and the nearest valid name."""
    context = detail.get("ctx", {})
    at = place((*detail["loc"], *context.get("at", ())), lines)
    where = lines.get(at, f"{name}:1")
    dotted = ".".join(map(str, at)) or "the sweep"
    given = detail.get("input")
    match detail["type"]:
        case "extra_forbidden":
            # The fields of the model that refused it.
            fields = _walk(_schema(), _schema(), list(detail["loc"][:-1]))
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
            message = _EXPECTED.get(detail["type"], "").format(first=_first(detail)) or detail[
                "msg"
            ].removeprefix("Value error, ")
            if share := _percent(detail):
                message += f"; write {share:g} for {100 * share:g} %"
            shown = f" (given: {given!r})" if isinstance(given, int | float | str) else ""
            return f"{where}: `{dotted}`: {message}{shown}"


_EXPECTED = {
    "string_type": "text is needed; put it between double quotes",
    "tuple_type": "a list is needed, such as `[a, b]`, or lines that begin with `- `",
    "model_type": "keys with values are needed{first}, one per line; check the indentation",
    "dict_type": "keys with values are needed{first}, one per line; check the indentation",
    "string_pattern_mismatch": "a name has letters, digits, `.`, `_` and `-` only",
}
"""Complaints about a value of another form, in words for people."""


def _first(detail: ErrorDetails) -> str:
    """Return the first key that a single word would be the value of; empty where none is known."""
    fields = _walk(_schema(), _schema(), list(detail["loc"]))
    word = isinstance(detail["input"], str) and detail["type"] == "model_type"
    return f", such as `{next(iter(fields[0]))}: …`" if word and fields and fields[0] else ""


def _percent(detail: ErrorDetails) -> float | None:
    """Return the fraction that was meant by a number of percent."""
    given = detail["input"]
    if detail["type"] == "float_parsing" and re.fullmatch(r"\d+ *%", str(given)):
        return float(str(given).rstrip("% ")) / 100
    if detail["type"] == "less_than" and detail.get("ctx", {}).get("lt") == 1 and 1 < given < 100:
        return given / 100
    return None


@cache
def _schema() -> dict[str, object]:
    """Return the JSON schema of a sweep, which takes a while to build."""
    return Sweep.model_json_schema()


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
