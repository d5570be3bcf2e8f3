"""Each class of failure has a budget of its own."""

import copy

import pytest
import torch
from ray.exceptions import ActorDiedError, OutOfMemoryError, RayActorError, RayTaskError
from ray.train import WorkerGroupError

from tamt_ray.data.cache import SourceError
from tamt_ray.data.history import NonFiniteLossError
from tamt_ray.execution.scheduler.errors import KilledForMemoryError, fault_of
from tamt_ray.execution.scheduler.faults import (
    NODE_LOSSES,
    AttemptHistory,
    Fault,
    GiveUp,
    LeavingError,
    Retry,
    after_fault,
)
from tamt_ray.store.trouble import DamagedError, LeaseLostError, UnwritableError

NODE_GONE = (
    "The actor died unexpectedly before finishing this task.\n\tclass_name: A\n"
    "The actor died because its node has died. Node Id: f4e749\n"
    "\tthe actor's node was terminated expectedly: received SIGTERM"
)
PROCESS_GONE = (
    "The actor died unexpectedly before finishing this task.\n\tclass_name: A\n"
    "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker "
    "exit detail: Worker unexpectedly exits with a connection error code 2. End of file. Some "
    "common causes include: (1) the process was killed by the OOM killer due to high memory usage, "
    "(2) ray stop --force was called, or (3) the worker crashed unexpectedly due to SIGSEGV"
)
"""As Ray 2.60 says it."""


def died(words: str) -> RayActorError:
    return RayActorError("0a", words, False, False)


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (ValueError("wrong"), Fault.ERROR),
        (SourceError("hub: 503"), Fault.PLACE),
        (UnwritableError("No space left on device"), Fault.PLACE),
        (FileNotFoundError("gone"), Fault.PLACE),
        (DamagedError("s3://b", "a", "digest"), Fault.ERROR),
        (LeaseLostError("taken over"), Fault.ERROR),
        (NonFiniteLossError(3, float("nan")), Fault.ERROR),
        (RuntimeError("12 pruned weights are not zero after fine-tuning"), Fault.ERROR),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"), Fault.MEMORY),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: out of memory"), Fault.MEMORY),
        (MemoryError(), Fault.MEMORY),
        (OutOfMemoryError("Task was killed due to the node running low on memory."), Fault.MEMORY),
        (KilledForMemoryError(error_msg="killed"), Fault.MEMORY),
        (torch.distributed.DistBackendError("NCCL communicator was aborted"), Fault.DIED),
        (RuntimeError("[gloo/transport/tcp/pair.cc:534] Connection closed by peer"), Fault.DIED),
        (ActorDiedError(), Fault.DIED),
        (died(PROCESS_GONE), Fault.DIED),
        (RuntimeError(f"Worker group health check failed\n{PROCESS_GONE}"), Fault.DIED),
        (died(NODE_GONE), Fault.NODE),
        (RuntimeError(f"Worker group health check failed\n{NODE_GONE}"), Fault.NODE),
        (RayActorError("0a", "drained", False, True), Fault.NODE),
        (LeavingError(Fault.NODE), Fault.NODE),
        (copy.copy(LeavingError(Fault.STOP)), Fault.STOP),
    ],
)  # fmt: skip
def test_classes(error: Exception, fault: Fault) -> None:
    assert fault_of(error) is fault
    assert fault_of(RayTaskError("f", "traceback", error)) is fault


def test_the_class_of_a_gang_is_that_of_the_worker_that_began_it() -> None:
    """When one goes, the others lose their connection to it."""
    peer = RuntimeError("gloo: Connection closed by peer")
    for own, fault in [
        (died(NODE_GONE), Fault.NODE),
        (torch.OutOfMemoryError("CUDA out of memory"), Fault.MEMORY),
        (died(PROCESS_GONE), Fault.DIED),
        (LeavingError(Fault.STOP), Fault.STOP),
    ]:
        assert fault_of(WorkerGroupError("", {0: peer, 1: own})) is fault
    assert fault_of(WorkerGroupError("", {0: ValueError(), 1: ValueError()})) is Fault.ERROR


def attempts(*ends: tuple[Fault, int], retries: int = 3) -> list[Retry | GiveUp]:
    """The decision after each of the attempts that ended so, at the given step."""
    past, decisions = AttemptHistory(), []
    for fault, step in ends:
        past = past.with_fault(fault, step)
        decisions.append(after_fault(past, fault, retries))
    return decisions


def retries_of(decisions: list[Retry | GiveUp]) -> list[bool]:
    return [isinstance(decision, Retry) for decision in decisions]


def test_errors_are_not_tried_again() -> None:
    assert retries_of(attempts((Fault.ERROR, 100))) == [False]


def test_memory_gets_one_more_attempt_in_a_larger_share() -> None:
    first, second = attempts((Fault.MEMORY, 0), (Fault.MEMORY, 50))
    assert first == Retry(1.0, wider=True)
    assert second == GiveUp("out of memory again")


@pytest.mark.parametrize("fault", [Fault.DIED, Fault.HUNG])
@pytest.mark.parametrize("retries", [0, 1, 3])
def test_a_unit_that_always_crashes_is_set_aside(fault: Fault, retries: int) -> None:
    decisions = attempts(*[(fault, 5)] * (retries + 1), retries=retries)
    assert retries_of(decisions) == [True] * retries + [False]
    assert [d.after for d in decisions if isinstance(d, Retry)] == [1.0, 2.0, 4.0][:retries]


def test_an_attempt_that_got_further_counts_from_the_beginning() -> None:
    """A long search on bad machines: as long as it gets on, it goes on."""
    decisions = attempts(*[(Fault.DIED, 10 * n) for n in range(1, 50)], retries=1)
    assert all(retries_of(decisions))
    back = attempts((Fault.DIED, 30), (Fault.DIED, 20), (Fault.DIED, 30), retries=1)
    assert retries_of(back) == [True, False, False]


def test_lost_nodes_are_not_charged_but_end_somewhere() -> None:
    decisions = attempts(*[(Fault.NODE, 0)] * (NODE_LOSSES + 1), (Fault.DIED, 0), retries=1)
    assert retries_of(decisions) == [True] * NODE_LOSSES + [False, True]
    assert set(decisions[:NODE_LOSSES]) == {Retry(1.0)}


def test_each_class_has_its_own_budget() -> None:
    decisions = attempts(
        (Fault.MEMORY, 0), (Fault.NODE, 0), (Fault.DIED, 0), (Fault.STOP, 0), (Fault.MEMORY, 0),
        retries=1,
    )  # fmt: skip
    assert retries_of(decisions) == [True, True, True, True, False]


def test_pauses_grow_to_a_minute() -> None:
    decisions = attempts(*[(Fault.DIED, 0)] * 9, retries=100)
    assert [d.after for d in decisions if isinstance(d, Retry)] == [
        1, 2, 4, 8, 16, 32, 60, 60, 60,
    ]  # fmt: skip
