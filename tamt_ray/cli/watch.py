"""`tamt status --watch`: a sweep that runs somewhere else, followed by what its store holds."""

import time
from dataclasses import replace

from rich.console import Console

from tamt_ray.cli.opened import SweepContext
from tamt_ray.cli.tables import failure_lines
from tamt_ray.plan.status import unit_path


def follow(opened: SweepContext, out: Console, every: float = 5.0) -> int:
    """Print what lands and what fails until nothing is left to run, or until Ctrl-C, which stops
    nothing but the watching; returns the exit code.

    Needs the store and nothing else. Each look costs a listing, and a read for what is new.
    """
    out.print(f"{opened.sweep.name}: {_counts(opened)}; Ctrl-C leaves it running", highlight=False)
    try:
        while opened.missing:
            time.sleep(every)
            before, opened = opened, _later(opened)
            for line in _news(before, opened):
                out.print(line, highlight=False)
    except KeyboardInterrupt:
        return 0
    if opened.failures:
        out.print(f"try them again: python -m tamt_ray.sweep {opened.words} --retry-failed")
        return 1
    out.print(f"write the report: tamt report {opened.words}")
    return 0


def _later(opened: SweepContext) -> SweepContext:
    """The same a while later: what was done stays done."""
    open_units = {i: u for i, u in opened.plan.units.items() if i not in opened.records}
    found = opened.store.look(open_units)
    return replace(opened, records={**opened.records, **found.records}, failures=found.failures)


def _news(before: SweepContext, now: SweepContext) -> list[str]:
    lines = [
        f"done   {unit_path(now.plan.units[i])} ({record.seconds:.1f} s on {record.place})"
        for i, record in now.records.items()
        if i not in before.records
    ]
    new = {i: failure for i, failure in now.failures.items() if before.failures.get(i) != failure}
    lines += [f"failed {line}" for line in failure_lines(new)]
    return [*lines, _counts(now)] if lines else []


def _counts(opened: SweepContext) -> str:
    done, total = len(opened.records), len(opened.plan.units)
    return f"{done} of {total} done, {len(opened.failures)} failed, {opened.missing} to run"
