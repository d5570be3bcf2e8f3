"""The methods that a sweep file may name."""

import re
from collections.abc import Mapping
from typing import get_args

import yaml

from tamt_ray.methods.base import Method, Search
from tamt_ray.values.base import fault
from tamt_ray.values.model import Recipe
from tamt_ray.values.pattern import UNSTRUCTURED
from tamt_ray.values.plugin import Registry, literal_values


def _names(kind: type[Method]) -> tuple[str, ...]:
    """Return the names of a method. Raises ValueError where its contract is not kept."""
    unit = getattr(kind, "unit", None)
    if not isinstance(unit, type) or not issubclass(unit, Search):
        raise ValueError(f"{kind.__name__} needs `unit: ClassVar[type[Search]]`")
    literal_values(unit, "method")
    return *literal_values(kind, "method"), *kind.aliases


_RECIPES: tuple[Recipe, ...] = get_args(Recipe)
METHODS: Registry[Method] = Registry("tamt_ray.methods", "tamt_ray.methods", Method, _names)


def method_entry(entry: object, recipe: object, number: int = 0) -> object:
    """Return an item of `methods` with an alias spelled out and its recipe's defaults filled in.

    `omp` is short for `{method: omp}`; the name defaults to the word used for the method, the
    recipe to the sweep's. What is not of the expected form is left for the validation to refuse.
    Raises a fault at item `number` for a setting that an alias has given already.
    """
    if isinstance(entry, str):
        entry = {"method": entry}
    if not isinstance(entry, dict) or not isinstance(entry.get("method"), str):
        return entry
    word = entry["method"]
    kind = METHODS.classes.get(word)
    named: dict[str, object] = {
        "name": _label(word, entry.get("pattern")),
        "recipe": recipe,
        **entry,
    }
    if kind is None:
        return named
    alias = kind.aliases.get(word, {})
    own = literal_values(kind, "method")[0]
    for key in alias.keys() & named.keys():
        settings = yaml.safe_dump(dict(alias), default_flow_style=True).strip().strip("{}")
        raise fault(f"`{word}` stands for {settings}; write `method: {own}` to choose another one",
                    "methods", number, key)  # fmt: skip
    named["method"] = own
    return {**alias, **_defaults(kind, {**alias, **named}), **named}


def _label(word: str, pattern: object) -> str:
    """Return the default name of a method: `omp_2of4` for `omp` with the pattern 2:4."""
    if not isinstance(pattern, str) or pattern == UNSTRUCTURED:
        return word
    return f"{word}_{re.sub(':', 'of' if pattern[:1].isdigit() else '', pattern)}"


def _defaults(kind: type[Method], entry: Mapping[str, object]) -> Mapping[str, object]:
    for recipe in _RECIPES:
        if recipe == entry["recipe"]:
            return kind.defaults(recipe, entry)
    return {}
