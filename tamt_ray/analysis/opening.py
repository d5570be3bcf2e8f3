"""The beginning of the report: what was run, how complete it is, what came out in short."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

import polars as pl

from tamt_ray.analysis.averages import AVERAGE
from tamt_ray.analysis.html import Html, folded, join, table, tag
from tamt_ray.analysis.material import Material
from tamt_ray.analysis.summary import spread
from tamt_ray.plan.expand import DENSE, Plan
from tamt_ray.plan.unit import KINDS, Kind
from tamt_ray.spec.task import Spans, Task
from tamt_ray.store.record import Failure

KIND_NAMES: dict[Kind, str] = {
    "head": "MLM heads",
    "search": "searches for a mask",
    "pretrain_eval": "pre-training evaluations",
    "finetune": "fine-tunes",
}


def opening(material: Material) -> Html:
    """Title, facts, completeness, failures."""
    sweep = material.sweep
    devices = sorted({record.device for record in material.records.values()})
    facts: dict[str, Html] = {
        "models": _lines(
            join([name, " · ", tag("code", model.source)]) for name, model in sweep.models.items()
        ),
        "methods": join(
            [
                "full (the dense model)",
                *(
                    m.name if m.name == m.method else f"{m.name} ({m.method})"
                    for m in sweep.methods
                ),
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
            tag("h2", "How complete it is"),
            _completeness(material),
            _failures(material.failures),
        ]
    )


def in_short(material: Material) -> Html:
    """For each model and sparsity the best subnetwork on average, against the dense model."""
    tasks = material.tasks
    items: list[Html] = []
    for model in material.sweep.models:
        rows = material.averages.filter(
            (pl.col("model") == model) & (pl.col("task") == (tasks[0] if tasks else AVERAGE))
        ).drop_nulls("mean")
        dense = rows.filter(pl.col("method") == DENSE).to_dicts()
        for sparsity in material.sweep.sparsities:
            found = rows.filter((pl.col("method") != DENSE) & (pl.col("sparsity") == sparsity))
            if found.is_empty():
                continue
            best, worst = (
                found.sort("mean", descending=d).row(0, named=True) for d in (True, False)
            )
            words = [
                tag("b", f"{model}, {sparsity:.0%} of the weights removed: "),
                f"{best['method']} scores highest with {spread(best['mean'], best['std'])}",
            ]
            if dense:
                whole = dense[0]["mean"]
                share = f", {best['mean'] / whole:.0%} of it" if whole > 0 else ""
                words.append(f" (dense model {spread(whole, dense[0]['std'])}{share})")
            if len(found) > 1:
                words.append(
                    f"; {worst['method']} lowest with {spread(worst['mean'], worst['std'])}"
                )
            partial = found.filter(pl.col("missing") > 0)["method"].to_list()
            if partial:
                words.append(f"; runs are still missing for {', '.join(partial)}")
            absent = len(material.sweep.methods) - len(found)
            if absent:
                words.append(f"; {absent} methods have no complete run yet")
            items.append(tag("li", *words, "."))
    if not items:
        return Html("")
    what = "average over tasks" if len(tasks) > 1 else tasks[0]
    return join(
        [
            tag("h2", "In short"),
            tag("p", f"Scores are in percent: {what}, mean ± standard deviation over runs."),
            tag("ul", *items),
        ]
    )


def duration(seconds: float) -> str:
    """Whole hours, minutes or seconds, the two largest."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.3g} s"


def _completeness(material: Material) -> Html:
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
    """Units below a failed one; parents come before children in a plan."""
    held = set(failures)
    for unit_id, unit in plan.units.items():
        if any(parent in held for parent in unit.parents):
            held.add(unit_id)
    return held - set(failures)


def _failures(failures: Mapping[str, Failure]) -> Html:
    if not failures:
        return Html("")
    causes: dict[tuple[str, str], list[str]] = defaultdict(list)
    for failure in failures.values():
        words = " ".join(str(value) for value in failure.labels.values())
        causes[failure.error, failure.message].append(f"{failure.kind} {words}")
    rows = [
        [error, message, str(len(names)), "; ".join(sorted(names)[:8]) + (" …" * (len(names) > 8))]
        for (error, message), names in sorted(causes.items())
    ]
    found = table(["error", "message", "units", "which"], rows, kind="words")
    title = f"Why units failed ({len(failures)})"
    return join([tag("h3", title), found]) if len(rows) <= 5 else folded(title, found)


def _task_words(name: str, task: Task) -> str:
    kind = "span extraction" if isinstance(task, Spans) else task.kind
    words = f"{name} · {kind}, {task.metric.replace('_', ' ')}"
    if task.max_train:
        words += f", at most {task.max_train:,} training examples"
    if task.max_validation:
        words += f", at most {task.max_validation:,} validation examples"
    return words


def _lines(parts: Iterable[Html]) -> Html:
    return join(parts, Html("<br>"))
