"""The beginning of the report: what was run, how complete it is, what came out in short."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from tamt_ray.analysis.report.html import Html, folded, join, table, tag
from tamt_ray.analysis.report_data import ReportData
from tamt_ray.analysis.stats.averages import AVERAGE
from tamt_ray.analysis.stats.baselines import no_better
from tamt_ray.analysis.stats.summary import CONSTANT, MISSING, spread
from tamt_ray.plan.config import KINDS, Kind
from tamt_ray.plan.expand import DENSE, Plan
from tamt_ray.store.record import Failure
from tamt_ray.tasks.base import Task

KIND_NAMES: dict[Kind, str] = {
    "head": "MLM heads",
    "search": "searches for a mask",
    "pretrain_eval": "pre-training evaluations",
    "finetune": "fine-tunes",
}


def opening(material: ReportData, contents: str = "") -> Html:
    """Title, facts, completeness, failures; the list of `contents` before these."""
    sweep = material.sweep
    devices = sorted({record.device for record in material.records.values()})
    facts: dict[str, Html] = {
        "models": _lines(
            join([name, " · ", tag("code", model.source)]) for name, model in sweep.models.items()
        ),
        "methods": join(
            [
                "full (the dense model)",
                *(m.name if m.name == m.word else f"{m.name} ({m.word})" for m in sweep.methods),
            ],
            ", ",
        ),
        "sparsities": join([", ".join(f"{sparsity:.3g}" for sparsity in sweep.sparsities)]),
        "mask seeds": join([", ".join(map(str, sweep.mask_seeds)), " (OMP has one mask)"]),
        "fine-tuning seeds": join([", ".join(map(str, sweep.finetune_seeds))]),
        "tasks": _lines(join([_task_words(name, task)]) for name, task in sweep.tasks.items()),
        "computed on": join([", ".join(devices) or "nothing yet"]),
    }
    return join(
        [
            tag("h1", sweep.name),
            tag(
                "p",
                "Subnetworks of pre-trained language models: how good each is on downstream tasks, "
                "and how well it still does what it was pre-trained for.",
                class_="lead",
            ),
            tag("dl", *(join([tag("dt", name), tag("dd", text)]) for name, text in facts.items())),
            contents,
            tag("h2", "How complete it is"),
            _completeness(material),
            _failures(material.failures),
        ]
    )


def in_short(material: ReportData) -> Html:
    """For each model and sparsity the best and the worst subnetwork against the dense model."""
    task = material.tasks[0]
    scores = material.averages.filter(pl.col("task") == task)
    rows: list[list[str]] = []
    for model in material.sweep.models:
        each = scores.filter(pl.col("model") == model)
        whole = each.filter(pl.col("method") == DENSE)["mean"]
        dense: float | None = whole[0] if len(whole) else None
        for sparsity in material.sweep.sparsities:
            of_all = each.filter((pl.col("method") != DENSE) & (pl.col("sparsity") == sparsity))
            found = of_all.drop_nulls("mean").sort("mean", maintain_order=True).to_dicts()
            if not found:
                continue
            worst, best = found[0], found[-1]
            partial = of_all.filter(pl.col("missing") > 0)["method"].to_list()
            rows.append(
                [
                    model,
                    f"{sparsity * 100:.4g} %",
                    tag("td", tag("b", best["method"]), f" {_score(best)}"),
                    f"{best['mean'] / dense:.0%}" if dense and dense > 0 else MISSING,
                    f"{worst['method']} {_score(worst)}",
                    ", ".join(partial) or MISSING,
                ]
            )
    if not rows:
        return Html("")
    what = "average over tasks" if task == AVERAGE else task
    head = ["model", "removed", "highest", "of the dense model", "lowest", "runs still missing for"]
    caption = (
        f"Score in percent ({what}), mean ± standard deviation over runs; “{CONSTANT}”: no better "
        "than the best constant answer."
    )
    return table(head, rows, caption, kind="words")


def duration(seconds: float) -> str:
    """Whole hours, minutes or seconds, the two largest."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.3g} s"


def _score(row: dict[str, Any]) -> str:
    text = spread(row["mean"], row["std"])
    return f"{text} {CONSTANT}" if no_better(row) else text


def _completeness(material: ReportData) -> Html:
    units = material.plan.units
    states: dict[Kind, Counter[str]] = {kind: Counter[str]() for kind in KINDS}
    seconds = dict.fromkeys(KINDS, 0.0)
    blocked = _blocked(material.plan, material.failures)
    for unit_id, unit in units.items():
        if record := material.records.get(unit_id):
            states[unit.kind]["done"] += 1
            seconds[unit.kind] += record.seconds
        elif unit_id in material.failures:
            states[unit.kind]["failed"] += 1
        else:
            states[unit.kind]["blocked" if unit_id in blocked else "missing"] += 1
    done = sum(state["done"] for state in states.values())
    verdict = (
        f"Complete: all {len(units):,} units have a result."
        if done == len(units)
        else f"Incomplete: {done:,} of {len(units):,} units have a result. What is missing is "
        "shown as missing below and is part of no average."
    )
    rows = [
        [
            KIND_NAMES[kind],
            f"{sum(state.values()):,}",
            *(f"{state[name]:,}" for name in ("done", "failed", "blocked", "missing")),
            duration(seconds[kind]),
        ]
        for kind, state in states.items()
        if state
    ]
    head = ["", "planned", "done", "failed", "held up by a failure", "not run yet", "time of work"]
    return join(
        [
            tag("p", tag("b", verdict), class_="" if done == len(units) else "warn"),
            table(head, rows),
        ]
    )


def _blocked(plan: Plan, failures: Mapping[str, Failure]) -> set[str]:
    """Units that need a failed one; what is needed comes first in a plan."""
    held = set(failures)
    for unit_id, unit in plan.units.items():
        if any(need in held for need in unit.needs):
            held.add(unit_id)
    return held - set(failures)


def _failures(failures: Mapping[str, Failure]) -> Html:
    if not failures:
        return Html("")
    causes: dict[tuple[str, str], list[str]] = defaultdict(list)
    for failure in failures.values():
        causes[failure.error, failure.message].append(f"{failure.kind} {failure.cell}")
    rows = [
        [error, message, str(len(names)), "; ".join(sorted(names)[:8]) + (" …" * (len(names) > 8))]
        for (error, message), names in sorted(causes.items())
    ]
    found = table(["error", "message", "units", "which"], rows, kind="words")
    title = f"Why units failed ({len(failures)})"
    return join([tag("h3", title), found]) if len(rows) <= 5 else folded(title, found)


def _task_words(name: str, task: Task) -> str:
    words = f"{name} · {task.words}, {task.metric.replace('_', ' ')}"
    if task.max_train:
        words += f", at most {task.max_train:,} training examples"
    if task.max_validation:
        words += f", at most {task.max_validation:,} validation examples"
    return words


def _lines(parts: Iterable[Html]) -> Html:
    return join(parts, Html("<br>"))
