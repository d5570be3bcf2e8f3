"""The live view of a run: a table on a terminal, plain lines elsewhere."""

import time
from collections import Counter
from dataclasses import replace
from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from tamt_ray.cli.frames import Frames
from tamt_ray.cli.live_view import LiveView, time_line
from tamt_ray.execution.activity import LiveStatus
from tamt_ray.execution.scheduler import messages
from tamt_ray.execution.scheduler.faults import Fault
from tamt_ray.plan.cost import spoken
from tamt_ray.plan.expand import Plan
from tamt_ray.plan.status import unit_path
from tamt_ray.store.record import Record
from tamt_ray.tracking.tracker import Tracker


class Progress:
    """Shows the stages of a run, its events and its state."""

    def __init__(self, plan: Plan, console: Console, tracker: Tracker | None = None) -> None:
        self._plan = plan
        self.tracker = tracker
        """Its troubles are shown, once there is one."""
        self._console = console
        self._begin = time.monotonic()
        self._stage = ""
        self._status: LiveStatus | None = None
        self._best = ""
        self._errors = Counter[tuple[str, str]]()
        self._frames = Frames()
        self._live = Live(
            console=console, refresh_per_second=2, transient=True, get_renderable=self._view
        )

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def closing(self) -> Self:
        """Return the final status, with no unit at work."""
        self._status = None
        return self

    def stage(self, text: str) -> None:
        """Say what goes on while no unit is at work."""
        self._stage = text
        self._frames.show(self._view())
        if not self._console.is_terminal:
            self._say(Text(text))

    def watch(self, event: messages.Event | LiveStatus) -> None:
        """Show an event, or the state of the run from now on."""
        match event:
            case LiveStatus():
                # Preparations count too: the user has waited for them.
                activity = replace(event.activity, elapsed=time.monotonic() - self._begin)
                self._status, self._stage = replace(event, activity=activity), ""
                self._tell_best(event)
                self._frames.show(self._view())
            case messages.Started():
                self._stage = ""
            case messages.Extended(plan):
                self._plan = plan
            case messages.Diverged(failure):
                self._warn(f"diverged {self._words(failure.id)}: {failure.message}")
            case messages.Landed(record):
                self._landed(record)
            case messages.Failed(failure):
                error = (failure.error, failure.message)
                self._errors[error] += 1
                words = f"{failure.error}: {failure.message}"
                if self._errors[error] > 1:
                    words = f"{failure.error} as before ({self._errors[error]} units)"
                self._say(Text(f"failed {self._words(failure.id)}: {words}", "red"))
            case messages.Lost(unit_id, attempt, fault, after):
                what = f"{self._words(unit_id)}: {fault.value}, attempt {attempt}"
                if fault is Fault.STOP:
                    self._warn(f"left   {what}; its state is saved")
                else:
                    self._warn(f"lost   {what}; again in {after:g} s")
            case messages.Rebuilt(name):
                self._warn(f"the {name} actor was lost and stands again; nothing is lost with it")
            case messages.HeadSilent(address):
                self._warn(
                    f"Ray's head at {address} does not answer; what is done is kept in the store. "
                    "The run goes on if it answers again; else Ray ends it within about a minute, "
                    "and the same command continues it"
                )
            case messages.HeadBack(address):
                self._warn(f"Ray's head at {address} answers again; the run goes on")
            case messages.Resized(nodes):
                self._warn(f"the cluster is now: {nodes}")
            case messages.NodesRequested(nodes):
                self._warn(f"no node for units is up; waiting for the autoscaler to add {nodes}")
            case messages.Stopping(running, grace):
                self._warn(
                    f"stopping: {running} units at work have {grace:g} s to save their states or "
                    "to finish; a second signal ends it at once"
                )
            case _:
                pass

    def _landed(self, record: Record) -> None:
        if self._console.is_terminal:
            return
        words = f"done   {self._words(record.id)} ({_took(record)})"
        if self._status:
            words = f"{words}  [{time_line(self._status.activity)}]"
        self._say(Text(words))

    def _tell_best(self, status: LiveStatus) -> None:
        """Print the best method so far whenever it changes, where there is no table."""
        if self._console.is_terminal or not status.tables or not status.tables.answer.leads:
            return
        # The count at its end changes with every unit.
        words = ". ".join(status.tables.answer.text.split(". ")[:-1])
        if words != self._best:
            self._best = words
            self._say(Text(f"so far: {words}"))

    def _warn(self, text: str) -> None:
        self._say(Text(text, "yellow"))

    def _say(self, text: Text) -> None:
        # On a terminal a live view stands below, whose lines would be cut, not wrapped.
        self._console.print(text, soft_wrap=not self._console.is_terminal, highlight=False)

    def _words(self, unit_id: str) -> str:
        return unit_path(self._plan.units[unit_id]).replace("/", " ")

    def _view(self) -> RenderableType:
        elapsed = spoken(time.monotonic() - self._begin)
        stage = Spinner("line", Text(f"{self._stage} ({elapsed})")) if self._stage else None
        if self._status is None:
            return stage or Text()
        problem = self.tracker.problem if self.tracker else None
        trouble = [Text(f"MLflow: {problem} (results are safe)", "yellow")] if problem else []
        return LiveView(self._status, *trouble, *([stage] if stage else []))


def _took(record: Record) -> str:
    """Return seconds, and the rate of what has steps."""
    steps = record.metrics.get("steps", 0)
    rate = f", {steps / record.seconds:.3g} steps/s" if steps and record.seconds else ""
    return f"{record.seconds:.1f} s{rate}"
