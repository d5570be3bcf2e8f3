"""`tamt status`: a sweep that may run in another process, asked there, else read from its store."""

import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from tamt_ray.analysis.stats.summary import snapshot
from tamt_ray.cli.live_view import LiveView, print_scores
from tamt_ray.cli.speech import warn
from tamt_ray.cli.sweep_context import SweepContext
from tamt_ray.cli.tables import failure_lines
from tamt_ray.execution.activity import LiveStatus
from tamt_ray.execution.cluster.address import live_name, visit_loopback
from tamt_ray.plan.status import unit_path
from tamt_ray.store.lease import at_work

Ask = Callable[[], Group | None]
"""The view of a running sweep; None where nothing runs or answers."""


@contextmanager
def asking(
    opened: SweepContext, address: str | None, say: Callable[[str], None], *, fitted: bool
) -> Generator[Ask]:
    """Yield a function that asks the running driver of the sweep, and looks for it as long as there
    is none. `say` receives each reason for which it cannot be asked, once. Ray is imported only
    where a driver is at work. `fitted`: the view keeps to the terminal's height."""
    query: Callable[[], LiveStatus | None] | None = None
    asked = ""
    said = set[str]()

    def ask() -> Group | None:
        nonlocal query, asked
        found = at_work(opened.store.files, opened.sweep.name)
        if found is None:
            # Ray ends a process that stays connected to one that is gone.
            connection.close()
            query = None
            return None
        epoch, holder = found
        driver = f"host {holder.host}, pid {holder.pid}, since {holder.since}"
        if address is None:
            visit_loopback()
        from tamt_ray.execution.observer import UnreachableError, observed

        name = live_name(opened.sweep.name, opened.store.uri, epoch)
        try:
            if query is None or name != asked:
                connection.close()
                query = None
                query, asked = connection.enter_context(observed(name, address)), name
            answer = query()
        except UnreachableError as error:
            words = f"a driver runs this sweep ({driver}), but cannot be asked: {error}"
            if words not in said:
                said.add(words)
                say(f"{words}; this is the store")
            return None
        view = (
            LiveView(answer, fitted=fitted) if answer else Text("its live tables are being set up")
        )
        return Group(Text(f"running: {driver}"), view)

    with ExitStack() as connection:
        yield ask


def print_state(opened: SweepContext, out: Console, address: str | None) -> None:
    """Print the running units and the scores so far; without a run the scores in the store."""
    with asking(opened, address, warn, fitted=False) as ask:
        if view := ask():
            out.print(view, soft_wrap=not out.is_terminal)
            return
    tables = snapshot(opened.plan, opened.records)
    if tables.answer.done:
        print_scores(tables, out)


def follow(
    opened: SweepContext, out: Console, address: str | None = None, every: float = 5.0
) -> int:
    """Show what runs, and print what lands and what fails, until nothing is left to run, or until
    Ctrl-C, which stops nothing but the watching; returns the exit code.

    Needs the store and nothing else; a driver that can be asked is asked too. Each look costs two
    listings, of records and leases, and reads the lease and what is new.
    """
    # A live view of lines that are not wrapped is cut at the terminal's width.
    out.soft_wrap = not out.is_terminal
    out.print(f"{opened.sweep.name}: {_counts(opened)}; Ctrl-C leaves it running", highlight=False)
    live = Live(console=out, auto_refresh=False, transient=True)

    def say(text: str) -> None:
        # Standard error would tear the live view.
        out.print(text, style="yellow", highlight=False)

    try:
        with asking(opened, address, say, fitted=True) as ask:
            if out.is_terminal:
                live.start()
            while opened.missing + opened.to_draw:
                if out.is_terminal:
                    live.update(ask() or Text(), refresh=True)
                time.sleep(every)
                before, opened = opened, _later(opened)
                for line in _news(before, opened):
                    out.print(line, highlight=False)
    except KeyboardInterrupt:
        return 0
    finally:
        live.stop()
    if opened.failures:
        out.print(f"try them again: python -m tamt_ray.sweep {opened.words} --retry-failed")
        return 1
    if at_work(opened.store.files, opened.sweep.name):
        page = opened.store.files.address(f"reports/{opened.sweep.name}/report.html")
        out.print(f"the run writes its report: {page}", highlight=False)
    else:
        out.print(f"write the report: tamt report {opened.words}")
    return 0


def _later(opened: SweepContext) -> SweepContext:
    """Return the context with the results of now; those that were done stay done."""
    if opened.survey:
        return opened.again(opened.store)
    open_units = {i: u for i, u in opened.plan.units.items() if i not in opened.records}
    found = opened.store.scan(open_units)
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
