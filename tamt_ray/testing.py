"""Checks for the authors of plug-ins: one call of pytest each, on a tiny model made on the spot.

The plug-in must be installed (`pip install -e .` in its folder). A check raises AssertionError with
a sentence that says which part of the contract is not kept.
"""

import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from multiprocessing import get_context
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import distributed

from tamt_ray.data.cache import SourceError
from tamt_ray.data.table import load_rows
from tamt_ray.execution.worker.checkpoint_policy import CheckpointPolicy
from tamt_ray.execution.worker.unit_runner import UnitRunner
from tamt_ray.masks.layout import Layout
from tamt_ray.masks.mask import Mask
from tamt_ray.masks.select import zeros_at
from tamt_ray.methods.base import Search
from tamt_ray.methods.registry import METHODS
from tamt_ray.plan.expand import expand
from tamt_ray.plan.unit import FinetuneConfig, Unit, parse_config
from tamt_ray.search.process_group import ProcessGroup
from tamt_ray.spec.sweep import Sweep
from tamt_ray.store.record import MASK, Record
from tamt_ray.tasks.metrics.base import Answers, Metric, Predictions
from tamt_ray.tasks.scores import led_by
from tamt_ray.toy import Playground, playground
from tamt_ray.values.identity import identity, written
from tamt_ray.values.plugin import HEAVY

Entry = str | Mapping[str, object]
_SAME_BITS = 0.98
"""Share of a mask's bits that two workers and one must agree on: sums in another order may flip a
weight at the border."""


def check_method(entry: Entry, *, sparsity: float = 0.5, exact: bool = True) -> None:
    """Assert that a method keeps its contract.

    `entry`: an item of `methods` in a sweep file, with few steps where it trains. Asserted are the
    exact sparsity of every matrix (unless not `exact`), equal masks from equal units, a stable
    identity that needs none of the heavy libraries, and for a method that trains in a gang that an
    interrupted search goes on to the same mask and that two workers find the mask of one.
    """
    with playground() as place:
        sweep = place.sweep(methods=[entry], sparsities=[sparsity], tasks={})
        units = list(expand(sweep).units.values())
        _check_identity(sweep, units)
        searches = [unit for unit in units if isinstance(unit.config, Search)]
        assert searches, f"{entry} yields no search"
        first = place.run(units, "first")
        for unit in searches:
            mask = place.mask(first[unit.id])
            assert isinstance(unit.config, Search)
            if exact:
                _check_zeros(mask, unit.config)
        second = place.run(units, "second")
        for unit in searches:
            found, again = (records[unit.id].artifacts[MASK].sha256 for records in (first, second))
            assert found == again, f"{unit} gave two different masks: it reads something unrecorded"
        trained = [unit for unit in searches if unit.config.lane == "gang"]
        if trained:
            _check_resume(place, units, trained[-1], first)
            _check_workers(place, units, trained[-1], first)


def check_objective(entry: Entry, *, steps: int = 4) -> None:
    """Assert that a loss term keeps its contract: its loss is finite, the same each time, 0 for the
    dense model if it distils, and mask training on it alone keeps the contract of a method."""
    with playground() as place:
        method = {"method": "tamt", "name": "checked", "objective": [entry], "steps": steps}
        sweep = place.sweep(methods=[method], sparsities=[0.5], tasks={})
        units = list(expand(sweep).units.values())
        (term,) = sweep.methods[0].terms
        records = place.run(units, "first")
        for unit in units:
            if unit.kind != "pretrain_eval":
                continue
            losses = records[unit.id].metrics
            assert term.curve in losses, f"{term.curve} is not among the losses of an evaluation"
            assert math.isfinite(losses[term.curve]), f"{term.curve} is {losses[term.curve]}"
            if term.distils and unit.cell.method == "full":
                assert losses[term.curve] == 0, f"{term.curve} of the dense model is not 0"
    check_method(method)


def check_metric(metric: type[Metric]) -> None:
    """Assert that a metric keeps its contract: a finite number, the same each time, also for
    constant predictions, and never worse for perfect predictions than for wrong ones."""
    kinds = get_args(Answers)
    assert metric.answers in kinds, f"{metric.name}: `answers` is one of {', '.join(kinds)}"
    draw = np.random.default_rng(0)
    gold_classes, other_classes = draw.integers(0, 3, 60), draw.integers(0, 3, 60)
    gold_numbers, other_numbers = draw.normal(size=(2, 60)).astype(np.float32)
    gold_texts = [(f"the answer {number}", f"answer {number}") for number in range(60)]

    def classes(predicted: np.ndarray) -> Predictions:
        return Predictions(gold_classes, predicted, np.eye(3, dtype=np.float32)[predicted], 3)

    wrong_texts = [f"word {number}" for number in range(60)]
    # Perfect, wrong and constant predictions.
    cases = {
        "classes": [classes(each) for each in (gold_classes, other_classes, gold_classes * 0)],
        "numbers": [
            Predictions(gold_numbers, each)
            for each in (gold_numbers, other_numbers, gold_numbers * 0)
        ],
        "texts": [
            Predictions(gold_texts, each)
            for each in ([texts[0] for texts in gold_texts], wrong_texts, [""] * 60)
        ],
    }[metric.answers]
    found, name = [metric.compute(each) for each in cases], metric.name
    finite = all(isinstance(value, float) and math.isfinite(value) for value in found)
    assert finite, f"{name} gives {found}; a metric is a finite float"
    again = [metric.compute(each) for each in cases]
    assert found == again, f"{name} gives another value the second time"
    better = found[0] >= found[1] if metric.higher_is_better else found[0] <= found[1]
    assert better, (
        f"{name} is {found[0]} for perfect predictions and {found[1]} for wrong ones; "
        "look at `higher_is_better`"
    )


def check_task(settings: Mapping[str, object], rows: Sequence[Mapping[str, object]]) -> None:
    """Assert that a kind of task keeps its contract.

    `settings`: its entry in a sweep file without `train` and `validation`. `rows`: some forty rows
    of data, as dictionaries. Asserted are the refusal of rows without a column, features that
    survive the cache, equal scores from equal fine-tunes, and pruned weights that stay zero.
    """
    with playground() as place:
        file = place.folder / "rows.parquet"
        pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), file)
        table = {"source": f"dir:{file}"}
        entry = {"batch_size": 4, "epochs": 1, "max_length": 24, **settings}
        entry |= {"train": table, "validation": [table]}
        sweep = place.sweep(methods=["omp"], sparsities=[0.5], tasks={"checked": entry})
        task = sweep.tasks["checked"]
        found = load_rows(task.train)
        task.check(found)
        for column in task.columns:
            lacking = type(found)(found.table.drop_columns([column]), "lacking")
            try:
                task.check(lacking)
            except (ValueError, SourceError):
                continue
            raise AssertionError(f"rows without the column {column!r} pass `check`")
        units = list(expand(sweep).units.values())
        _check_identity(sweep, units)
        first, second = place.run(units, "first"), place.run(units, "second")
        for unit in units:
            if not isinstance(unit.config, FinetuneConfig):
                continue
            scores = led_by(task.metric, first[unit.id].metrics)
            assert "best" in scores, f"{task.metric} is not among the scores"
            assert first[unit.id].metrics == second[unit.id].metrics, f"{unit} gave two results"
            assert scores["pruned_nonzero"] == 0, f"{unit} moved pruned weights"


def _check_zeros(mask: Mask, search: Search) -> None:
    """Check the number of pruned units in each group: of weights, where there is no pattern."""
    assert mask.pattern == search.pattern, f"the mask is {mask.pattern}, not {search.pattern}"
    layout = Layout({name: tuple(matrix.shape) for name, matrix in mask.items()}, search.pattern)
    for name, units in layout.pool({name: keep.float() for name, keep in mask.items()}).items():
        zeros = (units == 0).sum(1)
        asked = zeros_at(search.sparsity, units.shape[1])
        assert (zeros == asked).all(), f"{name} has {zeros.tolist()} zeros, {asked} were asked for"


_IDS = """
import json, sys
from tamt_ray.plan.expand import expand
from tamt_ray.spec.sweep import Sweep
units = expand(Sweep.model_validate_json(sys.stdin.read())).units
print(json.dumps([list(units), [name for name in json.loads(sys.argv[1]) if name in sys.modules]]))
"""


def _check_identity(sweep: Sweep, units: Sequence[Unit]) -> None:
    """Check that the ids are the same in a fresh process without heavy libraries, and from the
    config of a record."""
    dump = sweep.model_dump_json(exclude_unset=True, exclude={"parts"})
    done = subprocess.run(
        [sys.executable, "-c", _IDS, json.dumps(HEAVY)],
        input=dump, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"a fresh process cannot plan it: {done.stderr[-1000:]}"
    ids, loaded = json.loads(done.stdout)
    assert ids == [unit.id for unit in units], "a fresh process gives other ids"
    refused = "".join(f"; {each}" for each in METHODS.refused.values())
    assert not loaded, (
        f"planning imports {', '.join(loaded)}; import it inside the function{refused}"
    )
    for unit in units:
        again = identity(parse_config(written(unit.config)))
        assert again == unit.id, f"{unit}: its own description has another id"


class _Cut(Exception):
    """An interruption."""


def _check_resume(
    place: Playground, units: Sequence[Unit], last: Unit, expected: Mapping[str, Record]
) -> None:
    """Interrupted after two steps, the search goes on to the same mask."""
    steps = 0

    def urgent() -> bool:
        nonlocal steps
        steps += 1
        if steps == 3:
            raise _Cut
        return False

    place.run(units[: list(units).index(last)], "resumed")
    policy = CheckpointPolicy(every=0.0, urgent=urgent)
    try:
        UnitRunner(place.store("resumed"), ProcessGroup(), "check", policy).perform(last)
    except _Cut:
        pass
    else:
        raise AssertionError(f"{last} has fewer than three steps; check it with more")
    found = place.run([last], "resumed")[last.id].artifacts[MASK].sha256
    assert found == expected[last.id].artifacts[MASK].sha256, (
        f"{last}, interrupted and gone on with, gave another mask: its `state()` lacks something"
    )


def _check_workers(
    place: Playground, units: Sequence[Unit], last: Unit, expected: Mapping[str, Record]
) -> None:
    """Two workers find the mask of one."""
    place.run(units[: list(units).index(last)], "gang")
    context = get_context("spawn")
    workers = [context.Process(target=_work, args=(rank, place, last)) for rank in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert all(worker.exitcode == 0 for worker in workers), f"{last} fails with two workers"
    record = place.store("gang").record("search", last.id)
    assert record is not None, f"{last} left no record with two workers"
    one, two = place.mask(expected[last.id]), place.mask(record, "gang")
    same = sum(int((one[name] == two[name]).sum()) for name in one) / one.weights
    assert same >= _SAME_BITS, f"two workers share only {same:.1%} of the mask of one"


def _work(rank: int, place: Playground, unit: Unit) -> None:
    """Run one of the two workers."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    meeting: Any = f"file://{place.folder / 'meeting'}"
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
    try:
        group = ProcessGroup(rank=rank, size=2)
        UnitRunner(place.store("gang"), group, "check").perform(unit)
    finally:
        distributed.destroy_process_group()
