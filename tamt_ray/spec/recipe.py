"""Named sets of defaults: what the paper says, and what its released code does."""

from collections.abc import Mapping
from typing import Literal

Recipe = Literal["paper", "released_code"]

Defaults = Mapping[str, object]

_STALE: Defaults = {"comparison": "above", "rerank_every": 1000}

METHOD_DEFAULTS: Mapping[str, Mapping[str, Defaults]] = {
    # Only the released code tells a rate for distillation.
    "paper": {"tamt_kd": {"lr": 2e-5}},
    "released_code": {
        # The saved state aliases the live tensors, so its rewinding changes nothing.
        "imp": {"rewind": False},
        "tamt_mlm": _STALE,
        "tamt_mlm_kd": _STALE,
        "tamt_kd": {
            "comparison": "above",
            "rerank_every": 100,
            "rerank_first": True,
            "kd_text": "paragraphs",
            "kd_pads": True,
            "teacher_dropout": True,
            "bias_correction": False,
            "lr": 2e-5,
            "eps": 1e-6,
            "weight_decay": 0.01,
            "clip_per": "tensor",
        },
    },
}
"""By recipe and method; what is not named here is the field's own default, which is the paper's."""

MODEL_DEFAULTS: Mapping[str, Defaults] = {
    "paper": {},
    "released_code": {"pooler": True},
}


def method_entry(entry: object, recipe: object) -> object:
    """An item of `methods` with its recipe's defaults filled in.

    `omp` is short for `{method: omp}`; the name defaults to the method, the recipe to the sweep's.
    What is not of the expected form is left for the validation to complain about.
    """
    if isinstance(entry, str):
        entry = {"method": entry}
    if not isinstance(entry, dict) or "method" not in entry:
        return entry
    named = {"name": entry["method"], "recipe": recipe, **entry}
    defaults = METHOD_DEFAULTS.get(str(named["recipe"]), {}).get(str(named["method"]), {})
    return {**defaults, **named}


def model_entry(entry: object, recipe: object) -> object:
    """A model of the sweep with its recipe's defaults filled in."""
    defaults = MODEL_DEFAULTS.get(str(recipe), {})
    return {**defaults, **entry} if isinstance(entry, dict) else entry
