"""Records as tables: one row for each point of the grid, empty where no record exists yet."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

from tamt_ray.methods.base import Search
from tamt_ray.plan.expand import Plan
from tamt_ray.plan.unit import Cell, FinetuneConfig, Kind, PretrainEvalConfig
from tamt_ray.store.record import Record
from tamt_ray.tasks.scores import led_by

SUBNETWORK = ("model", "method", "sparsity", "mask_seed", "checkpoint")
"""The coordinates of one subnetwork."""
_SUBNETWORK = {
    "model": pl.String, "method": pl.String, "sparsity": pl.Float64, "mask_seed": pl.Int64,
    "checkpoint": pl.Int64,
}  # fmt: skip
_COST = {"iterations": pl.Int64, "search_seconds": pl.Float64, "device": pl.String}
_DOWNSTREAM = {
    **_SUBNETWORK, "task": pl.String, "role": pl.String, "train_size": pl.Int64,
    "seed": pl.Int64, "unit": pl.String, "metric": pl.String, "best": pl.Float64,
    "last": pl.Float64, "best_step": pl.Int64, "optimism": pl.Float64, "steps": pl.Int64,
    "examples": pl.Int64, **_COST,
}  # fmt: skip
_PRETRAIN = {
    **_SUBNETWORK, "unit": pl.String, "mlm_loss": pl.Float64, "kd_loss": pl.Float64, **_COST,
}  # fmt: skip
_SEARCHES = {
    **_SUBNETWORK, "unit": pl.String, "planned_steps": pl.Int64, "zeros": pl.Int64,
    "weights": pl.Int64, "steps": pl.Int64, "seconds": pl.Float64, **_COST,
}  # fmt: skip

_Value = str | float | int | None


@dataclass(frozen=True)
class Results:
    """All measurements, in the order of the plan; `unit` is the id behind a row.

    `mask_seed` is null for the dense model (method "full", sparsity 0) and for OMP. `checkpoint`,
    optimiser steps, is null in the main results and set where a mask was kept on the way there.
    Of the search behind the mask: `iterations`, optimiser steps of all its levels, 0 where
    nothing is trained; `search_seconds` of training on `device`. Both are null for the dense model
    and for masks out of files.
    """

    downstream: pl.DataFrame
    """A row for each fine-tune. `best` and `last`: the headline metric, named in `metric`, at its
    best and at its last dev evaluation, fractions in [-1, 1]; further columns: every other metric
    at the best step, `_2` for a second validation set; `optimism`: how much `best` gains because it
    is chosen on what it measures. With `report.select: half` both halves are averaged and there is
    no `best_step`. `train_size`: null on all training data. `role`: the paper's task that `task`
    stands for."""
    pretrain: pl.DataFrame
    """A row for each subnetwork. `mlm_loss`: nats per token; `kd_loss`: mean cosine distance;
    further columns: the loss of every other term that some method trains on."""


def collect(plan: Plan, records: Mapping[str, Record]) -> Results:
    """Return every cell of the plan with the values of its record; records of other units are
    ignored."""
    return Results(
        downstream=_table(plan, records, "finetune", _with_others(plan, records, _DOWNSTREAM)),
        pretrain=_table(plan, records, "pretrain_eval", _with_others(plan, records, _PRETRAIN)),
    )


def _with_others(
    plan: Plan, records: Mapping[str, Record], schema: Mapping[str, type[pl.DataType]]
) -> dict[str, type[pl.DataType]]:
    """Return the columns with those of further metrics or losses."""
    kind: Kind = "finetune" if "task" in schema else "pretrain_eval"
    units = plan.cells[kind].values()
    measured = {name for unit in units for name in _metrics(plan, records, unit)}
    further = sorted(measured - schema.keys() - {"predicted_tokens"})
    return {**schema, **dict.fromkeys(further, pl.Float64)}


def collect_searches(plan: Plan, records: Mapping[str, Record]) -> pl.DataFrame:
    """Return a row for each mask the grid asks for: zeros, training steps, wall seconds, device."""
    return _table(plan, records, "search", _SEARCHES)


def by_cell(table: pl.DataFrame, *names: str) -> Iterator[tuple[Cell, pl.DataFrame]]:
    """Yield the rows of each cell, grouped by some of its coordinates, in table order."""
    for values, rows in table.group_by(*names, maintain_order=True):
        coordinates: dict[str, Any] = dict(zip(names, values, strict=True))
        yield Cell(**coordinates), rows


def main_rows(table: pl.DataFrame, keep: Collection[str] = ()) -> pl.DataFrame:
    """Return the rows of the main results: no checkpoints, all training data.

    `keep`: "checkpoint" or "train_size", to have the rows that go beyond in that one too.
    """
    beyond = [
        name for name in ("checkpoint", "train_size") if name in table.columns and name not in keep
    ]
    return table.filter(*(pl.col(name).is_null() for name in beyond))


def _table(
    plan: Plan,
    records: Mapping[str, Record],
    kind: Kind,
    schema: Mapping[str, type[pl.DataType]],
) -> pl.DataFrame:
    rows: list[list[_Value]] = []
    for cell, unit in plan.cells[kind].items():
        row = {**_row(plan, records, unit), **asdict(cell)}
        rows.append([row.get(name) for name in schema])
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(schema)
    return pl.DataFrame(
        [
            pl.Series(name, values, dtype=dtype, strict=False)
            for (name, dtype), values in zip(schema.items(), columns, strict=True)
        ]
    )


def _row(plan: Plan, records: Mapping[str, Record], unit: str) -> dict[str, _Value]:
    record, config = records.get(unit), plan.units[unit].config
    found: dict[str, _Value] = {**_metrics(plan, records, unit), "unit": unit}
    if record and config.kind == "search":
        found["seconds"] = record.metrics.get("seconds", record.seconds)
    if isinstance(config, FinetuneConfig):
        found |= {"metric": config.task.metric, "role": config.task.role}
    elif isinstance(config, Search):
        found["planned_steps"] = config.own_steps or None
    search = config.mask if isinstance(config, FinetuneConfig | PretrainEvalConfig) else unit
    return {**found, **_cost(plan, records, search)} if search else found


def _metrics(plan: Plan, records: Mapping[str, Record], unit: str) -> dict[str, float]:
    """Return a unit's numbers, those of a fine-tune led by its task's headline metric."""
    record, config = records.get(unit), plan.units[unit].config
    if record is None:
        return {}
    if isinstance(config, FinetuneConfig):
        return led_by(config.task.metric, record.metrics, plan.select)
    return record.metrics


def _cost(plan: Plan, records: Mapping[str, Record], unit_id: str) -> dict[str, _Value]:
    search, record = plan.units[unit_id].config, records.get(unit_id)
    assert isinstance(search, Search)
    return {
        "iterations": search.iterations,
        # A mask out of a file does not say what it has cost.
        "search_seconds": record.metrics.get("search_seconds") if record else None,
        "device": " / ".join(sorted(_devices(plan, records, unit_id))) or None,
    }


def _devices(plan: Plan, records: Mapping[str, Record], unit_id: str | None) -> set[str]:
    """Return the devices of a search, with those of the levels below it and of the shorter training
    that it continues."""
    found = set[str]()
    while unit_id and unit_id in plan.units:
        if record := records.get(unit_id):
            found.add(record.device)
        unit = plan.units[unit_id]
        below = unit.config.below if isinstance(unit.config, Search) else None
        unit_id = below or unit.after
    return found
