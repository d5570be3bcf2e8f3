"""Tuning a search's own settings on the pre-training loss: `tune:` of a sweep file."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from tamt_ray.spec.method import Imp, Method, Tamt
from tamt_ray.values.base import Count, Frozen, Name, fault
from tamt_ray.values.nearest import nearest
from tamt_ray.values.training import Training

Value = bool | int | float | str
"""What a tunable setting holds."""
Loss = Literal["mlm_loss", "kd_loss"]

_IN_SEARCH = "search."
_NOT_TUNED = {"method", "name", "recipe", "steps"}
"""Names of a method, and its length: the rungs say how long a trial is."""
_OF_SEARCH = ("batch_size", "horizon")
_LOSSES: Mapping[str, tuple[Loss, ...]] = {
    "imp": ("mlm_loss",),
    "tamt_mlm": ("mlm_loss",),
    "tamt_kd": ("kd_loss",),
    "tamt_mlm_kd": ("mlm_loss", "kd_loss"),
}

Trained = Imp | Tamt


class Domain(Frozen):
    """Where the values of one setting are looked for: one of the three forms.

    Between whole numbers where the setting is one. Both ends are included.
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
        """Whether `value` can be drawn."""
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
    """By the name of a method in `methods`: spans of its own fields, and of `search.horizon` and
    `search.batch_size`."""
    objective: Literal["own", "mlm_loss", "kd_loss", "mlm_loss + kd_loss"] = "own"
    """`own`: the loss each method trains on."""
    seed: int = 0
    """Of the searches and of the sampler."""

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if list(self.rungs) != sorted(set(self.rungs)):
            raise fault("rungs rise from each to the next", "rungs")
        return self

    def losses(self, method: Trained) -> tuple[Loss, ...]:
        """Which losses of a mask are summed to be made small."""
        match self.objective:
            case "own":
                return _LOSSES[method.method]
            case "mlm_loss + kd_loss":
                return ("mlm_loss", "kd_loss")
            case loss:
                return (loss,)


def tunable(method: Trained, search: Training) -> dict[str, Value]:
    """Every setting that a study may vary, with the sweep's own value."""
    fields = {name: getattr(method, name) for name in type(method).model_fields}
    shared = {f"{_IN_SEARCH}{name}": getattr(search, name) for name in _OF_SEARCH}
    return {
        name: value
        for name, value in {**fields, **shared}.items()
        if name not in _NOT_TUNED and isinstance(value, bool | int | float | str)
    }


def with_values(
    method: Trained, search: Training, values: Mapping[str, Value]
) -> tuple[Trained, Training]:
    """The method and the shared settings with `values` in place. Raises ValidationError."""
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


def trained_levels(method: Imp, sparsity: float) -> int:
    """Levels that IMP trains to reach `sparsity`; the first level is OMP."""
    return round(sparsity / method.step) - 1


def check_tuning(tuning: Tuning, methods: Sequence[Method], search: Training) -> None:
    """Raises a fault at the first setting that the sweep's methods cannot take."""
    known = {method.name: method for method in methods}
    for name, spans in tuning.methods.items():
        at = ("tune", "methods", name)
        method = known.get(name)
        if method is None:
            raise fault(f"no method is called {name!r}{nearest(name, known)}", *at)
        if not isinstance(method, Imp | Tamt):
            raise fault(f"{name!r} trains nothing, so there is nothing to tune", *at)
        _check_levels(tuning, method, *at)
        own = tunable(method, search)
        for key, span in spans.items():
            _check_span(tuning, method, search, key, span, own)


def _check_span(
    tuning: Tuning,
    method: Trained,
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
    if ranged and (key == "step" or isinstance(value, bool | str)):
        raise fault(f"`{key}` takes a `choice: […]`, no range", *at)
    if ranged and isinstance(value, int) and any(end != int(end) for end in span.ends or ()):
        raise fault(f"`{key}` is a whole number, and so are the ends of its range", *at)
    for extreme in span.choice or span.ends or ():
        try:
            varied, _ = with_values(method, search, {key: extreme})
        except ValidationError as error:
            raise fault(f"{extreme!r}: {error.errors()[0]['msg']}", *at) from error
        _check_levels(tuning, varied, *at)
    if not span.holds(value):
        raise fault(
            f"the sweep's own `{key}` is {value}, and the first trial has it; "
            "widen what is given here or change the method",
            *at,
        )


def _check_levels(tuning: Tuning, method: Trained, *at: str) -> None:
    if not isinstance(method, Imp):
        return
    levels = tuning.sparsity / method.step
    if round(levels) < 2 or abs(levels - round(levels)) > 1e-6:
        raise fault(
            f"IMP with `step: {method.step}` does not train its way to sparsity {tuning.sparsity}; "
            "choose a step that divides it",
            *at,
        )
    if tuning.rungs[0] < trained_levels(method, tuning.sparsity):
        raise fault(
            f"the first rung of {tuning.rungs[0]} steps is too short for the "
            f"{trained_levels(method, tuning.sparsity)} levels that IMP trains",
            *at,
        )
