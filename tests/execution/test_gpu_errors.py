"""What GPUs say when they fail, and what a run does about it: each text is the libraries' own."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import torch
from ray.exceptions import RayTaskError

from tamt_ray.execution.fleet import gpu_share as share
from tamt_ray.execution.scheduler.errors import fault_of
from tamt_ray.execution.scheduler.faults import AttemptHistory, Fault, Retry, after_fault
from tamt_ray.execution.worker.device import OUTSIDE, worker_device
from tamt_ray.execution.worker.inherited import Inherited
from tamt_ray.search.process_group import RanksDifferError
from tamt_ray.spec.execution import FinetuneLane
from tamt_ray.tasks.base import Task
from tamt_ray.tasks.classification import Classification
from tamt_ray.values.model import Model

ADVICE = (
    "\nCUDA kernel errors might be asynchronously reported at some other API call, so the "
    "stacktrace below might be incorrect.\nFor debugging consider passing CUDA_LAUNCH_BLOCKING=1\n"
    "Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.\n"
)
NO_DRIVER = (
    "Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU and installed "
    "a driver from http://www.nvidia.com/Download/index.aspx"
)
ALLOCATION = "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"
MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total"),
    torch.AcceleratorError("CUDA error: out of memory" + ADVICE),
    RuntimeError("CUDA error: out of memory" + ADVICE),
    RuntimeError(ALLOCATION),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    RuntimeError("cusparse error: CUSPARSE_STATUS_INSUFFICIENT_RESOURCES, when calling `x`"),
    RuntimeError("Triton Error [CUDA]: out of memory"),
    torch.distributed.DistBackendError(
        "NCCL error in: ProcessGroupNCCL.cpp:3690, unhandled cuda error (run with NCCL_DEBUG=INFO "
        "for details), NCCL version 2.27.5\nLast error:\nCuda failure 2 'out of memory'"
    ),
]
PROCESS = [
    torch.AcceleratorError("CUDA error: an illegal memory access was encountered" + ADVICE),
    torch.AcceleratorError("CUDA error: device-side assert triggered" + ADVICE),
    torch.AcceleratorError("CUDA error: unspecified launch failure" + ADVICE),
    RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm( handle)`"),
    RuntimeError("CUDA error: CUBLAS_STATUS_INTERNAL_ERROR when calling `cublasLtMatmul( ltHandle"),
    RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    RuntimeError("cusolver error: CUSOLVER_STATUS_INTERNAL_ERROR, when calling `cusolverDnCreate`"),
    RuntimeError("CUDA driver error: invalid argument"),
    RuntimeError("Triton Error [CUDA]: an illegal memory access was encountered"),
    torch.distributed.DistBackendError("NCCL communicator was aborted on rank 1."),
    # A neighbour on the same GPU met an error.
    torch.AcceleratorError("CUDA error: the MPS client has been terminated by the server" + ADVICE),
    RanksDifferError("the workers of this search differ after step 40"),
]
MACHINE = [
    RuntimeError(NO_DRIVER),
    RuntimeError("No CUDA GPUs are available"),
    RuntimeError(
        "The NVIDIA driver on your system is too old (found version 11040). Please update your GPU "
        "driver by downloading and installing a new version"
    ),
    RuntimeError(
        "Unexpected error from cudaGetDeviceCount(). Did you run some cuda functions before "
        "calling NumCudaDevices() that might have already set an error? Error 804: forward "
        "compatibility was attempted on non supported HW"
    ),
    RuntimeError(
        "CUDA unknown error - this may be due to an incorrectly set up environment, e.g. changing "
        "env variable CUDA_VISIBLE_DEVICES after program start."
    ),
    RuntimeError("CUDA driver initialization failed, you might not have a CUDA gpu."),
    torch.AcceleratorError("CUDA error: no CUDA-capable device is detected" + ADVICE),
    torch.AcceleratorError("CUDA error: invalid device ordinal" + ADVICE),
    torch.AcceleratorError("CUDA error: CUDA-capable device(s) is/are busy or unavailable"),
    torch.AcceleratorError("CUDA error: uncorrectable ECC error encountered" + ADVICE),
    torch.AcceleratorError(
        "CUDA error: no kernel image is available for execution on the device" + ADVICE
    ),
    torch.AcceleratorError(
        "CUDA error: MPS client failed to connect to the MPS control daemon or the MPS server"
    ),
    torch.AcceleratorError(
        "CUDA error: MPS server is not ready to accept new MPS client requests" + ADVICE
    ),
    torch.AcceleratorError(
        "CUDA error: the hardware resources required to create MPS client have been exhausted"
    ),
    AssertionError("Torch not compiled with CUDA enabled"),
]


@pytest.mark.parametrize(
    ("errors", "fault", "decision"),
    [
        # Once more, with more memory.
        (MEMORY, Fault.MEMORY, Retry(1.0, wider=True)),
        # The process, not the unit: again in a new one.
        (PROCESS, Fault.DIED, Retry(1.0)),
        # The machine: again, elsewhere if this one goes on so.
        (MACHINE, Fault.PLACE, Retry(1.0)),
    ],
)
def test_each_text_costs_what_it_should(
    errors: list[Exception], fault: Fault, decision: Retry
) -> None:
    for error in errors:
        assert fault_of(error) is fault, error
        assert fault_of(RayTaskError("f", "traceback", error)) is fault, error
    assert after_fault(AttemptHistory().with_fault(fault, 0), fault, retries=3) == decision


def test_words_about_gpus_in_other_errors_change_nothing() -> None:
    assert fault_of(ValueError("the label 'CUDA error' is unknown")) is Fault.ERROR
    assert fault_of(AssertionError("3 == 4")) is Fault.ERROR


without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")


@without_gpu
@pytest.mark.parametrize("gpus", [0.25, 1.0, 2.0])
def test_a_promised_gpu_that_is_not_there_is_no_cpu(gpus: float) -> None:
    with pytest.raises(OSError, match=rf"gave this worker {gpus:g} GPUs, but none works") as caught:
        worker_device(gpus)
    assert fault_of(caught.value) is Fault.PLACE


@without_gpu
def test_torch_without_a_gpu_is_the_machines_fault() -> None:
    with pytest.raises((RuntimeError, AssertionError)) as caught:
        torch.zeros(1, device="cuda")
    assert fault_of(caught.value) is Fault.PLACE


def test_a_missing_driver_is_the_machines_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def init() -> None:
        raise RuntimeError(NO_DRIVER)

    monkeypatch.setattr(torch.cuda, "init", init)
    with pytest.raises(OSError, match="Found no NVIDIA driver") as caught:
        worker_device(1)
    assert fault_of(caught.value) is Fault.PLACE


def test_without_gpus_and_with_invented_ones_all_computes_on_cpus(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert worker_device(0) == torch.device("cpu")
    monkeypatch.setitem(os.environ, "TAMT_LOGICAL_GPUS", "1")
    assert worker_device(0.5) == torch.device("cpu")


@pytest.fixture
def capped(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The shares of memory that are set, as if there were a GPU."""
    shares: list[float] = []
    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    monkeypatch.setattr(torch.cuda, "set_device", lambda _: None)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", shares.append)
    memory = SimpleNamespace(total_memory=60 * OUTSIDE)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: memory)
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", "")  # Set by what is tested, and undone.
    return shares


def test_who_shares_a_gpu_gets_its_share_of_the_memory(capped: list[float]) -> None:
    """Less what each process takes outside the allocator, and never less than half of it."""
    assert worker_device(0.25) == torch.device("cuda", 0)
    assert worker_device(1, lambda: torch.device("cuda", 3)) == torch.device("cuda", 3)
    assert worker_device(1 / 60) == torch.device("cuda", 0)
    assert capped == [0.25 - 1 / 60, 1 / 120]


CONTROL = """#!/bin/sh
read asked
[ "$asked" = get_server_list ] || exit 9
[ "$MPS_RUNS" ] && exit 0
echo "Cannot find MPS control daemon process"; exit 1
"""


def test_a_share_by_mps_needs_its_daemon(
    capped: list[float], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """CUDA itself would go on without a word. Whole GPUs, and shares by time, do without it."""
    pipes, programs = tmp_path / "pipes", tmp_path / "bin"
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(pipes))
    with pytest.raises(OSError, match=r"no MPS daemon runs here: there is no .*control") as no:
        worker_device(0.5, mps=True)
    assert fault_of(no.value) is Fault.PLACE
    pipes.mkdir()
    programs.mkdir()
    (pipes / "control").touch()
    (programs / "nvidia-cuda-mps-control").write_text(CONTROL)
    (programs / "nvidia-cuda-mps-control").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/bin:/usr/bin")
    with pytest.raises(OSError, match="does not answer: Cannot find MPS control daemon process"):
        worker_device(0.5, mps=True)
    assert capped == []
    monkeypatch.setenv("MPS_RUNS", "1")
    worker_device(0.5, mps=True)
    assert os.environ["CUDA_MPS_PIPE_DIRECTORY"] == str(pipes)
    for gpus, mps in ((1, True), (0.5, False)):
        monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(pipes))
        worker_device(gpus, mps=mps)
        assert os.environ["CUDA_MPS_PIPE_DIRECTORY"] == os.devnull


def test_algorithms_of_a_gpu_are_deterministic_where_asked(
    capped: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(torch, "use_deterministic_algorithms", asked.append)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    worker_device(1)
    assert asked == []
    worker_device(0, deterministic=True)
    assert asked == []
    worker_device(1, deterministic=True)
    assert asked == [True]
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


@pytest.mark.parametrize("error", MEMORY)
def test_a_model_too_large_to_measure_gets_a_whole_gpu(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert peak_share(error, monkeypatch) == 1.0


def test_what_else_a_measurement_meets_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match="EXECUTION_FAILED"):
        peak_share(PROCESS[3], monkeypatch)


def test_the_measured_share_holds_what_lies_outside_the_allocator(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """2 GiB at most, and half a one of context: 3 with the reserve, eight times in 24. CUDA graphs
    are measured where the sweep asks for them: they are recorded in a second epoch."""
    gib = 1 << 30
    memory = {"mem_get_info": (22 * gib, 24 * gib), "memory_reserved": 3 * gib // 2}
    for name, value in {**memory, "max_memory_reserved": 2 * gib}.items():
        monkeypatch.setattr(torch.cuda, name, lambda _, value=value: value)
    assert peak_share(None, monkeypatch) == 1 / 8
    assert peak_share(None, monkeypatch, graphs=True) == 1 / 8


def peak_share(
    error: Exception | None, monkeypatch: pytest.MonkeyPatch, *, graphs: bool = False
) -> float:
    """What `gpus: auto` makes of an error."""

    class Failing:
        def __init__(self, device: torch.device, longest: int) -> None:
            assert (device.type, longest) == ("cuda", 4 * 32)

        def run(self, _: Model, task: Task, *__: object, **given: bool) -> None:
            assert (given, task.epochs) == ({"graphs": graphs}, 1 + graphs)
            if error is not None:
                raise error

    monkeypatch.setattr(share, "Finetuner", Failing)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda _: None)
    table = {"source": "hf:d", "split": "train"}
    task = Classification.model_validate(
        {"kind": "classification", "text": ["a"], "train": table, "validation": [table]}
    )
    inherited = cast("Inherited", SimpleNamespace(take=lambda: None))
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", "")
    return share._peak_share(Model(source="hf:m"), task, inherited, FinetuneLane(graphs=graphs))
