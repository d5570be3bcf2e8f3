"""The origin of each setting: the file, a recipe, or the paper's default."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from tamt_ray.methods.base import Method
from tamt_ray.spec.sweep import Sweep
from tamt_ray.values.base import Frozen
from tamt_ray.values.model import MODEL_DEFAULTS, Model


@dataclass(frozen=True)
class Setting:
    """One resolved value; `origin` is `sweep file`, `recipe NAME` or `default`.

    A method's defaults are the recipe `paper`; another recipe names only what it does differently.
    """

    name: str
    value: object
    origin: str


def method_settings(method: Method) -> list[Setting]:
    """Return every setting of a method."""
    dump = method.model_dump(mode="json")
    named = method.defaults(method.recipe, dump)
    filled = type(method).model_validate({**dump, **named}).model_dump(mode="json")
    recipe = {name: filled[name] for name in named}
    found = _settings(method, recipe, method.recipe, {"method", "name", "recipe"})
    return [replace(s, origin="recipe paper") if s.origin == "default" else s for s in found]


def model_settings(sweep: Sweep, model: Model) -> list[Setting]:
    """Return every setting of a model."""
    return _settings(model, MODEL_DEFAULTS[sweep.recipe], sweep.recipe, set())


def search_settings(sweep: Sweep) -> list[Setting]:
    """Return the settings that all trained searches share."""
    return _settings(sweep.search, {}, sweep.recipe, set())


def _settings(
    value: Frozen, recipe: Mapping[str, object], name: str, left_out: set[str]
) -> list[Setting]:
    data = value.model_dump(mode="json")

    def origin(field: str) -> str:
        if field in recipe and data[field] == recipe[field]:
            return f"recipe {name}"
        return "sweep file" if field in value.model_fields_set else "default"

    return [Setting(key, data[key], origin(key)) for key in data if key not in left_out]
