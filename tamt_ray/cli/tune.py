"""Printing a tuning: what is to be tried, and what was found."""

from collections.abc import Sequence

from rich.table import Table

from tamt_ray.cli.tables import plain_table
from tamt_ray.plan.cost import Prices
from tamt_ray.plan.study import Study, steps_at_most
from tamt_ray.plan.tuning import Outcome


def plan_of_studies(outcomes: Sequence[Outcome]) -> dict[str, dict[str, int]]:
    """Return what is done and to do of each study, for programs."""
    return {
        outcome.study.path: {
            "trials": outcome.study.tuning.trials,
            "done": _done(outcome),
            "to_run": outcome.to_propose + len(outcome.state("running")),
            "steps_at_most": steps_at_most(outcome.study),
        }
        for outcome in outcomes
    }


def studies_table(outcomes: Sequence[Outcome]) -> Table:
    """Return the same for people."""
    table = plain_table("study", "trials", "done", "to run", "steps at most", "objective")
    for outcome, row in zip(outcomes, plan_of_studies(outcomes).values(), strict=True):
        table.add_row(
            outcome.study.path, *(f"{number:,}" for number in row.values()),
            " + ".join(outcome.study.losses),
        )  # fmt: skip
    return table


def hours_at_most(outcomes: Sequence[Outcome], prices: Prices) -> float:
    """Return the hours on one device of the trials to be drawn, if none is stopped early."""
    return sum(o.to_propose * _seconds(o.study, prices) for o in outcomes) / 3600


def found_by(outcome: Outcome) -> dict[str, object]:
    """Return the result of a study, for programs."""
    best, own = outcome.best(), outcome.own()
    return {
        "trials": _done(outcome),
        "objective": list(outcome.study.losses),
        "best": outcome.objective(best) if best else None,
        "values": dict(best.values) if best else None,
        "own": outcome.objective(own) if own else None,
        "omp": outcome.study.objective(outcome.omp) if outcome.omp else None,
    }


def _done(outcome: Outcome) -> int:
    return len(outcome.trials) - len(outcome.state("running"))


def _seconds(study: Study, prices: Prices) -> float:
    units = study.units(0, study.own_values).plan.units.values()
    return sum(prices.seconds(unit) for unit in units if unit.kind == "search")
