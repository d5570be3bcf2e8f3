"""Evidence for the paper's statements, one model at a time."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import polars as pl

from tamt_ray.analysis.report_data import ReportData
from tamt_ray.analysis.results import main_rows
from tamt_ray.analysis.roles import TAMT_ROLES, random_starts, roles
from tamt_ray.analysis.stats.averages import leading_task, runs
from tamt_ray.analysis.stats.comparison import cells
from tamt_ray.analysis.stats.effect import Cells, Design, Effect, effect, paired
from tamt_ray.analysis.stats.search_cost import search_costs
from tamt_ray.plan.expand import DENSE
from tamt_ray.tasks.base import TaskRole
from tamt_ray.values.model import ModelRole

PAPERS_MODELS = ("bert-base-uncased", "roberta-base")
"""The models of the paper, as the last part of a source."""


@dataclass(frozen=True)
class Evidence:
    """The tables of one model, and which method of the sweep stands for which of the paper's."""

    family: ModelRole | None
    """The model of the paper that this one stands for."""
    roles: Mapping[str, str]
    """The sweep's name for each of the paper's methods (`roles.roles`)."""
    random_init: Mapping[str, str]
    """From a method that starts from OMP to its twin that starts from a random mask."""
    tasks: Mapping[TaskRole, str]
    """The sweep's name for each of the paper's tasks."""
    task: str
    """The headline: the average over tasks, or the only one."""
    runs: pl.DataFrame
    """(method, sparsity, mask_seed, checkpoint, seed, task, score), percent; all training data."""
    reduced: pl.DataFrame
    """Scores on reduced data: train_size in place of checkpoint, null on all data."""
    losses: pl.DataFrame
    """(method, sparsity, mask_seed, checkpoint, mlm_loss, kd_loss) of each subnetwork."""
    points: pl.DataFrame
    """(method, sparsity, mask_seed, score, mlm_loss, kd_loss) of each subnetwork, percent."""
    distances: pl.DataFrame
    """Between masks (`distances.distances`)."""
    costs: pl.DataFrame
    """Cost at which TAMT reaches IMP's best score (`search_cost.search_costs`)."""
    stsb_costs: pl.DataFrame
    """Search costs by the scores of STS-B alone."""
    leading: str = ""
    """Task or average that `points` use for all tasks where the paper looks into the search, if not
    `task`; in a union of sweeps some methods have no other average."""
    of_paper: bool = True
    """True for one of the paper's models; only for these can a statement be contradicted."""
    bert: "Evidence | None" = None
    """For RoBERTa: the evidence of the sweep's BERT."""

    def lacks(self, *roles: str) -> str:
        """Return the methods that the sweep lacks, in words; empty if none."""
        absent = [role for role in roles if role not in self.roles]
        return f"the sweep has no {' and no '.join(absent)}" if absent else ""

    def sparsities(self, *roles: str, task: str | None = None) -> list[float]:
        """Return the sparsities at which all roles have a score of `task`, or of the headline."""
        each = (self._scores(self.roles.get(role, ""), task or self.task) for role in roles)
        return sorted(set.intersection(*(set(r.drop_nulls("score")["sparsity"]) for r in each)))

    def losses_at(self, loss: str, a: str, b: str, least: float = 0.0) -> list[float]:
        """Return the sparsities from `least` on at which both methods have this loss."""
        rows = self.losses.drop_nulls(loss)
        at = [set(rows.filter(method=self.roles[role])["sparsity"]) for role in (a, b)]
        return sorted(s for s in set.intersection(*at) if s >= least)

    def scores(self, role: str, sparsity: float, task: str | None = None) -> Cells:
        """Scores of a method, or of the dense model (`full`), by (mask seed, fine-tuning seed)."""
        at = 0.0 if role == DENSE else sparsity
        rows = self._scores(self.roles.get(role, role), task or self.task)
        return cells(rows.filter(sparsity=at))

    def difference(self, a: str, b: str, sparsity: float, task: str | None = None) -> Design:
        """Scores of a − b in points at one sparsity."""
        return paired(self.scores(a, sparsity, task), self.scores(b, sparsity, task))

    def contrast(self, a: str, b: str, sparsity: float, scale: float = 1.0) -> Effect | None:
        """Mean of a − scale × b in points, at one sparsity; `full` stands for the dense model."""
        return effect(paired(self.scores(a, sparsity), self.scores(b, sparsity), scale))

    def loss_contrast(self, loss: str, a: str, b: str, sparsity: float) -> Effect | None:
        """Mean of the loss of a minus that of b, over mask seeds."""
        return effect(paired(self._losses(loss, a, sparsity), self._losses(loss, b, sparsity)))

    def curves(self, method: str, sparsity: float) -> dict[int, Cells]:
        """Scores of the leading task by the optimiser steps of the checkpoints."""
        rows = self.runs.filter(method=method, task=self.leading or self.task, sparsity=sparsity)
        rows = rows.drop_nulls(["checkpoint", "score"])
        steps = rows["checkpoint"].unique().sort().to_list()
        return {each: cells(rows.filter(checkpoint=each)) for each in steps}

    def _losses(self, loss: str, role: str, sparsity: float) -> Cells:
        rows = self.losses.filter(method=self.roles.get(role, ""), sparsity=sparsity)
        return cells(main_rows(rows), loss)

    def _scores(self, method: str, task: str) -> pl.DataFrame:
        return self.runs.filter(pl.col("checkpoint").is_null(), method=method, task=task)


def gather_evidence(data: ReportData) -> dict[str, Evidence]:
    """Return the evidence of each model of the sweep."""
    sweep, downstream = data.sweep, data.results.downstream
    found = roles(sweep)
    imp = found.get("imp")
    pairs = [(imp, found[role]) for role in TAMT_ROLES if imp and role in found]
    # Each objective may turn out the quickest, so the intervals hold for all at once.
    costs = search_costs(downstream, pairs, level=1 - 0.05 / max(1, len(pairs)))
    every, reduced = runs(downstream, by="checkpoint"), runs(downstream, by="train_size")
    task = data.tasks[0] if data.tasks else ""
    leading = leading_task(sweep.tasks) or task
    points = data.points.filter(pl.col("task") == leading)
    tables = {
        "runs": every, "reduced": reduced, "losses": data.results.pretrain,
        "points": points, "distances": data.distances, "costs": costs,
        "stsb_costs": search_costs(downstream.filter(pl.col("role") == "stsb"), pairs),
    }  # fmt: skip
    each = {
        name: Evidence(
            bert=None,
            family=model.role,
            roles=found,
            random_init=random_starts(sweep.methods),
            tasks={task.role: name for name, task in sweep.tasks.items() if task.role},
            task=task,
            leading=leading,
            of_paper=model.source.rpartition("/")[2] in PAPERS_MODELS,
            **{key: table.filter(pl.col("model") == name) for key, table in tables.items()},
        )
        for name, model in sweep.models.items()
    }
    bert = next((e for e in each.values() if e.family == "bert"), None)
    return {name: replace(e, bert=bert) if e.family == "roberta" else e for name, e in each.items()}
