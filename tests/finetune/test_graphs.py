"""Recorded steps give what steps give. No GPU is needed: a tape stands in for CUDA graphs."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor

from tamt_ray.data import graphs as data_graphs
from tamt_ray.data.checkpoint import load_checkpoint, tokenizer
from tamt_ray.data.graphs import Recorder
from tamt_ray.data.history import History
from tamt_ray.data.table import load_rows
from tamt_ray.execution.scheduler.errors import fault_of
from tamt_ray.execution.scheduler.faults import Fault
from tamt_ray.finetune import finetuner as finetuner_module
from tamt_ray.finetune import graphs, loop
from tamt_ray.finetune.finetuner import Finetuner
from tamt_ray.finetune.graphs import RecordedStep, frequent_shapes
from tamt_ray.finetune.model import Encoder
from tamt_ray.finetune.step import TrainingStep
from tamt_ray.finetune.vocabulary import tokens_of
from tamt_ray.masks import mask as mask_module
from tamt_ray.masks.mask import KeptZero, Mask, pruned_nonzero
from tamt_ray.masks.matrices import prunable_matrices
from tamt_ray.tasks.base import Task
from tamt_ray.tasks.scores import Evaluation
from tamt_ray.values.model import Model
from tests.conftest import NoWaiting
from tests.tape import Counted

from .halved import halved

Rows = Callable[[int, int], list[dict[str, object]]]
WriteTask = Callable[..., Task]
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def no_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pruned gradients are cleared as on a GPU: a tape does not see NumPy."""
    monkeypatch.setattr(
        mask_module, "clear_pruned", lambda values, keep: torch._foreach_mul_(values, keep)
    )


class Trained:
    """Losses and weights of a fine-tune under a mask of half the weights."""

    def __init__(self, model: Model, task: Task, record: Recorder | None = None) -> None:
        checkpoint = load_checkpoint(model.source)
        data = task.examples(load_rows(task.train), tokenizer(checkpoint), None, 1)
        encoder = Encoder(checkpoint, CPU)
        network = encoder.network(model, task, 1, tokens_of([data.sequences]))
        before = {name: p.detach().clone() for name, p in network.named_parameters()}
        names = prunable_matrices(encoder.body)
        half = Mask.by_magnitude({name: encoder._original[name] for name in names}, 0.5)
        matrices, mask = encoder.masked(half)
        pruned = KeptZero(matrices, mask)
        self.losses: list[float] = []

        def read(pending: list[Tensor], step: int) -> float:
            self.losses += torch.stack(pending).tolist()
            return 0.0

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop, "_mean_loss", read)
            patch.setattr(loop, "_evaluate", lambda *_: Evaluation(0, {}))
            loop.fine_tune(
                network, data, [], task, 1, CPU, History(), None, pruned, record, worth=3
            )
        self.weights = {name: p.detach().clone() for name, p in network.named_parameters()}
        self.still = {n for n, w in self.weights.items() if torch.equal(w, before[n])}
        assert pruned_nonzero(matrices, mask) == 0

    def same(self, other: "Trained") -> bool:
        weights = all(torch.equal(w, other.weights[name]) for name, w in self.weights.items())
        return weights and self.losses == other.losses


@pytest.fixture
def rows() -> list[dict[str, object]]:
    """Of four lengths, so that shapes come again; 39 make a last batch that is not whole."""
    draw = np.random.default_rng(0)
    letters = [draw.choice([*"abcdefghij"], 4 + number % 4) for number in range(39)]
    return [{"text": " ".join(words), "label": int("a" in words)} for words in letters]


@pytest.fixture
def toy(write_task: WriteTask, rows: list[dict[str, object]]) -> Callable[..., Task]:
    def make(**settings: object) -> Task:
        given = {"batch_size": 4, "epochs": 4, "lr": 1e-3, **settings}
        return write_task("classification", rows, rows, **given)

    return make


@pytest.mark.parametrize(
    ("pooling", "settings"),
    [
        ("native", {}),
        ("mean", {"weight_decay": 0.1, "clip": 0.05}),
        ("native", {"precision": "bfloat16"}),
    ],
)
def test_losses_and_weights_are_those_of_plain_steps_to_the_bit(
    model_dir: Path, toy: Callable[..., Task], pooling: str, settings: dict[str, object]
) -> None:
    """With dropout, which each step draws anew; the mean's unused pooler is not decayed."""
    model = Model.model_validate({"source": f"dir:{model_dir}", "pooling": pooling})
    record = Counted()
    plain, recorded = Trained(model, toy(**settings)), Trained(model, toy(**settings), record)
    assert len(plain.losses) == 40
    assert len(set(plain.losses)) == 40
    assert recorded.same(plain)
    assert recorded.still == plain.still
    assert record.records >= 4
    assert record.replays > 40, "two per step"


def test_the_tape_sees_a_number_that_a_graph_would_keep(
    model_dir: Path, toy: Callable[..., Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A learning rate that stays a number of the host's does not change after the recording."""

    def freeze(step: RecordedStep, lr: float) -> None:
        for group in step._optimizer.param_groups:
            group["lr"] = lr

    model = Model(source=f"dir:{model_dir}")
    plain = Trained(model, toy())
    monkeypatch.setattr(RecordedStep, "_set_rate", freeze)
    assert not Trained(model, toy(), Counted()).same(plain)


def test_a_plain_step_on_a_gpu_has_the_rate_that_a_graph_reads() -> None:
    """AdamW's kernel reads float32 from the device: graphs change no bit. CPUs keep float64."""
    lr, rates = 5e-5 * 2 / 3, dict[str, float]()
    for device in ("cpu", "cuda"):
        group: dict[str, float] = {}
        optimizer = SimpleNamespace(param_groups=[group])
        step = SimpleNamespace(_device=torch.device(device), _optimizer=optimizer)
        TrainingStep._set_rate(cast("TrainingStep", step), lr)
        rates[device] = group["lr"]
    assert rates["cpu"] == lr
    assert rates["cuda"] == torch.tensor(lr, dtype=torch.float32).item() != lr


@pytest.mark.parametrize("lacks", [1, 4])
def test_without_memory_for_a_recording_the_fine_tune_goes_on_without(
    model_dir: Path, toy: Callable[..., Task], lacks: int
) -> None:
    """A forward pass, or the second shape's backward pass."""
    model, record = Model(source=f"dir:{model_dir}"), Counted(lacks=lacks)
    with pytest.warns(UserWarning, match="goes on without CUDA graphs"):
        recorded = Trained(model, toy(), record)
    assert record.records == lacks
    assert recorded.same(Trained(model, toy()))


@pytest.mark.parametrize("kind", ["classification", "spans"])
def test_recorded_steps_wait_for_nothing(
    meta: torch.device, model_dir: Path, write_task: WriteTask, sentiment: Rows, lookup: Rows,
    monkeypatch: pytest.MonkeyPatch, kind: str,
) -> None:  # fmt: skip
    library = torch.library.Library("aten", "IMPL", "Meta")
    library.impl("_fused_adamw_.tensor_lr", lambda *tensors, **numbers: None)
    rows = lookup if kind == "spans" else sentiment
    more = {"max_length": 64, "doc_stride": 16, "max_query": 8} if kind == "spans" else {}
    task = write_task(kind, rows(12, 1), rows(6, 2), batch_size=4, epochs=3, **more)
    model = Model(source=f"dir:{model_dir}")
    network, data, pruned = halved(model, task, meta)
    monkeypatch.setattr(loop, "_mean_loss", lambda *_: 0.0)
    monkeypatch.setattr(loop, "_evaluate", lambda *_: Evaluation(0, {}))

    def once(work: Callable[[], None]) -> Callable[[], None]:
        work()
        return lambda: None

    record = Counted(once)
    with NoWaiting():
        loop.fine_tune(network, data, [], task, 1, meta, History(), None, pruned, record, worth=2)
    assert record.replays > 2
    library._destroy()


def test_shapes_that_come_often_are_recorded() -> None:
    lengths = np.array([5, 5, 5, 5, 7, 7, 6, 7, 9])
    batches = [np.array(b) for b in ([0, 1], [2, 3], [4, 5], [6, 7], [7, 6], [5, 6], [8])]
    assert frequent_shapes(batches, lengths, 2) == {(2, 5, False), (2, 7, True)}
    assert frequent_shapes(batches, lengths, 3) == {(2, 7, True)}
    every = frequent_shapes([np.array([n]) for n in range(50)] * 2, np.arange(50) + 1, 2)
    assert len(every) == graphs.MOST


class Spoiled:
    """`torch.cuda.graph` where the work fails, and then the end of the recording too, if any."""

    def __init__(self, end: Exception | None) -> None:
        self._end = end

    def __call__(self, graph: object, pool: object) -> "Spoiled":
        return self

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        if self._end:
            raise self._end


@pytest.mark.parametrize(
    ("met", "end", "fault"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), None, Fault.MEMORY),
        (torch.OutOfMemoryError("x"), RuntimeError("capture was invalidated"), Fault.DIED),
        (RuntimeError("operation not permitted when stream is capturing"), None, Fault.DIED),
        (ValueError("a hook's own"), None, Fault.DIED),
    ],
)
def test_a_failed_recording_costs_the_process_unless_it_ended_in_order(
    monkeypatch: pytest.MonkeyPatch, met: Exception, end: Exception | None, fault: Fault
) -> None:
    """And not the unit, which is tried again: see test_fleet_slices.py."""
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: 1)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: None)
    monkeypatch.setattr(torch.cuda, "graph", Spoiled(end))
    record = data_graphs.cuda_recorder()

    def work() -> None:
        raise met

    with pytest.raises(RuntimeError) as raised:
        record(work)
    assert fault_of(raised.value) is fault
    assert isinstance(raised.value, torch.OutOfMemoryError) is (fault is Fault.MEMORY)


@pytest.fixture
def ran(model_dir: Path, toy: Callable[..., Task]) -> Callable[[bool], dict[str, float]]:
    def run(asked: bool) -> dict[str, float]:
        model = Model(source=f"dir:{model_dir}")
        return Finetuner(CPU).run(model, toy(), 1, None, graphs=asked).metrics

    return run


def test_on_a_cpu_they_are_ignored_with_a_sentence(
    ran: Callable[[bool], dict[str, float]],
) -> None:
    with pytest.warns(UserWarning, match="graphs is ignored: CUDA graphs need a GPU"):
        asked = ran(True)
    assert asked == ran(False)


def test_a_fine_tune_that_asks_for_them_is_recorded(
    ran: Callable[[bool], dict[str, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    record = Counted()
    monkeypatch.setattr(finetuner_module, "graph_recorder", lambda *_: record)
    monkeypatch.setattr(finetuner_module, "WORTH", 3)
    plain = ran(False)
    assert record.records == 0
    assert ran(True) == plain
    assert record.records > 0
