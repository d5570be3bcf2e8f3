"""The answer of a sweep in one sentence: the best method at each sparsity, and by how much."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import polars as pl

from tamt_ray.analysis.results import Results, by_cell, main_rows
from tamt_ray.analysis.stats.averages import AVERAGE, losses, means, no_better, runs
from tamt_ray.analysis.stats.comparison import comparisons
from tamt_ray.analysis.stats.effect import ALPHA
from tamt_ray.analysis.words import number
from tamt_ray.plan.expand import DENSE

Noise = Literal["beyond", "within", "unknown"]


@dataclass(frozen=True)
class Lead:
    """The best method of one model at one sparsity; scores in percent, differences in points."""

    model: str
    sparsity: float
    method: str
    score: float
    constant: bool
    """True where the score is no better than the best constant answer."""
    second: str | None = None
    """The runner-up; None where no other method has a score."""
    margin: float | None = None
    """Mean of the paired differences to the runner-up, where there are pairs; else that of the
    two means."""
    noise: Noise = "unknown"
    """Verdict on noise, by Holm's corrected p value of that difference and `ALPHA`."""
    reason: str = ""
    """Reason for which the noise is unknown."""


@dataclass(frozen=True)
class Answer:
    """The leads by model and rising sparsity, and how many runs they rest on."""

    what: str
    """The headline score in words, such as "average over 8 tasks"; empty without tasks."""
    leads: tuple[Lead, ...]
    dense: dict[str, float]
    """Score of the dense model, by model."""
    done: int
    planned: int
    """Fine-tunes of the main results; evaluations of masks where the sweep has no tasks."""
    lowest: tuple[str, ...] = ()
    """Without tasks: words on the lowest losses."""

    @property
    def text(self) -> str:
        """Plain text that ends with the number of runs."""
        of = "runs are" if self.planned != 1 else "run is"
        counted = f"{self.done:,} of {self.planned:,} {of} done."
        if not self.what:
            return " ".join([*self.lowest, counted])
        if not self.leads:
            return f"No subnetwork has a whole {self.what} yet: {counted}"
        models = dict.fromkeys(lead.model for lead in self.leads)
        sentences = [
            self._sentence(model, [lead for lead in self.leads if lead.model == model])
            for model in models
        ]
        if len(models) > 1:
            sentences = [
                f"{model}: {words}" for model, words in zip(models, sentences, strict=True)
            ]
        return " ".join([*sentences, counted])

    def _sentence(self, model: str, leads: Sequence[Lead]) -> str:
        groups: dict[tuple[object, ...], list[Lead]] = {}
        for lead in leads:
            key = (lead.method, lead.noise, lead.reason, lead.constant)
            groups.setdefault(key, []).append(lead)
        clauses = [_clause(group) for group in groups.values()]
        dense = f"; the dense model has {self.dense[model]:.1f} %" if model in self.dense else ""
        return f"Highest {self.what}: {'; '.join(clauses)}{dense}."


def answer(results: Results) -> Answer:
    """Return which method is best at each sparsity, as far as the results go.

    A score counts once all its tasks are there, over the runs present so far.
    """
    downstream = main_rows(results.downstream)
    tasks = downstream["task"].unique(maintain_order=True).to_list()
    if not tasks:
        return _without_tasks(results)
    headline = AVERAGE if len(tasks) > 1 else tasks[0]
    each = runs(results.downstream).filter(pl.col("task") == headline)
    scores = means(each).drop_nulls("mean")
    pruned = scores.filter(pl.col("method") != DENSE)
    pairs = {
        (row["model"], row["sparsity"], frozenset((row["a"], row["b"]))): row
        for row in comparisons(each).iter_rows(named=True)
    }
    leads: list[Lead] = []
    for model in pruned["model"].unique(maintain_order=True):
        here = pruned.filter(model=model).sort("mean", descending=True, maintain_order=True)
        for cell, group in by_cell(here.sort("sparsity", maintain_order=True), "sparsity"):
            first, *others = group.to_dicts()
            lead = Lead(model, cell.sparsity, first["method"], first["mean"], no_better(first))
            if others:
                names = frozenset((first["method"], others[0]["method"]))
                lead = _compared(lead, others[0], pairs.get((model, cell.sparsity, names)))
            leads.append(lead)
    dense = scores.filter(pl.col("method") == DENSE)
    words = f"average over {len(tasks)} tasks" if len(tasks) > 1 else f"score on {tasks[0]}"
    return Answer(
        words, tuple(leads), dict(dense.select("model", "mean").iter_rows()),
        downstream["best"].count(), downstream.height,
    )  # fmt: skip


def _compared(lead: Lead, second: dict[str, Any], pair: dict[str, Any] | None) -> Lead:
    """Return the lead with its margin over the runner-up, and whether that is beyond noise."""
    margin, noise, reason = lead.score - second["mean"], "unknown", "no run that both have"
    if pair and pair["effect"] is not None:
        margin = pair["effect"] if pair["a"] == lead.method else -pair["effect"]
        reason = pair["reason"]
        if pair["p_holm"] is not None:
            noise, reason = ("beyond" if pair["p_holm"] < ALPHA and margin > 0 else "within"), ""
    return replace(lead, second=second["method"], margin=margin, noise=noise, reason=reason)


def _clause(leads: Sequence[Lead]) -> str:
    first, places = leads[0], [f"{lead.sparsity * 100:.4g}" for lead in leads]
    listed = " and ".join([", ".join(places[:-1]), places[-1]] if len(places) > 1 else places)
    parts = [f"{number(first.score)} %"] if len(leads) == 1 else []
    if first.constant:
        parts.append("no better than a constant answer")
    margins = [lead.margin for lead in leads if lead.margin is not None]
    if margins:
        low, high = number(min(margins)), number(max(margins))
        seconds = dict.fromkeys(lead.second for lead in leads)
        next_one = str(first.second) if len(seconds) == 1 else "the next"
        size = low if low == high else f"{low} to {high}"
        parts.append(f"{size} points above {next_one}")
        noise = {"beyond": "beyond noise", "within": "within noise",
                 "unknown": f"noise unknown: {first.reason}"}  # fmt: skip
        parts.append(noise[first.noise])
    return f"{first.method} at {listed} %" + (f" ({', '.join(parts)})" if parts else "")


def _without_tasks(results: Results) -> Answer:
    table = losses(results.pretrain)
    found = table.filter(pl.col("method") != DENSE).drop_nulls("mlm_loss")
    lowest: list[str] = []
    for cell, group in by_cell(found.sort("sparsity", maintain_order=True), "model", "sparsity"):
        best = group.sort("mlm_loss", maintain_order=True).row(0, named=True)
        lowest.append(
            f"Lowest MLM loss of {cell.model} at {cell.sparsity * 100:.4g} %: {best['method']} "
            f"({best['mlm_loss']:.3f} nats)."
        )
    return Answer(
        "", (), {}, int(table["n"].sum()), int(table["n_expected"].sum()), tuple(lowest)
    )  # fmt: skip
