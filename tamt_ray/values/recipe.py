"""Named sets of defaults: those of the paper, of its released code, and of short searches."""

from collections.abc import Mapping
from typing import Literal

Recipe = Literal["paper", "released_code", "short"]
Defaults = Mapping[str, object]

MODEL_DEFAULTS: Mapping[str, Defaults] = {
    "paper": {},
    "released_code": {"pooler": True},
    "short": {},
}
"""Defaults by recipe; other settings have the field's own default, which is the paper's."""


def model_entry(entry: object, recipe: object) -> object:
    """Return a model of the sweep with its recipe's defaults filled in."""
    defaults = MODEL_DEFAULTS.get(str(recipe), {})
    return {**defaults, **entry} if isinstance(entry, dict) else entry
