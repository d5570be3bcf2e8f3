"""Printed views of a plan, a unit or a matrix."""

import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from fnmatch import fnmatchcase

from rich.table import Table

from tamt_ray.cli.speech import fail, out
from tamt_ray.cli.sweep_context import SweepContext
from tamt_ray.cli.tables import failure_lines, method_table, plain_table, plan_table
from tamt_ray.cli.tune import hours_at_most, plan_of_studies, studies_table
from tamt_ray.plan.cost import Prices, spoken
from tamt_ray.plan.status import Decision, decide, longest_chain, method_costs, tally, unit_path
from tamt_ray.plan.unit import Unit
from tamt_ray.spec.execution import Execution
from tamt_ray.spec.origin import method_settings, model_settings, search_settings
from tamt_ray.spec.sweep import Sweep
from tamt_ray.store.damage import Damage
from tamt_ray.values.identity import written


def print_plan(opened: SweepContext, as_json: bool, remarks: Iterable[str] | None = None) -> None:
    """Print by kind what is done, what would run and its cost; with `remarks` by method too."""
    known = opened.prices()
    decisions = decide(opened.plan, opened.records, opened.failures)
    statuses = tally(opened.plan, decisions, known)
    hours = sum(status.gpu_hours for status in statuses.values())
    masks = len(opened.plan.masks)
    studies = opened.survey.outcomes if opened.survey else ()
    hours += hours_at_most(studies, known)
    if as_json:
        units = {
            kind: {name: value for name, value in asdict(status).items() if name != "gpu_hours"}
            for kind, status in statuses.items()
        }
        body: dict[str, object] = {
            "units": units, "masks": masks, "gpu_hours": round(hours, 2), "device": known.device,
        }  # fmt: skip
        if studies:
            body["studies"] = plan_of_studies(studies)
        sys.stdout.write(json.dumps(body) + "\n")
        return
    if studies:
        out.print(studies_table(studies))
        out.print("of the trials drawn so far:")
    out.print(plan_table(statuses, known))
    if remarks is not None and not studies and hours:
        costs = method_costs(opened.plan, decisions, known)
        out.print()
        out.print(method_table(costs, _steps_by_default(opened.sweep)))
        out.print()
    execution = opened.sweep.execution
    chain = 0.0 if studies else longest_chain(opened.plan, decisions, known)
    price = _price(hours, chain, known, execution)
    out.print(f"{masks} subnetworks; {'at most ' if studies else ''}{price}")
    if hours and not known.on_cpus and not execution.price:
        out.print(
            f"{hours:,.1f} GPU hours; set `execution.price` to the price of one to see the cost",
            highlight=False,
        )
    _print_gangs(opened, decisions, known)
    # Columns of the table count the others.
    for decision in (Decision.SET_ASIDE, Decision.BLOCKED):
        if count := Counter(decisions.values())[decision]:
            out.print(f"{count:,} of the units: {decision.value}", highlight=False)
    for remark in remarks or ():
        out.print(remark, highlight=False)
    out.print(f"store: {opened.store.uri}", highlight=False)
    out.print(f"run it: python -m tamt_ray.sweep {opened.words}")


def _steps_by_default(sweep: Sweep) -> set[str]:
    """Return the methods whose number of steps does not come from the sweep file."""
    return {
        method.name
        for method in sweep.methods
        for setting in method_settings(method)
        if setting.name == "steps" and setting.origin != "sweep file"
    }


def _print_gangs(opened: SweepContext, decisions: Mapping[str, Decision], known: Prices) -> None:
    """Print where a search step has work for more workers than a gang has, and where searches wait
    for each other while GPUs are idle."""
    units, training, lane = opened.plan.units, opened.sweep.search, opened.sweep.execution.search
    trained = [d for unit_id, d in decisions.items() if units[unit_id].lane == "gang"]
    pieces = -(-training.batch_size // training.micro_batch)
    if trained and pieces > lane.workers:
        out.print(
            f"a search step is {pieces} × {training.micro_batch} blocks (search.micro_batch): work "
            f"for {pieces} workers per gang (execution.search.workers: {lane.workers})",
            highlight=False,
        )
    to_run = sum(decision in {Decision.RUN, Decision.WAIT} for decision in trained)
    if to_run > 1 and lane.gangs == 1 and not known.on_cpus and not opened.survey:
        out.print(
            f"searches run one at a time, on {lane.workers} of the GPUs; "
            "`execution.search.gangs: auto` uses all",
            highlight=False,
        )


def _price(hours: float, chain: float, known: Prices, execution: Execution) -> str:
    """Return the time left in words, of which device it is, and what it costs; `chain`: hours that
    the longest chain of units takes."""
    if not hours:
        return "nothing left to run"
    basis = f"measured on {known.measured} units" if known.measured else "rough: none measured yet"
    if known.measured and known.on_cpus:
        basis += ", for a machine without other work"
    cost = f", {hours * execution.price:,.2f} dollars" if execution.price else ""
    share = max(1.0, execution.finetune.cpus)
    if execution.growth:
        kinds = execution.growth
        devices = sum(k.nodes * (k.cpus / share if known.on_cpus else k.gpus) for k in kinds)
        where = "`execution.growth`"
    else:
        devices = (os.cpu_count() or 1) / share if known.on_cpus else 0
        where = "this machine"
    if (number := int(devices)) > 1:
        all_of = f", {spoken(max(hours / number, chain) * 3600)} on the {number} of {where}"
    elif chain and not known.on_cpus:
        all_of = f", at least {spoken(chain * 3600)} on any number of them"
    else:
        all_of = ""
    return f"about {spoken(hours * 3600)} left on one {known.device}{all_of}{cost} ({basis})"


def print_troubles(opened: SweepContext) -> None:
    """Print what failed, what is damaged, and the commands that help."""
    for line in failure_lines(opened.failures):
        out.print(line, style="red", highlight=False, markup=False)
    for damage in opened.damaged:
        out.print(damage_line(opened, damage), style="yellow")
    if opened.failures:
        first = next(iter(opened.failures))[:8]
        out.print(f"try them again: python -m tamt_ray.sweep {opened.words} --retry-failed")
        out.print(f"what a worker wrote: tamt logs {opened.words} {first}")


def print_unit(opened: SweepContext, chosen: str) -> None:
    """Print all that decides one result."""
    found = one(opened, chosen, opened.plan.units)
    decision = decide(opened.plan, opened.records, opened.failures)[found.id]
    body = {
        "id": found.id, "path": unit_path(found), "decision": decision.value,
        "parents": list(found.parents), "config": written(found.config),
    }  # fmt: skip
    out.print_json(json.dumps(body))


def print_settings(opened: SweepContext, as_json: bool) -> None:
    """Print every setting of each model, the search and each method, and where it comes from."""
    sweep = opened.sweep
    parts = {f"model {name}": model_settings(sweep, m) for name, m in sweep.models.items()}
    parts["search"] = search_settings(sweep)
    for m in sweep.methods:
        parts[f"method {m.name} ({m.word}, recipe {m.recipe})"] = method_settings(m)
    if as_json:
        body = {
            part: {
                setting.name: {"value": setting.value, "from": setting.origin} for setting in each
            }
            for part, each in parts.items()
        }
        sys.stdout.write(json.dumps(body) + "\n")
        return
    for part, settings in parts.items():
        table = Table(title=part, title_justify="left", box=None, pad_edge=False)
        table.add_column("setting")
        table.add_column("value", overflow="fold")
        table.add_column("from")
        for each in settings:
            value = each.value if isinstance(each.value, str) else json.dumps(each.value)
            table.add_row(each.name, value, each.origin)
        if settings:
            out.print(table)
            out.print()


def print_verified(opened: SweepContext, damaged: Sequence[Damage], as_json: bool) -> None:
    """Print the number of results that were read, and the damaged ones."""
    files = sum(len(record.artifacts) for record in opened.records.values())
    if as_json:
        each = [
            {"id": d.id, "path": unit_path(opened.plan.units[d.id]), "file": d.path, "why": d.why}
            for d in damaged
        ]
        body = {"results": len(opened.records), "files": files, "damaged": each}
        sys.stdout.write(json.dumps(body) + "\n")
        return
    for damage in damaged:
        out.print(damage_line(opened, damage), style="yellow")
    out.print(f"{len(opened.records)} results, {files} files, {len(damaged)} damaged")


def print_matrices(opened: SweepContext, as_json: bool) -> None:
    """Print the matrices that are pruned of each model, whose checkpoint is fetched for that."""
    from tamt_ray.data.cache import SourceError
    from tamt_ray.data.checkpoint import load_checkpoint
    from tamt_ray.masks.matrices import UnsupportedModelError
    from tamt_ray.search.language_model import LanguageModel

    found: dict[str, dict[str, tuple[int, ...]]] = {}
    try:
        for name, model in opened.sweep.models.items():
            path = load_checkpoint(model.source).path
            dense = LanguageModel(path, prune=model.prune, pooler=model.pooler).dense
            found[name] = {matrix: tuple(weight.shape) for matrix, weight in dense.items()}
    except (SourceError, UnsupportedModelError, ValueError) as error:
        fail(2, f"{opened.file}: {error}")
    if as_json:
        sys.stdout.write(json.dumps(found) + "\n")
        return
    for model, matrices in found.items():
        total = sum(rows * columns for rows, columns in matrices.values())
        title = f"model {model}: {len(matrices)} matrices, {total:,} weights"
        table = plain_table("matrix", "out", "in", "weights", title=title)
        for name, (rows, columns) in matrices.items():
            table.add_row(name, str(rows), str(columns), f"{rows * columns:,}")
        out.print(table)
        out.print()


def one(opened: SweepContext, chosen: str, among: Iterable[str]) -> Unit:
    """Return the one unit meant; where there are several, they are listed and the call ends with
    2."""
    units = [opened.plan.units[unit_id] for unit_id in among]
    found = [u for u in units if u.id.startswith(chosen) or fnmatchcase(unit_path(u), chosen)]
    if len(found) == 1:
        return found[0]
    listed = "\n".join(f"  {u.id[:12]}  {unit_path(u)}" for u in (found or units)[:40])
    return fail(2, f"{len(found)} units of {opened.file} match {chosen!r}; name one of:\n{listed}")


def damage_line(opened: SweepContext, damage: Damage) -> str:
    """Return one line for people."""
    return f"damaged: {opened.plan.units[damage.id]}: {damage}; the next run computes it again"
