"""One attempt of a process at a unit: reported to the board, its output kept in the store."""

import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable

from ray.exceptions import RayError

from tamt_ray.data.history import NonFiniteLossError, Point, followed
from tamt_ray.execution.scheduler.client import BoardClient, this_worker
from tamt_ray.execution.scheduler.errors import fault_of
from tamt_ray.execution.scheduler.faults import Fault, LeavingError
from tamt_ray.execution.scheduler.messages import BEAT, MOST_POINTS, Offer, WorkerCommand
from tamt_ray.execution.worker.output import Capture
from tamt_ray.execution.worker.unit_runner import failure_record
from tamt_ray.plan.unit import Unit
from tamt_ray.store.logs import log_path
from tamt_ray.store.record import Record
from tamt_ray.store.store import Store
from tamt_ray.store.trouble import StoreError
from tamt_ray.values.base import OnProgress


def committed(store: Store, unit: Unit) -> Record | None:
    """Return the record of a unit that another sweep has finished meanwhile, or whose worker was
    lost right after it had written it."""
    try:
        return store.record(unit.kind, unit.id)
    except (StoreError, OSError):
        return None


_SHOWN = 20.0
"""Seconds between two looks at a running log from outside."""
Perform = Callable[[OnProgress], Record]


class Attempt:
    """The attempt of one worker at an offered unit."""

    def __init__(
        self,
        board: BoardClient,
        store: Store,
        holder: str,
        offer: Offer,
        rank: int = 0,
        size: int = 1,
    ) -> None:
        """`rank` and `size`: this worker's place in its gang."""
        self._board = board
        self._store = store
        self._holder = holder
        self._offer = offer
        self._rank = rank
        self._size = size
        self._capture = Capture()
        self._worker = this_worker(str(self._capture.path))
        self._step, self._steps = 0, 0
        self._points = deque[Point](maxlen=MOST_POINTS)
        """Points of the curve since the last heartbeat; two threads fill and empty it."""
        self._order = WorkerCommand.GO_ON
        self._saved = False
        self._over = threading.Event()

    def announce(self) -> WorkerCommand:
        """Tell the board that this worker begins. Anything but GO_ON: leave the unit alone."""
        unit = self._offer.unit
        order = self._board.started(self._holder, unit.id, self._rank, self._worker)
        if order is not WorkerCommand.GO_ON:
            self._capture.drop()
        return order

    def carry_out(self, perform: Perform) -> None:
        """Do the unit and report how it ended.

        An error that would come again is the unit's result, and this returns. Every other one is
        raised after it was reported: the process must not do another unit. So is one that the
        workers of a gang need not all have met, since it leaves them out of step.
        """
        beating = threading.Thread(target=self._beat, name="tamt-beat", daemon=True)
        beating.start()
        error: Exception | None = None
        try:
            with self._capture:
                print(self._heading(), flush=True)  # noqa: T201 - into the unit's log
                try:
                    with followed(self._points.extend):
                        record = perform(self._progress)
                    if self._rank == 0:
                        # At once: a machine that goes now has finished its work.
                        self._board.landed(self._holder, record)
                    print(f"# done in {record.seconds:.1f} s", flush=True)  # noqa: T201
                except Exception as caught:  # noqa: BLE001 - whatever a unit raises is its result
                    error = caught
                    traceback.print_exc()
        finally:
            self._over.set()
        beating.join()
        self._keep_log(self._capture.take())
        if error:
            self._report(error)

    def urgent(self) -> bool:
        """Return whether to save a training state now: True once when the board says so.

        Raises LeavingError at the next call after that.
        """
        if self._order is WorkerCommand.DROP:
            raise LeavingError(Fault.STOP)
        if self._order is WorkerCommand.GO_ON:
            return False
        if self._saved:
            raise LeavingError(Fault.STOP if self._order is WorkerCommand.STOP else Fault.NODE)
        self._saved = True
        return True

    def _report(self, error: Exception) -> None:
        fault = fault_of(error)
        met_by_all = self._size == 1 or isinstance(error, NonFiniteLossError)
        if self._rank == 0 or not met_by_all:
            failure = failure_record(self._offer.unit, error, self._offer.attempt)
            self._board.failed(self._holder, self._rank, failure, fault)
        if fault is not Fault.ERROR or not met_by_all:
            raise error

    def _progress(self, step: int, steps: int) -> None:
        self._step, self._steps = step, steps

    def _beat(self) -> None:
        """Send heartbeats until the attempt is over; keep the log short and show it. The first
        worker of a gang takes the board's commands."""
        shown, last = time.monotonic(), b""
        pause = BEAT / 8
        while not self._over.wait(pause):
            # Units of a second or two show a step too.
            pause = min(2 * pause, BEAT)
            self._capture.trim()
            if time.monotonic() - shown > _SHOWN:
                log = self._capture.so_far()
                if log != last:
                    self._keep_log(log + b"# still at work\n")
                shown, last = time.monotonic(), log
            points = tuple(self._points.popleft() for _ in range(len(self._points)))
            try:
                order = self._board.beat(
                    self._holder, self._offer.unit.id, self._rank, self._step, self._steps,
                    self._worker, points if self._rank == 0 else (),
                )  # fmt: skip
            except RayError:
                # The board is being started anew, or all of Ray goes: the next beat will tell.
                continue
            if self._rank == 0:
                self._order = order

    def _heading(self) -> str:
        begun = time.strftime("%Y-%m-%d %H:%M:%S %z")
        return (
            f"# {begun} {self._offer.unit}, attempt {self._offer.attempt} on {self._worker.place}"
        )

    def _keep_log(self, log: bytes) -> None:
        unit, attempt = self._offer.unit, self._offer.attempt
        name = log_path(unit.kind, unit.id, attempt, self._rank)
        try:
            self._store.write(name, log)
        except StoreError as error:
            # The unit's own outcome is not worth less for it.
            sys.stderr.write(f"the log {name} cannot be written: {error}\n")
