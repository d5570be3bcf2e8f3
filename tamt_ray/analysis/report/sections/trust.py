"""Section: limits of the numbers."""

from collections.abc import Iterator

from tamt_ray.analysis.report.blocks import Block, Bullets, Fold
from tamt_ray.analysis.report.context import Context
from tamt_ray.analysis.results import main_rows
from tamt_ray.analysis.stats.trajectories import MIN_TRAVEL, travels

_PAPER_STEPS = (3_000, 22_000)
"""Fewest and most optimiser steps of a mask training in the paper (Tab. 2)."""
_CHOICE = {
    "all": "A score is the best dev value seen in training, as in the paper; picked on the data it "
    "is measured on, it is higher than a value on unseen data would be. The last dev value is in "
    "the Parquet table beside it.",
    "half": "A score is the dev value of the evaluation that is best on the other half of the dev "
    "set, the mean of both ways; the paper's is the best value on all of it.",
}


def section(context: Context) -> Iterator[Block]:
    """Yield the limits of this sweep, and behind a line those of every sweep."""
    data = context.data
    masks, seeds = len(data.sweep.mask_seeds), len(data.sweep.finetune_seeds)
    words = [
        f"Up to {masks * seeds} runs stand behind a number (mask seeds: {masks}, fine-tuning "
        f"seeds: {seeds}); for OMP and the dense model {seeds}, since there is one mask. Their "
        "intervals therefore say nothing about how a search varies."
    ]
    if masks == 1 or seeds == 1:
        words.append(
            "One seed says nothing about how results vary with it, so this sweep decides no "
            "difference between searched masks: give both kinds two seeds at least, better three."
        )
    searches = main_rows(data.searches)
    steps = searches["planned_steps"].drop_nulls().unique().sort().to_list()
    least, most = _PAPER_STEPS
    if steps and steps[-1] < least:
        span = f"{steps[0]:,}" if steps[0] == steps[-1] else f"{steps[0]:,} to {steps[-1]:,}"
        words.append(
            f"The trained searches took {span} steps; the paper's take {least:,} to {most:,}. "
            "That shows that everything works and in which direction things move. It is a "
            "demonstration and does not decide which method is better."
        )
    short = {method for (_, method, _), travel in travels(data.plan).items() if travel < MIN_TRAVEL}
    if short:
        words.append(
            f"Scores of {', '.join(sorted(short))} can move less than {MIN_TRAVEL:g} φ (see Cost), "
            "so these masks can hardly leave their start: they say more about that than about mask "
            "training. More steps or a higher learning rate would change that."
        )
    if any(task.max_train or task.max_validation for task in data.sweep.tasks.values()):
        words.append(
            "Some tasks use part of their data, so scores are not comparable with published ones."
        )
    shared = searches.filter(searches["unit"].is_duplicated())
    if not shared.is_empty():
        names = ", ".join(shared["method"].unique().sort())
        words.append(
            f"Some masks of {names} are one and the same (the first level of IMP is OMP); they "
            "are computed once, shown under each name, and count once in correlations."
        )
    yield Bullets([*words, _CHOICE[data.sweep.report.select]])
    yield Fold("True of every sweep", [Bullets(_ALWAYS)])


_ALWAYS = (
    "Intervals of means and differences take mask seeds and fine-tuning seeds as two crossed "
    "random factors and use Student's t; in simulations of such sweeps they hold the truth in 93 % "
    "of cases or more. With one seed of either kind there is none, and no p value. They describe "
    "the seeds of this sweep, not other data or models.",
    "Intervals in figures and score tables describe one number each and are no test of a "
    "difference; that is what the paired differences are for, which are corrected for the number "
    "of pairs at one sparsity. Intervals of correlations resample all masks of one method at one "
    "sparsity together, since they are alike, and take at least four such groups.",
)
