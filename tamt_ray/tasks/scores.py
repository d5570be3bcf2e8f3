"""Scores of a fine-tune, kept so that any metric may lead when a table is made.

A record has `best/<leader>/<name>`, the value of every metric at the evaluation where `leader` was
best, `best/<leader>/step`, `last/<name>`, the values after the last step, and `baseline/<name>`,
the value that the best constant answer has. Metrics of the second validation set end in `_2`, and
so on; they never lead.

`half/<leader>/<name>` is free of the optimism of `best`: the evaluation is chosen by `leader` on
one half of the validation set and measured on the other (`first_half`), both ways, and the
two values are averaged. `half/<leader>/step_1` and `step_2` are the evaluations whose answers to
the first and to the second half count.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tamt_ray.data.seeds import derive
from tamt_ray.tasks.metrics.base import Metric, Predictions

Select = Literal["all", "half"]
"""Examples that choose the best evaluation: all that it is measured on, or the other half."""


@dataclass(frozen=True)
class Evaluation:
    """All metrics after a step; those of the second validation set end in `_2`, and so on."""

    step: int
    metrics: Mapping[str, float]
    answers: Predictions | None = None
    """The answers to the first validation set."""


def scores_of(
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
    found |= {f"last/{name}": value for name, value in evaluations[-1].metrics.items()}
    return found | _halves(evaluations, measured)


def _halves(
    evaluations: Sequence[Evaluation], measured: Mapping[str, type[Metric]]
) -> dict[str, float]:
    """Return `half/…`; nothing where answers are missing or there is a single example."""
    kept = [each.answers for each in evaluations if each.answers is not None]
    if len(kept) < len(evaluations) or len(kept[0].gold) < 2:
        return {}
    first = first_half(kept[0])
    scores = [
        [_measure(answers.part(half), measured) for answers in kept] for half in (first, ~first)
    ]
    places = range(len(evaluations))
    found: dict[str, float] = {}
    for leader, kind in measured.items():
        # The answers to a half count at the evaluation that is best on the other one.
        chosen = [
            kind.best(places, lambda place, name=leader, half=half: scores[half][place][name])
            for half in (1, 0)
        ]
        found |= {
            f"half/{leader}/step_{half + 1}": evaluations[place].step
            for half, place in enumerate(chosen)
        }
        ways = [
            {**evaluations[place].metrics, **scores[half][place]}
            for half, place in enumerate(chosen)
        ]
        found |= {f"half/{leader}/{name}": (ways[0][name] + ways[1][name]) / 2 for name in ways[0]}
    return found


def _measure(answers: Predictions, measured: Mapping[str, type[Metric]]) -> dict[str, float]:
    return {name: kind.compute(answers) for name, kind in measured.items()}


def baselines(
    constants: Iterable[Predictions], measured: Mapping[str, type[Metric]]
) -> dict[str, float]:
    """Return the value of each metric for the constant answer that is best by it."""
    answers = list(constants)
    return {
        f"baseline/{name}": kind.best((kind.compute(each) for each in answers), lambda value: value)
        for name, kind in measured.items()
    }


def led_by(leader: str, metrics: Mapping[str, float], select: Select = "all") -> dict[str, float]:
    """Return the scores in a record as they are with `leader` as the headline.

    `best` and `last`: the leader's value; `best_step`, where one evaluation is chosen; every metric
    at that evaluation by its own name; `optimism`: how much more the leader has where it is chosen
    on all examples than on the other half; baselines and whatever is no score unchanged. Scores
    that the record does not have are left out.
    """
    prefix = f"{'half' if select == 'half' else 'best'}/{leader}/"
    found = {
        name: value
        for name, value in metrics.items()
        if name.partition("/")[0] not in {"best", "half", "last"}
    }
    found |= {
        name.removeprefix(prefix): value
        for name, value in metrics.items()
        if name.startswith(prefix) and not name.startswith(f"{prefix}step_")
    }
    if leader in found:
        found |= {"best": found[leader], "last": metrics[f"last/{leader}"]}
    if "step" in found:
        found["best_step"] = found.pop("step")
    if (honest := metrics.get(f"half/{leader}/{leader}")) is not None:
        found["optimism"] = metrics[f"best/{leader}/{leader}"] - honest
    return found


def counted_steps(
    leader: str, metrics: Mapping[str, float], select: Select
) -> tuple[int, int] | None:
    """Return the evaluations whose answers to the first and to the second half make the score;
    None where the record does not say."""
    names = ("half/{}/step_1", "half/{}/step_2") if select == "half" else ("best/{}/step",) * 2
    steps = [metrics.get(name.format(leader)) for name in names]
    return None if None in steps else (int(steps[0] or 0), int(steps[1] or 0))


def first_half(predictions: Predictions) -> NDArray[np.bool_]:
    """Return which examples are in the first half, [n]: a random split, stratified by gold value.

    It depends on the number of examples and their gold values alone, so that it is the same for
    every mask and seed. The first half has one example more where n is odd.
    """
    order = _shuffled(len(predictions.gold))
    if isinstance(predictions.gold, np.ndarray):
        order = order[np.argsort(predictions.gold[order], kind="stable")]
    found = np.zeros(len(order), dtype=np.bool_)
    found[order[::2]] = True
    return found


@cache
def _shuffled(count: int) -> NDArray[np.intp]:
    # Drawn by hashes, since NumPy does not promise the same stream in every version.
    return np.argsort([derive("half", example) for example in range(count)])
