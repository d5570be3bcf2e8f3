"""A running sweep is watched: by its own live table, and by a second process."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.chaos import processes
from tamt_ray.analysis.stats.summary import snapshot
from tamt_ray.execution.activity import Activity, Monitor
from tamt_ray.execution.aggregator import Aggregator
from tamt_ray.execution.cluster import address
from tamt_ray.execution.cluster.address import known_address, live_name, write_address
from tamt_ray.execution.scheduler.messages import Landed, Progressed, Started
from tamt_ray.plan.cost import Prices, operations
from tamt_ray.plan.expand import Plan, expand
from tamt_ray.plan.unit import Unit
from tamt_ray.spec.load import parse_sweep
from tamt_ray.store.record import Record
from tamt_ray.store.store import Store
from tamt_ray.values.identity import written
from tamt_ray.values.scratch import Scratch

Toy = dict[str, Any]
StartDriver = Callable[..., Any]
SWEEP = """
name: small
models: {mini: {source: "dir:m"}}
corpus: {train: {source: "dir:a.txt"}, validation: {source: "dir:b.txt"}}
methods: [omp, {method: tamt_kd, steps: 40}]
sparsities: [0.5]
mask_seeds: [1]
"""
NOTHING = Activity((), {}, {}, {}, {}, 0.0, None)


@pytest.fixture
def plan() -> Plan:
    return expand(parse_sweep(SWEEP))


def record_of(unit: Unit, seconds: float = 8.0, cpu: float = 0.0) -> Record:
    return Record(
        id=unit.id, kind=unit.kind, config=written(unit.config), parents=unit.parents,
        metrics={"mlm_loss": 4.0, "kd_loss": 0.25}, started=0.0, seconds=seconds, device="1 x CPU",
        place="here", usage={"cpu_seconds": cpu} if cpu else {},
    )  # fmt: skip


class Watched:
    """A monitor with a clock that a test moves."""

    def __init__(self, plan: Plan) -> None:
        self.now = 0.0
        self.records: dict[str, Record] = {}
        prices = Prices("CPU", speed=1e30)
        self.monitor = Monitor(
            plan, self.records, {}, prices, lambda: 2, clock=lambda: self.now
        )  # fmt: skip

    def land(self, record: Record) -> None:
        self.records[record.id] = record
        self.monitor.update(Landed(record))


def test_steps_rates_and_counts(plan: Plan) -> None:
    """A search is at step 100 when it is first heard of, since it goes on from a state: its rate
    is that of the steps since."""
    watched = Watched(plan)
    (search,) = (u for u in plan.units.values() if getattr(u.config, "own_steps", 0))
    watched.monitor.update(Started(search.id, 1, "node pid 1", "gang"))
    watched.now = 2.0
    watched.monitor.update(Progressed(search.id, 100, 300))
    watched.now = 12.0
    watched.monitor.update(Progressed(search.id, 120, 300))
    activity = watched.monitor.snapshot()
    (unit,) = activity.at_work
    assert (unit.step, unit.steps, unit.seconds, unit.place) == (120, 300, 12.0, "node pid 1")
    assert unit.rate == pytest.approx(2.0)
    assert (activity.running, activity.done["search"]) == ({"search": 1}, 0)
    assert activity.total == {"search": 2, "pretrain_eval": 3}
    watched.land(record_of(search))
    activity = watched.monitor.snapshot()
    assert (activity.at_work, activity.done["search"]) == ((), 1)


def test_the_time_left_is_there_from_the_start_and_follows_what_is_measured(plan: Plan) -> None:
    """Five units of one second each on two places, after 20 s until workers are there. Once two of
    them took 8 s each, side by side, the other three take 24 s on two places."""
    watched = Watched(plan)
    assert watched.monitor.snapshot().left == pytest.approx(5 / 2 + 20)
    units = list(plan.units.values())
    idle = [unit for unit in units if unit.kind == "search" and not operations(unit)]
    evaluations = [unit for unit in units if unit.kind == "pretrain_eval"]
    for unit in evaluations[:2]:
        watched.monitor.update(Started(unit.id, 1, "here", "trial"))
    watched.now = 8.0
    for unit in evaluations[:2]:
        watched.land(record_of(unit))
    left = watched.monitor.snapshot().left
    # The evaluation and the trained search by what evaluations took, the idle search by its price.
    assert left == pytest.approx((8 + 8 + 1) / 2, rel=0.01)
    assert len(idle) == 1
    for unit in units:
        watched.records[unit.id] = record_of(unit)
    assert watched.monitor.snapshot().left is None


def test_the_time_left_follows_the_speed_of_a_busy_machine(plan: Plan) -> None:
    """An evaluation took 8 s of an idle machine. Two more take ten times as long, side by side, and
    so will the two searches, of 1 s and 8 s. 20 s at the expected speed of 2 count too."""
    watched = Watched(plan)
    evaluations = [unit for unit in plan.units.values() if unit.kind == "pretrain_eval"]
    first, *others = evaluations
    watched.records[first.id] = record_of(first, seconds=8.0, cpu=8.0)
    for unit in others:
        watched.monitor.update(Started(unit.id, 1, "here", "trial"))
    watched.now = 80.0
    for unit in others:
        watched.land(record_of(unit, seconds=80.0, cpu=8.0))
    speed = (8 + 8 + 20 * 2) / (80 + 20)
    assert watched.monitor.snapshot().left == pytest.approx((1 + 8) / speed)


def test_the_time_left_forgets_what_lies_far_behind(plan: Plan) -> None:
    """The first evaluation took an hour, the next, from half an hour later on, 8 s: half of it lies
    in the last ten minutes when it is over for 596 s."""
    watched = Watched(plan)
    evaluations = [unit for unit in plan.units.values() if unit.kind == "pretrain_eval"]
    for unit, begin, end in zip(evaluations, (0.0, 5400.0), (3600.0, 5408.0), strict=False):
        watched.now = begin
        watched.monitor.update(Started(unit.id, 1, "here", "trial"))
        watched.now = end
        watched.land(record_of(unit, seconds=end - begin, cpu=8.0))
    watched.now = 5408.0 + 596.0
    speed = (8 / 2 + 20 * 2) / (600 + 20)
    assert watched.monitor.snapshot().left == pytest.approx((8 + 8 + 1) / speed)


def test_the_time_left_is_at_least_that_of_a_unit_at_work(plan: Plan) -> None:
    watched = Watched(plan)
    *others, last = plan.units.values()
    for unit in others:
        watched.records[unit.id] = record_of(unit)
    watched.monitor.update(Started(last.id, 1, "here", "trial"))
    for watched.now, step in ((1.0, 500), (11.0, 510)):
        watched.monitor.update(Progressed(last.id, step, 600))
    assert watched.monitor.snapshot().left == pytest.approx(90.0), "90 steps, one per second"


def test_an_aggregator_that_was_lost_reads_the_store_again(plan: Plan, tmp_path: Path) -> None:
    """The one before had two records, one of them not yet told; a new one knows both as soon as it
    is opened, and its tables are those of the records."""
    store = Store(str(tmp_path))
    first, second, *_ = plan.units.values()
    records = {unit.id: store.commit(record_of(unit), {}) for unit in (first, second)}
    anew = Aggregator(store)
    assert anew.update([], NOTHING) == (False, None)
    assert anew.status() is None
    anew.open(plan)
    is_open, tables = anew.update([], NOTHING)
    assert is_open
    assert tables
    assert tables.summary.equals(snapshot(plan, records).summary)
    assert sum(tables.done.values()) == 2
    third = list(plan.units.values())[2]
    anew.update([record_of(third)], NOTHING)
    status = anew.status()
    assert status
    assert status.tables
    assert sum(status.tables.done.values()) == 3


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(address, "base_of_ray", lambda: tmp_path)
    return tmp_path


def test_a_local_ray_is_found_by_the_name_of_its_sweep_while_it_is_in_use(base: Path) -> None:
    name = live_name("small", "/results", 3)
    scratch = Scratch("ray", base)
    write_address(scratch.path, name, "127.0.0.1:6379")
    assert known_address(name) == "127.0.0.1:6379"
    assert known_address(live_name("small", "/results", 4)) is None
    assert known_address(live_name("small", "/elsewhere", 3)) is None
    # As after SIGKILL: the folder stays, nobody holds its lock.
    os.close(scratch._lock)
    assert known_address(name) is None


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o707])
def test_a_folder_that_others_can_enter_is_passed_over(mode: int, base: Path) -> None:
    """Whoever is connected to gets Ray's token."""
    scratch = Scratch("ray", base)
    write_address(scratch.path, "it", "127.0.0.1:6379")
    scratch.path.chmod(mode)
    assert known_address("it") is None
    scratch.remove()


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{", '{"name": "it"}', '{"name": "it", "address": 1}',
     json.dumps({"name": "it", "address": "203.0.113.1:6379"})],
)  # fmt: skip
def test_nonsense_and_addresses_elsewhere_are_passed_over(content: str, base: Path) -> None:
    scratch = Scratch("ray", base)
    (scratch.path / "sweep.json").write_text(content)
    assert known_address("it") is None
    scratch.remove()


def test_links_are_not_followed(base: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = Scratch("ray", tmp_path_factory.mktemp("elsewhere"))
    write_address(elsewhere.path, "it", "127.0.0.1:6379")
    (base / "tamt-ray-link").symlink_to(elsewhere.path)
    assert known_address("it") is None
    elsewhere.remove()


@pytest.mark.faults
def test_a_second_process_sees_the_scores_and_the_units_at_work(
    toy: Toy, start_driver: StartDriver, tmp_path: Path
) -> None:
    """A search of a million steps holds the sweep up, everything else is done. `tamt status` shows
    the scores, and the search with step and rate; the aggregator is killed, and the same scores
    are there again. The board, which has heard of workers that load Torch, has not loaded it."""
    toy["methods"] = ["omp", {"method": "tamt_mlm", "steps": 1_000_000}]
    toy["search"]["decay_steps"] = 1_000_000
    toy["execution"] = {"grace": 0}
    driver = start_driver(toy)
    tunes = Path(str(toy["store"])) / "units" / "finetune"
    driver.wait_for(lambda: len(list(tunes.glob("*/record.json"))) == 2)

    def status() -> str:
        found = subprocess.run(
            [sys.executable, "-c", "from tamt_ray.cli.entry import main; main()",
             "status", "sweep.yaml"],
            cwd=tmp_path, capture_output=True, text=True, timeout=300, check=True,
            env={k: v for k, v in os.environ.items() if not k.startswith(("TAMT_", "RAY_"))},
        )  # fmt: skip
        return found.stdout

    def scores(said: str) -> list[str]:
        return [line for line in said.splitlines() if line.split()[:1] in (["full"], ["omp"])]

    seen: list[str] = []
    driver.wait_for(lambda: "/1,000,000" in (seen.append(status()) or seen[-1]))
    assert "running: host" in seen[-1]
    assert "omp" in seen[-1]
    (board,) = (p for p in processes(driver.process.pid) if p.kind == "board")
    assert "libtorch" not in Path(f"/proc/{board.pid}/maps").read_text()
    (aggregator,) = (p for p in processes(driver.process.pid) if p.kind == "aggregator")
    os.kill(aggregator.pid, signal.SIGKILL)
    driver.wait_for(lambda: "the aggregator actor was lost and stands again" in driver.said, 120)
    before = scores(seen[-1])
    driver.wait_for(lambda: "/1,000,000" in (seen.append(status()) or seen[-1]), 120)
    assert before
    assert scores(seen[-1]) == before
    driver.process.send_signal(signal.SIGTERM)
    assert driver.end(60) == 143, driver.said
