"""All that a report is made of, each table computed when it is first asked for."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from tamt_ray.analysis.artifacts import ArtifactReader
from tamt_ray.analysis.results import Results, collect, collect_searches
from tamt_ray.analysis.roles import cost_pairs
from tamt_ray.analysis.stats import averages as stats
from tamt_ray.analysis.stats.answer import Answer, answer
from tamt_ray.analysis.stats.averages import AVERAGE, GROUP
from tamt_ray.analysis.stats.comparison import comparisons
from tamt_ray.analysis.stats.correlation import correlations, points
from tamt_ray.analysis.stats.distances import distances
from tamt_ray.analysis.stats.effect import SEED
from tamt_ray.analysis.stats.search_cost import search_costs
from tamt_ray.plan.expand import Plan
from tamt_ray.spec.sweep import Sweep
from tamt_ray.store.record import Failure, Record


@dataclass(eq=False)
class ReportData:
    """A sweep, its records, and every table derived from them."""

    sweep: Sweep
    plan: Plan
    records: Mapping[str, Record]
    failures: Mapping[str, Failure]
    """Failures of the units that have no record."""
    reader: ArtifactReader | None = None
    """Reader of masks and curves; None for a report without them."""
    published: pl.DataFrame | None = None
    """The paper's own values (`published.read_published`), where the user gave them."""

    @cached_property
    def results(self) -> Results:
        """Scores and losses of every point of the grid."""
        return collect(self.plan, self.records)

    @cached_property
    def answer(self) -> Answer:
        """The best method at each sparsity."""
        return answer(self.results)

    @cached_property
    def searches(self) -> pl.DataFrame:
        """A row per mask."""
        return collect_searches(self.plan, self.records)

    @cached_property
    def runs(self) -> pl.DataFrame:
        """Scores in percent, with averages over tasks."""
        return stats.runs(self.results.downstream)

    @cached_property
    def averages(self) -> pl.DataFrame:
        """Means over runs with their intervals."""
        return stats.averages(self.runs)

    @cached_property
    def losses(self) -> pl.DataFrame:
        """Means of the pre-training losses over masks."""
        return stats.losses(self.results.pretrain)

    @cached_property
    def points(self) -> pl.DataFrame:
        """A row per subnetwork and task: score and losses."""
        return points(self.results)

    @cached_property
    def correlations(self) -> pl.DataFrame:
        """Correlations of the points, by scope."""
        random = [m.name for m in self.sweep.methods if m.paper_role == "random"]
        return correlations(self.points, np.random.default_rng(SEED), random=random)

    @cached_property
    def comparisons(self) -> pl.DataFrame:
        """Every two methods (`comparison.comparisons`)."""
        return comparisons(self.runs)

    @cached_property
    def costs(self) -> pl.DataFrame:
        """Cost at which TAMT reaches IMP's best score (`search_cost.search_costs`)."""
        return search_costs(self.results.downstream, cost_pairs(self.sweep))

    @cached_property
    def reduced(self) -> pl.DataFrame:
        """`averages.means` on less data too, by train_size; without averages over tasks."""
        found = stats.means(stats.runs(self.results.downstream, by="train_size"), ["train_size"])
        sized = found.filter(pl.col("train_size").is_not_null())
        return found.join(sized, on=GROUP, how="semi", maintain_order="left")

    @cached_property
    def distances(self) -> pl.DataFrame:
        """Between masks (`distances.distances`); no rows in a report made without them."""
        return distances(self.searches, self.records, self.reader)

    @cached_property
    def histories(self) -> Mapping[str, pl.DataFrame]:
        """Curves of trained searches by unit: step, name, value."""
        if self.reader is None:
            return {}
        units = self.searches["unit"].unique(maintain_order=True)
        curves = {unit: self.reader.history(unit) for unit in units if unit in self.records}
        return {unit: curve for unit, curve in curves.items() if curve is not None}

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
    reader: ArtifactReader | None = None,
    published: pl.DataFrame | None = None,
) -> ReportData:
    """Return what a report is made of; a failure of a unit that is done by now is none."""
    open_failures = {unit: failure for unit, failure in failures.items() if unit not in records}
    return ReportData(sweep, plan, records, open_failures, reader, published)
