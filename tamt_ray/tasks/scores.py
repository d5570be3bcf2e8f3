"""Scores of a fine-tune, kept so that any metric may lead when a table is made.

A record has `best/<leader>/<name>`, the value of every metric at the evaluation where `leader` was
best, `best/<leader>/step`, `last/<name>`, the values after the last step, and `baseline/<name>`,
the value that the best constant answer has. Metrics of the second validation set end in `_2`, and
so on; they never lead.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tamt_ray.tasks.metrics.base import Metric, Predictions


@dataclass(frozen=True)
class Evaluation:
    """All metrics after a step; those of the second validation set end in `_2`, and so on."""

    step: int
    metrics: Mapping[str, float]


def summary(
    evaluations: Sequence[Evaluation], measured: Mapping[str, type[Metric]]
) -> dict[str, float]:
    """Return the scores of a fine-tune as a record has them, each metric best in its direction.

    Among equal evaluations the earliest is best.
    """
    found: dict[str, float] = {"steps": evaluations[-1].step}
    for leader, kind in measured.items():
        best = kind.best(evaluations, lambda each, name=leader: each.metrics[name])
        found[f"best/{leader}/step"] = best.step
        found |= {f"best/{leader}/{name}": value for name, value in best.metrics.items()}
    return found | {f"last/{name}": value for name, value in evaluations[-1].metrics.items()}


def baselines(
    constants: Iterable[Predictions], measured: Mapping[str, type[Metric]]
) -> dict[str, float]:
    """Return the value of each metric for the constant answer that is best by it."""
    answers = list(constants)
    return {
        f"baseline/{name}": kind.best((kind.compute(each) for each in answers), lambda value: value)
        for name, kind in measured.items()
    }


def led_by(leader: str, metrics: Mapping[str, float]) -> dict[str, float]:
    """Return the scores in a record as they are with `leader` as the headline.

    `best` and `last`: the leader's value; `best_step`; every metric at that step by its own name;
    baselines and whatever is no score unchanged. Without scores of that leader these are left out.
    """
    prefix = f"best/{leader}/"
    found = {
        name: value
        for name, value in metrics.items()
        if name.partition("/")[0] not in {"best", "last"}
    }
    found |= {
        name.removeprefix(prefix): value
        for name, value in metrics.items()
        if name.startswith(prefix)
    }
    if leader in found:
        found |= {
            "best": found[leader], "last": metrics[f"last/{leader}"], "best_step": found.pop("step")
        }  # fmt: skip
    return found
