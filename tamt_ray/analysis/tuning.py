"""Results of a tuning: a table, every trial, and lines to paste into a sweep file."""

from collections.abc import Mapping, Sequence

import polars as pl
import yaml

from tamt_ray.methods.registry import method_entry
from tamt_ray.methods.trained import TrainedMethod
from tamt_ray.plan.study import Study
from tamt_ray.plan.tuning import Outcome, Trial
from tamt_ray.spec.tuning import Value, with_values


def best_frame(outcomes: Sequence[Outcome]) -> pl.DataFrame:
    """Return one row per study, ready to print: the objective of the best trial, of the one with
    the sweep's own values, and of OMP at the same sparsity; "–" where one is not known."""
    return pl.DataFrame(
        [
            {
                "model": outcome.study.model,
                "method": outcome.study.method.name,
                "trials": f"{len(outcome.trials)}/{outcome.study.tuning.trials}",
                "to the end": str(len(outcome.state("finished"))),
                "objective": " + ".join(outcome.study.losses),
                "best": _shown(outcome, outcome.best()),
                "own values": _shown(outcome, outcome.own()),
                "omp": f"{outcome.study.objective(outcome.omp):.4f}" if outcome.omp else "–",
                "best values": _words((best := outcome.best()) and best.values),
            }
            for outcome in outcomes
        ]
    )


def trials_frame(outcomes: Sequence[Outcome]) -> pl.DataFrame:
    """Return one row per rung of every trial: study, trial, its end, values as a YAML mapping on
    one line, step, losses and objective; a trial that reached no rung has one row without them."""
    rows: list[dict[str, object]] = []
    for outcome in outcomes:
        for trial in outcome.trials:
            settings = {
                "study": outcome.study.path, "trial": trial.number, "ended": trial.state,
                "values": yaml.safe_dump(dict(trial.values), default_flow_style=True, width=1000)
                .strip(),
                "error": trial.error,
            }  # fmt: skip
            found: list[dict[str, object]] = [
                {"step": r.steps, **r.losses, "objective": outcome.study.objective(r.losses)}
                for r in trial.rungs
            ]
            rows += [{**settings, **numbers} for numbers in found or [{}]]
    numbers = ("mlm_loss", "kd_loss", "objective")
    schema = {
        "study": pl.String, "trial": pl.Int64, "ended": pl.String, "values": pl.String,
        "error": pl.String, "step": pl.Int64, **dict.fromkeys(numbers, pl.Float64),
    }  # fmt: skip
    return pl.DataFrame(rows, schema=schema)


def snippet(outcomes: Sequence[Outcome]) -> str:
    """YAML for the `methods:` of a sweep file: each study's method with its best values.

    Nothing that the recipe implies is repeated. What was tuned of `search:`, which all methods of a
    sweep share, is named in a comment.
    """
    lines: list[str] = []
    for model in dict.fromkeys(outcome.study.model for outcome in outcomes):
        found = [(o, best) for o in outcomes if o.study.model == model and (best := o.best())]
        if found:
            lines.append(f"# found for {model}")
            lines.append("methods:")
        for outcome, best in found:
            lines += _entry(outcome, best)
    return "".join(f"{line}\n" for line in lines)


def _entry(outcome: Outcome, best: Trial) -> list[str]:
    study = outcome.study
    steps, sparsity = study.tuning.rungs[-1], study.tuning.sparsity
    comment = f"  # {' + '.join(study.losses)} {_shown(outcome, best)} after {steps} steps at "
    comment += f"{sparsity:g}"
    if outcome.omp:
        comment += f" (OMP {study.objective(outcome.omp):.4f})"
    shared = {key: value for key, value in best.values.items() if key.startswith("search.")}
    also = [f"  # with {_words(shared)}"] if shared else []
    text = yaml.dump(
        _fields(study, best.values), Dumper=_Plain, default_flow_style=True, sort_keys=False,
        width=10_000, allow_unicode=True,
    )  # fmt: skip
    return [comment, *also, f"  - {text.strip()}"]


def _fields(study: Study, values: Mapping[str, Value]) -> dict[str, object]:
    """Return the method's entry: what was tuned, and what its recipe would not fill in alike."""
    tuned, _ = with_values(study.method, study.sweep.search, values)
    word = tuned.word
    own = _said(study, tuned, word, values)
    if own.keys() & tuned.aliases.get(word, {}).keys():
        # An alias says what it stands for, and nothing else can be said of that.
        word = tuned.label
        own = _said(study, tuned, word, values)
    if tuned.recipe != study.sweep.recipe:
        own = {"recipe": tuned.recipe, **own}
    # The length that was tuned for, at its sparsity; what the sweep has for others stays.
    trial = study.method.trial(study.tuning.rungs[-1], study.tuning.sparsity)
    return {"method": word, **own, "steps": trial.model_dump()["steps"]}


def _said(
    study: Study, tuned: TrainedMethod, word: str, values: Mapping[str, Value]
) -> dict[str, object]:
    """Return the settings that an entry of that name must have."""
    settings = tuned.model_dump(mode="json")
    needed = {name for name, field in type(tuned).model_fields.items() if field.is_required()}
    needed -= tuned.aliases.get(word, {}).keys()
    entry = {"method": word, "recipe": tuned.recipe, **{name: settings[name] for name in needed}}
    implied = type(tuned).model_validate(method_entry(entry, study.sweep.recipe))
    known = implied.model_dump(mode="json")
    return {
        name: value
        for name, value in settings.items()
        if name in values or name in needed or (value != known[name] and name != "steps")
    }


class _Plain(yaml.SafeDumper):
    """Numbers as people write them, without anchors."""

    def ignore_aliases(self, data: object) -> bool:
        """Always."""
        return True


_Plain.add_representer(
    float, lambda dumper, value: dumper.represent_scalar("tag:yaml.org,2002:float", f"{value!r}")
)


def _shown(outcome: Outcome, trial: Trial | None) -> str:
    return f"{outcome.objective(trial):.4f}" if trial else "–"


def _words(values: Mapping[str, Value] | None) -> str:
    if not values:
        return "–"
    return ", ".join(
        f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}"
        for key, value in values.items()
    )
