"""All that a report is made of, computed once."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from tamt_ray.analysis.artifacts import ArtifactReader
from tamt_ray.analysis.results import Results, collect, collect_searches
from tamt_ray.analysis.roles import cost_pairs
from tamt_ray.analysis.stats.averages import AVERAGE, GROUP, averages, losses, means, runs
from tamt_ray.analysis.stats.bootstrap import SEED
from tamt_ray.analysis.stats.comparison import comparisons
from tamt_ray.analysis.stats.correlation import correlations, points
from tamt_ray.analysis.stats.distances import distances
from tamt_ray.analysis.stats.search_cost import search_costs
from tamt_ray.plan.expand import Plan
from tamt_ray.spec.sweep import Sweep
from tamt_ray.store.record import Failure, Record


@dataclass(frozen=True)
class ReportData:
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
    comparisons: pl.DataFrame
    """Every two methods (`comparison.comparisons`)."""
    costs: pl.DataFrame
    """What TAMT needs for IMP's best score (`search_cost.search_costs`)."""
    reduced: pl.DataFrame
    """`averages.means` on less data too, by train_size; without averages over tasks."""
    distances: pl.DataFrame
    """Between masks (`distances.distances`); no rows in a report made without them."""
    histories: Mapping[str, pl.DataFrame]
    """Curves of trained searches by unit: step, name, value."""
    published: pl.DataFrame | None
    """The paper's own values (`published.read_published`), where the user gave them."""

    @property
    def tasks(self) -> list[str]:
        """Columns of the headline table: the average where there are several tasks, then each."""
        tasks = list(self.sweep.tasks)
        return [AVERAGE, *tasks] if len(tasks) > 1 else tasks


def gather(
    sweep: Sweep,
    plan: Plan,
    records: Mapping[str, Record],
    failures: Mapping[str, Failure],
    shelf: ArtifactReader | None = None,
    published: pl.DataFrame | None = None,
) -> ReportData:
    """The tables of a report."""
    results = collect(plan, records)
    each = runs(results.downstream)
    cloud = points(results)
    searches = collect_searches(plan, records)
    return ReportData(
        sweep=sweep,
        plan=plan,
        records=records,
        failures={unit: failure for unit, failure in failures.items() if unit not in records},
        results=results,
        searches=searches,
        runs=each,
        averages=averages(each),
        losses=losses(results.pretrain),
        points=cloud,
        correlations=correlations(cloud, np.random.default_rng(SEED), random=_random(sweep)),
        comparisons=comparisons(each),
        costs=search_costs(results.downstream, cost_pairs(sweep)),
        reduced=_reduced(results.downstream),
        distances=distances(searches, records, shelf),
        histories=_histories(searches, records, shelf),
        published=published,
    )


def _random(sweep: Sweep) -> list[str]:
    return [method.name for method in sweep.methods if method.paper_role == "random"]


def _reduced(downstream: pl.DataFrame) -> pl.DataFrame:
    found = means(runs(downstream, by="train_size"), ["train_size"])
    sized = found.filter(pl.col("train_size").is_not_null())
    return found.join(sized, on=GROUP, how="semi", maintain_order="left")


def _histories(
    searches: pl.DataFrame, records: Mapping[str, Record], shelf: ArtifactReader | None
) -> dict[str, pl.DataFrame]:
    if shelf is None:
        return {}
    units = searches["unit"].unique(maintain_order=True)
    curves = {unit: shelf.history(unit) for unit in units if unit in records}
    return {unit: curve for unit, curve in curves.items() if curve is not None}
