"""Sweeps under random kills: `python -m benchmarks.chaos FILE …`. Linux only.

Runs each sweep twice into stores of its own: undisturbed, and with a process killed every few
seconds: fine-tune workers, gang ranks, the board, the aggregator, Train's controllers, and those
whose death ends the run, which is started again each time: the driver, its supervisor, and the two
servers of Ray. Sweeps take turns in one schedule of kills, each for its share of the rounds at
most; one that ends earlier begins anew in an empty store when it is its turn again. At the end the
tables of all of them must be the same to the byte, but for what a clock measured, and no unit may
have been begun again after its record was in the store. Which trials of a tuning go on depends on
which results are there first: of a tuning, what two runs both computed must be the same.
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
import yaml
from polars import selectors

from tamt_ray.cli.supervisor import descendants
from tamt_ray.values.scratch import lock

KINDS = {
    "supervisor": "tamt_ray.sweep",
    "driver": "tamt_ray.sweep",
    "raylet": "/raylet/raylet ",
    "gcs server": "/gcs/gcs_server ",
    "fine-tune worker": "ray::FleetWorker",
    "gang rank": "ray::RayTrainWorker",
    "gang controller": "ray::TrainController",
    "board": "ray::BoardActor",
    "aggregator": "ray::Aggregator",
}
"""What is killed, and the words of its command line."""
_ENDING = {"supervisor", "driver", "raylet", "gcs server"}
"""Those that a run does not outlive."""
_HEADING = re.compile(rb"# \S+ \S+ \S+ .*\[([0-9a-f]{8})\], attempt \d+ on (.+)")
_WORKING = {"fine-tune worker", "gang rank"}
_CLOCK = re.compile("seconds|hours|device|speed")
"""Columns and metrics that differ between any two runs."""
_FRUITLESS = 3
"""Runs in a row that may end before anything is killed."""
_PATIENCE = 15.0
"""Seconds within which a run ends once it cannot go on, with all its processes."""
_LOOK = 0.1
"""Seconds between two looks at the store."""


@dataclass(frozen=True)
class Process:
    """A process of a run; `kind` is one of `KINDS`."""

    pid: int
    kind: str | None


def processes(root: int) -> list[Process]:
    """A process and all that descend from it, parents first."""
    found: list[Process] = []
    kinds = dict(KINDS)
    for pid in (root, *descendants(root)):
        words = _read(Path(f"/proc/{pid}/cmdline")).replace(b"\0", b" ").decode(errors="replace")
        kind = next((kind for kind, mark in kinds.items() if mark in words), None)
        if kind in {"supervisor", "driver"}:
            # The driver is a fork of its supervisor, and what it starts is a fork of it at first.
            del kinds[kind]
        found.append(Process(pid, kind))
    return found


def kill(process: Process) -> bool:
    """SIGKILL; whether it was still there."""
    try:
        os.kill(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


class Run:
    """One sweep file laid over another one, with a store and logs of its own."""

    def __init__(self, file: Path, folder: Path) -> None:
        self._folder = folder
        self._file = folder / "sweep.yaml"
        self.temporary = folder / "tmp"
        """Where its logs and folders are, but for those of Ray."""
        self.temporary.mkdir(parents=True)
        own = {
            "extends": str(file.absolute()),
            "store": str(folder / "store"),
            "mlflow": f"sqlite:///{folder / 'mlflow.db'}",
        }
        self._file.write_text(yaml.safe_dump(own))
        self.driver: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the driver; what it says is appended to `driver.log`."""
        # Ray's sockets need a short path; the logs of workers at work are found in the other one.
        temporary = {"RAY_TMPDIR": tempfile.gettempdir(), "TMPDIR": str(self.temporary)}
        # Of a Ray that runs already nobody would be found to kill.
        mine = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
        with (self._folder / "driver.log").open("ab") as log:
            self.driver = subprocess.Popen(
                [sys.executable, "-m", "tamt_ray.sweep", str(self._file)],
                stdout=log, stderr=log, env={**mine, **temporary},
            )  # fmt: skip

    def code(self) -> int | None:
        """The driver's exit code, once it ended."""
        return self.driver.poll() if self.driver else None

    def end(self, process: Process) -> None:
        """Kill a process that the run does not outlive. Raises RuntimeError where the run goes on,
        ends with another code than 3, or leaves processes behind."""
        assert self.driver
        below = processes(self.driver.pid)
        kill(process)
        deadline = time.monotonic() + _PATIENCE
        try:
            code = self.driver.wait(_PATIENCE)
        except subprocess.TimeoutExpired as error:
            raise RuntimeError(f"the run outlives its {process.kind}") from error
        if code != 3 and process.kind != "supervisor":
            raise RuntimeError(f"{process.kind} killed: exit code {code}:\n{self.tail()}")
        # Without a supervisor Ray's agents look once a minute whether their raylet is there.
        mine = [p for p in below if p.kind or process.kind != "supervisor"]
        while left := [p for p in mine if _read(Path(f"/proc/{p.pid}/cmdline"))]:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{process.kind} killed: {left} are left")
            time.sleep(_LOOK)

    def records(self) -> dict[str, bytes]:
        """Digits of the ids of finished units, with their records as they are on disk."""
        found = (self._folder / "store" / "units").glob("*/*/record.json")
        return {path.parent.name[:8]: _read(path) for path in found}

    def begun(self) -> dict[Path, tuple[str, bytes]]:
        """Log files of workers at work or lost, with the unit and the place of each."""
        logs = self.temporary.glob("tamt-log-*")
        headings = ((path, _HEADING.match(_read(path, 1000))) for path in logs)
        return {path: (match[1].decode(), match[2]) for path, match in headings if match}

    def tables(self) -> dict[str, str]:
        """The tables of the report, every digit of them, but for what a clock measured."""
        found = (self._folder / "store" / "reports").glob("*/tables/*.parquet")
        return {
            path.name: pl.read_parquet(path).drop(selectors.matches(_CLOCK.pattern)).write_ndjson()
            for path in found
        }

    def results(self) -> dict[str, dict[str, object]]:
        """Metrics and masks by unit, but for what a clock measured."""
        found: dict[str, dict[str, object]] = {}
        for path in (self._folder / "store" / "units").glob("*/*/record.json"):
            record = json.loads(path.read_bytes())
            kept = {k: v for k, v in record["metrics"].items() if not _CLOCK.search(k)}
            found[path.parent.name] = kept | {
                name: file["sha256"]
                for name, file in record["artifacts"].items() if name.startswith("mask")
            }  # fmt: skip
        return found

    def lost(self, seen: Mapping[str, bytes], other: "Run") -> set[str]:
        """Units whose record was `seen`, or which the other run has, and which are not there."""
        expected = {*seen} if self._tuned() else seen.keys() | other.records().keys()
        return expected - self.records().keys()

    def _tuned(self) -> bool:
        return (self._folder / "store" / "tuning").exists()

    def same(self, other: "Run") -> bool:
        """Whether this run found what the other one found."""
        if self._tuned():
            mine, others = self.results(), other.results()
            return all(mine[unit] == others[unit] for unit in mine.keys() & others.keys())
        return self.tables() == other.tables()

    def tail(self) -> str:
        """The last words of the drivers."""
        return (self._folder / "driver.log").read_text(errors="replace")[-2000:]


@dataclass
class Account:
    """What happened to a run, from looking at it often."""

    run: Run
    records: dict[str, bytes] = field(default_factory=dict)
    begun: dict[Path, str] = field(default_factory=dict)
    recommitted: set[str] = field(default_factory=set)
    """Finished units that were begun or written again."""

    def look(self) -> None:
        """Take in what is new."""
        for path, (unit, place) in self.run.begun().items():
            # Between its record and the end of its log a finished attempt may be seen late.
            if path not in self.begun and place not in self.records.get(unit, place):
                self.recommitted.add(unit)
            self.begun[path] = unit
        for unit, data in self.run.records().items():
            if self.records.setdefault(unit, data) != data:
                self.recommitted.add(unit)

    def again(self) -> int:
        """How often units were begun again whose attempt was cut off."""
        return sum(count - 1 for count in Counter(self.begun.values()).values())


@dataclass
class Result:
    """What a session of chaos came to."""

    kills: Counter[str] = field(default_factory=Counter)
    units: int = 0
    lost: int = 0
    """Units whose record is gone, or missing at the end."""
    left: int = 0
    """Folders in the temporary directory at the end that no process uses."""
    again: int = 0
    recommitted: int = 0
    same: bool = True

    def __str__(self) -> str:
        by_kind = ", ".join(f"{kind} {self.kills[kind]}" for kind in KINDS if self.kills[kind])
        return (
            f"rounds {self.kills.total()}, kills: {by_kind}\n"
            f"units {self.units}, lost {self.lost}, recomputed {self.again}, "
            f"committed ones recomputed {self.recommitted}\n"
            f"folders left in the temporary directory {self.left}\n"
            f"no process was left {_PATIENCE:g} s after a death that ended the run "
            "(Ray's agents not counted after a supervisor's)\n"
            f"results equal those of the undisturbed run: {'yes' if self.same else 'NO'}"
        )

    @property
    def good(self) -> bool:
        """Whether nothing is lost, done twice, different or left."""
        return self.same and not self.lost + self.recommitted + self.left


def chaos(
    files: Sequence[Path],
    folder: Path,
    rounds: int,
    draw: random.Random,
    pause: tuple[float, float],
    kinds: tuple[str, ...],
) -> Result:
    """Kill `rounds` times, one of `kinds` after a pause between the two given, in seconds; `files`
    take turns.

    Raises RuntimeError where a run does not end as it should, or leaves processes behind.
    """
    rays = Path(tempfile.gettempdir())
    there = left_behind(rays, "tamt-ray-*/")
    calms: list[Run] = []
    for number, file in enumerate(files):
        calms.append(Run(file, folder / f"calm-{number}"))
        calms[-1].start()
        _finish(calms[-1], Account(calms[-1]))
        if not calms[-1].tables():
            raise RuntimeError(f"{file} leaves no tables to compare")
    result, runs, fruitless = Result(), 0, 0
    while result.kills.total() < rounds:
        file, calm = files[runs % len(files)], calms[runs % len(files)]
        runs += 1
        run = Run(file, folder / f"chaos-{runs}")
        account, before = Account(run), result.kills.total()
        most = min(rounds - before, -(-rounds // len(files)))
        run.start()
        for process in _victims(account, most, draw, pause, kinds):
            result.kills[str(process.kind)] += 1
            print(f"round {result.kills.total()}: {process.kind}", flush=True)  # noqa: T201
        _finish(run, account)
        fruitless = fruitless + 1 if result.kills.total() == before else 0
        if fruitless == _FRUITLESS:
            raise RuntimeError(f"no {' or '.join(kinds)} to kill in {_FRUITLESS} runs in a row")
        result.units += len(account.records)
        result.again += account.again()
        result.recommitted += len(account.recommitted)
        result.lost += len(run.lost(account.records, calm))
        result.same &= run.same(calm)
        result.left += len(left_behind(run.temporary))
    result.left += len(left_behind(rays, "tamt-ray-*/") - there)
    return result


def left_behind(folder: Path, pattern: str = "tamt-*/") -> set[Path]:
    """Folders of runs in a temporary directory that no process uses; logs of killed workers stay
    for an hour. Runs share the directory of Ray's folders with other programs."""
    found: set[Path] = set()
    for path in folder.glob(pattern):
        with suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                lock(descriptor)
                found.add(path)
            finally:
                os.close(descriptor)
    return found


def _victims(
    account: Account,
    rounds: int,
    draw: random.Random,
    pause: tuple[float, float],
    kinds: tuple[str, ...],
) -> Iterator[Process]:
    """Those killed, one after the other, until `rounds` are over or the run ends."""
    run = account.run
    while rounds > 0:
        until = time.monotonic() + draw.uniform(*pause)
        while time.monotonic() < until:
            account.look()
            time.sleep(_LOOK)
        assert run.driver
        if run.code() is not None:
            return
        alive: dict[str, list[Process]] = {}
        for process in processes(run.driver.pid):
            if process.kind and process.kind in kinds:
                alive.setdefault(process.kind, []).append(process)
        if not alive or (_WORKING & {*kinds} and not _WORKING & alive.keys()):
            # It is still starting; runs that end so early would never get anywhere.
            continue
        # Each kind is as likely as the others, however many there are of it.
        process = draw.choice(alive[draw.choice(sorted(alive))])
        if process.kind in _ENDING:
            run.end(process)
            run.start()
        elif not kill(process):
            continue
        rounds -= 1
        yield process


def _finish(run: Run, account: Account) -> None:
    while (code := run.code()) is None:
        account.look()
        time.sleep(_LOOK)
    account.look()
    if code != 0:
        raise RuntimeError(f"the sweep ended with exit code {code}:\n{run.tail()}")


def _read(path: Path, size: int = -1) -> bytes:
    """What a file holds; nothing where it is gone."""
    try:
        with path.open("rb") as stream:
            return stream.read(size)
    except (FileNotFoundError, ProcessLookupError):
        return b""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="a sweep file")
    parser.add_argument("--rounds", type=int, default=20, help="how many kills")
    parser.add_argument("--seed", type=int, default=0, help="what is killed when")
    parser.add_argument(
        "--pause", type=float, nargs=2, default=(5.0, 25.0), metavar=("LEAST", "MOST"),
        help="seconds between kills",
    )  # fmt: skip
    parser.add_argument(
        "--kind", choices=KINDS, action="append", help="kill only these; may be given repeatedly"
    )
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="tamt-chaos-"))
    result = chaos(
        chosen.files, folder, chosen.rounds, random.Random(chosen.seed), tuple(chosen.pause),
        tuple(chosen.kind or KINDS),
    )  # fmt: skip
    print(result)  # noqa: T201
    if not result.good:
        sys.exit(f"see {folder}")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
