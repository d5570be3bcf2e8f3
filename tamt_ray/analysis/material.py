"""All that a report is made of, computed once."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from tamt_ray.analysis.averages import AVERAGE, averages, losses, runs
from tamt_ray.analysis.bootstrap import SEED
from tamt_ray.analysis.correlation import correlations, points
from tamt_ray.analysis.results import Results, collect, collect_searches
from tamt_ray.plan.expand import Plan
from tamt_ray.spec.sweep import Sweep
from tamt_ray.store.record import Failure, Record


@dataclass(frozen=True)
class Material:
    """A sweep, its records, and every table derived from them."""

    sweep: Sweep
    plan: Plan
    records: Mapping[str, Record]
    failures: Mapping[str, Failure]
    results: Results
    searches: pl.DataFrame
    runs: pl.DataFrame
    averages: pl.DataFrame
    losses: pl.DataFrame
    points: pl.DataFrame
    correlations: pl.DataFrame

    @property
    def tasks(self) -> list[str]:
        """Columns of the headline table: the average where there are several tasks, then each."""
        tasks = list(self.sweep.tasks)
        return [AVERAGE, *tasks] if len(tasks) > 1 else tasks


def gather(
    sweep: Sweep, plan: Plan, records: Mapping[str, Record], failures: Mapping[str, Failure]
) -> Material:
    """The tables of a report; the seeds of all intervals are fixed here."""
    results = collect(plan, records)
    each = runs(results.downstream)
    cloud = points(results)
    return Material(
        sweep=sweep,
        plan=plan,
        records=records,
        failures={unit: failure for unit, failure in failures.items() if unit not in records},
        results=results,
        searches=collect_searches(plan, records),
        runs=each,
        averages=averages(each, np.random.default_rng(SEED)),
        losses=losses(results.pretrain),
        points=cloud,
        correlations=correlations(cloud, np.random.default_rng(SEED)),
    )
