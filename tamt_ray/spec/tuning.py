"""Tuning a search's own settings on the pre-training loss: `tune:` of a sweep file."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Self

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError, PydanticKnownError

from tamt_ray.methods.base import Method
from tamt_ray.methods.trained import TrainedMethod
from tamt_ray.objectives.base import OBJECTIVES
from tamt_ray.values.base import Count, Frozen, Name, fault, nearest
from tamt_ray.values.pattern import misfit
from tamt_ray.values.training import Training

Value = bool | int | float | str
"""Type of a tunable setting."""

_IN_SEARCH = "search."
_OF_SEARCH = ("batch_size", "decay_steps")


class Domain(Frozen):
    """The search space of one setting, in one of three forms; both ends of a range are included.

    A setting that is a whole number stays one.
    """

    uniform: tuple[float, float] | None = None
    """[low, high]; every value between is as likely."""
    log: tuple[float, float] | None = None
    """Every order of magnitude is as likely as the next."""
    choice: Annotated[tuple[Value, ...], Field(min_length=2)] | None = None
    """The values themselves, two or more."""

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        given = [form for form in (self.uniform, self.log, self.choice) if form is not None]
        if len(given) != 1:
            raise ValueError("give one of `uniform: [a, b]`, `log: [a, b]` and `choice: [a, b, …]`")
        if self.ends is not None and self.ends[0] >= self.ends[1]:
            raise ValueError("a range goes from a smaller number to a larger one")
        if self.log is not None and self.log[0] <= 0:
            raise ValueError("a logarithmic range begins above 0")
        if self.choice is not None and len(set(map(repr, self.choice))) < len(self.choice):
            raise ValueError("a choice is given twice")
        return self

    @property
    def ends(self) -> tuple[float, float] | None:
        """The range, whichever its scale; None for a choice."""
        return self.uniform or self.log

    @property
    def first(self) -> Value:
        """One of its values, always the same."""
        return self.choice[0] if self.choice is not None else (self.ends or (0.0,))[0]

    def holds(self, value: Value) -> bool:
        """Return whether `value` can be drawn."""
        if self.choice is not None:
            return value in self.choice
        assert self.ends is not None
        return isinstance(value, int | float) and self.ends[0] <= value <= self.ends[1]


class Tuning(Frozen):
    """A study for each named method of each model: trials drawn by TPE, bad ones stopped early by
    successive halving (ASHA).

    The objective is the pre-training loss of the mask on the validation blocks and never a
    downstream score. The first trial of each study has the sweep's own values.
    """

    sparsity: float = Field(gt=0, lt=1)
    """Share of the weights that every trial prunes."""
    trials: Count
    """Trials of one study, the first one included."""
    rungs: Annotated[tuple[Count, ...], Field(min_length=1)]
    """Steps at which a trial's mask is evaluated and may be its last; the last rung ends it."""
    reduction: float = Field(default=3.0, gt=1)
    """About one in so many trials goes on from a rung."""
    methods: Annotated[
        dict[Name, Annotated[dict[str, Domain], Field(min_length=1)]], Field(min_length=1)
    ]
    """For each method in `methods`, ranges of its own fields, of `search.decay_steps` and of
    `search.batch_size`."""
    objective: str = "own"
    """`own`: the losses each method trains on; or the names of losses joined by ` + `, such as
    `mlm_loss + kd_loss`."""
    seed: int = 0
    """Seed of the searches and of the sampler."""

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if list(self.rungs) != sorted(set(self.rungs)):
            raise fault("rungs rise from each to the next", "rungs")
        return self

    @field_validator("objective")
    @classmethod
    def _known_losses(cls, objective: str) -> str:
        known = {f"{name}_loss" for name in OBJECTIVES.classes}
        unknown = [loss for loss in objective.split(" + ") if loss not in known | {"own"}]
        if unknown or ("own" in objective and objective != "own"):
            raise PydanticKnownError(
                "literal_error",
                {"expected": " or ".join(f"'{each}'" for each in ["own", *sorted(known)])},
            )
        return objective

    def losses(self, method: TrainedMethod) -> tuple[str, ...]:
        """Return the losses of a mask whose sum a study makes small."""
        return method.losses if self.objective == "own" else tuple(self.objective.split(" + "))


def tunable(method: TrainedMethod, search: Training) -> dict[str, Value]:
    """Return every setting that a study may vary, with the sweep's own value."""
    fields = {name: getattr(method, name) for name in type(method).model_fields}
    shared = {f"{_IN_SEARCH}{name}": getattr(search, name) for name in _OF_SEARCH}
    if method.decay_steps is not None:
        del shared[f"{_IN_SEARCH}decay_steps"]
    return {
        name: value
        for name, value in {**fields, **shared}.items()
        if name not in method.not_tuned and isinstance(value, bool | int | float | str)
    }


def with_values(
    method: TrainedMethod, search: Training, values: Mapping[str, Value]
) -> tuple[TrainedMethod, Training]:
    """Return the method and the shared settings with `values` in place. Raises ValidationError."""
    own = {name: value for name, value in values.items() if not name.startswith(_IN_SEARCH)}
    shared = {
        name.removeprefix(_IN_SEARCH): value
        for name, value in values.items()
        if name.startswith(_IN_SEARCH)
    }
    return (
        type(method).model_validate({**method.model_dump(), **own}),
        Training.model_validate({**search.model_dump(), **shared}),
    )


def check_tuning(tuning: Tuning, methods: Sequence[Method], search: Training) -> None:
    """Raises a fault at the first setting that the sweep's methods cannot take."""
    known = {method.name: method for method in methods}
    for name, spans in tuning.methods.items():
        at = ("tune", "methods", name)
        method = known.get(name)
        if method is None:
            raise fault(f"no method is called {name!r}{nearest(name, known)}", *at)
        if not isinstance(method, TrainedMethod):
            raise fault(f"{name!r} trains nothing, so there is nothing to tune", *at)
        _check_trial(tuning, method, *at)
        own = tunable(method, search)
        for key, span in spans.items():
            _check_span(tuning, method, search, key, span, own)


def _check_span(
    tuning: Tuning,
    method: TrainedMethod,
    search: Training,
    key: str,
    span: Domain,
    own: Mapping[str, Value],
) -> None:
    at = ("tune", "methods", method.name, key)
    if key not in own:
        raise fault(f"{method.name!r} has no setting {key!r} to tune{nearest(key, own)}", *at)
    value = own[key]
    ranged = span.ends is not None
    if ranged and (key in method.only_choices or isinstance(value, bool | str)):
        raise fault(f"`{key}` takes a `choice: […]`, no range", *at)
    if ranged and isinstance(value, int) and any(end != int(end) for end in span.ends or ()):
        raise fault(f"`{key}` is a whole number, and so are the ends of its range", *at)
    for extreme in span.choice or span.ends or ():
        try:
            varied, _ = with_values(method, search, {key: extreme})
        except ValidationError as error:
            raise fault(f"{extreme!r}: {error.errors()[0]['msg']}", *at) from error
        _check_trial(tuning, varied, *at)
    if not span.holds(value):
        raise fault(
            f"the sweep's own `{key}` is {value}, and the first trial has it; "
            "widen what is given here or change the method",
            *at,
        )


def _check_trial(tuning: Tuning, method: TrainedMethod, *at: str) -> None:
    if complaint := misfit(method.pattern, tuning.sparsity):
        raise fault(complaint, "tune", "sparsity")
    try:
        method.check_trial(tuning.rungs, tuning.sparsity)
    except PydanticCustomError as error:
        raise fault((error.context or {})["complaint"], *at) from error
