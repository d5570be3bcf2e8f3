"""The end of the report: how far to trust it, what was read, the sweep itself."""

from collections import defaultdict

import polars as pl
import yaml

from tamt_ray.analysis.report.html import Html, folded, join, table, tag
from tamt_ray.analysis.report_data import ReportData
from tamt_ray.analysis.results import main_rows
from tamt_ray.analysis.stats.travel import ENOUGH, travels

_PAPER_STEPS = (3_000, 22_000)
"""Fewest and most optimiser steps of a mask training in the paper (Tab. 2)."""
_CHOICE = {
    "all": "A score is the best dev value seen in training, as in the paper; picked on the data it "
    "is measured on, it is higher than a value on unseen data would be. The last dev value is in "
    "the Parquet table beside it.",
    "half": "A score is the dev value of the evaluation that is best on the other half of the dev "
    "set, the mean of both ways; the paper's is the best value on all of it.",
}


def caveats(material: ReportData) -> Html:
    """What the numbers can and cannot say."""
    sweep = material.sweep
    masks, seeds = len(sweep.mask_seeds), len(sweep.finetune_seeds)
    words = [
        f"Up to {masks * seeds} runs stand behind a number (mask seeds: {masks}, "
        f"fine-tuning seeds: {seeds}); for OMP and the dense model {seeds}, since there "
        "is one mask. Their intervals therefore say nothing about how a search varies.",
        "Intervals of means and differences take mask seeds and fine-tuning seeds as two crossed "
        "random factors and use Student's t; in simulations of such sweeps they hold the truth in "
        "93 % of cases or more. With one seed of either kind there is none, and no p value. They "
        "describe the seeds of this sweep, not other data or models.",
        _CHOICE[sweep.report.select],
        "Intervals in figures and score tables describe one number each and are no test of a "
        "difference; that is what the paired differences are for, which are corrected for the "
        "number of pairs at one sparsity. Intervals of correlations resample all masks of one "
        "method at one sparsity together, since they are alike, and take at least four such "
        "groups.",
    ]
    if masks == 1 or seeds == 1:
        words.insert(
            1,
            "One seed says nothing about how results vary with it, so this sweep decides no "
            "difference between searched masks: give both kinds two seeds at least, better three.",
        )
    searches = main_rows(material.searches)
    steps: list[int] = searches["planned_steps"].drop_nulls().unique().sort().to_list()
    least, most = _PAPER_STEPS
    if steps and steps[-1] < least:
        span = f"{steps[0]:,}" if steps[0] == steps[-1] else f"{steps[0]:,} to {steps[-1]:,}"
        words.append(
            f"The trained searches took {span} steps; the paper's take {least:,} to "
            f"{most:,}. That shows that everything works and in which "
            "direction things move. It is a demonstration and does not decide "
            "which method is better."
        )
    short = {method for (_, method, _), travel in travels(material.plan).items() if travel < ENOUGH}
    if short:
        words.append(
            f"Scores of {', '.join(sorted(short))} can move less than {ENOUGH:g} φ (see Settings), "
            "so these masks can hardly leave their start: they say more about that than about mask "
            "training. More steps or a higher learning rate would change that."
        )
    if any(task.max_train or task.max_validation for task in sweep.tasks.values()):
        words.append(
            "Some tasks use part of their data (see above), so scores are not comparable with "
            "published ones."
        )
    shared = searches.filter(pl.len().over("unit") > 1)
    if not shared.is_empty():
        names = ", ".join(shared["method"].unique().sort().to_list())
        words.append(
            f"Some masks of {names} are one and the same (the first level of IMP is OMP); they "
            "are computed once, shown under each name, and count once in correlations."
        )
    return tag("ul", *(tag("li", w) for w in words))


def sources(material: ReportData) -> Html:
    """Every source that was read, with the fingerprint of its content."""
    found: dict[str, set[str]] = defaultdict(set)
    versions: dict[str, set[str]] = defaultdict(set)
    for record in material.records.values():
        for source, fingerprint in record.sources.items():
            found[source].add(fingerprint)
        for name, version in record.versions.items():
            versions[name].add(version)
    rows = [
        [
            tag("code", source),
            join([tag("code", fingerprint) for fingerprint in sorted(found[source])], Html("<br>")),
            tag("td", "changed between units", class_="missing") if len(found[source]) > 1 else "",
        ]
        for source in sorted(found)
    ]
    used = ", ".join(f"{name} {' and '.join(sorted(versions[name]))}" for name in sorted(versions))
    return join(
        [
            tag("p", "What was read, with the fingerprint that its content had when it was read."),
            table(["source", "fingerprint", ""], rows, kind="words"),
            *([tag("p", f"Software: {used}.")] if used else []),
        ]
    )


def configuration(material: ReportData) -> Html:
    """The sweep as it was given, without the places where results lie."""
    given = material.sweep.model_dump(mode="json", exclude_unset=True, exclude={"store", "mlflow"})
    text = yaml.safe_dump(given, sort_keys=False, allow_unicode=True, width=100)
    return folded("Sweep file as read", tag("pre", text))
