"""No step of a fine-tune has the host wait for a GPU: steps run on Torch's meta device."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tamt_ray.data.checkpoint import load_checkpoint, tokenizer
from tamt_ray.data.history import History
from tamt_ray.data.table import load_rows
from tamt_ray.finetune import loop
from tamt_ray.finetune.loop import Evaluation, collate
from tamt_ray.finetune.model import Encoder
from tamt_ray.tasks.base import Task
from tamt_ray.tasks.features.examples import Examples
from tamt_ray.values.model import Model
from tests.conftest import NoWaiting

from .halved import halved

Rows = Callable[[int, int], list[dict[str, object]]]
WriteTask = Callable[..., Task]


@pytest.mark.parametrize("pooling", ["native", "mean"])
@pytest.mark.parametrize("kind", ["classification", "regression", "spans"])
def test_steps_wait_for_nothing(
    meta: torch.device, model_dir: Path, write_task: WriteTask, sentiment: Rows, lookup: Rows,
    monkeypatch: pytest.MonkeyPatch, kind: str, pooling: str,
) -> None:  # fmt: skip
    model = Model.model_validate({"source": f"dir:{model_dir}", "pooling": pooling})
    rows = lookup if kind == "spans" else sentiment
    more = {"max_length": 64, "doc_stride": 16, "max_query": 8} if kind == "spans" else {}
    task = write_task(kind, rows(20, 1), rows(6, 2), batch_size=4, epochs=2, **more)
    network, data, pruned = halved(model, task, meta)
    steps: list[int] = []

    def looked(pending: list[Tensor], step: int) -> float:
        steps.append(step)
        return 0.0

    monkeypatch.setattr(loop, "_mean_loss", looked)
    monkeypatch.setattr(loop, "_evaluate", lambda *_: Evaluation(0, {}))
    # Padded batches, and one in which nothing is.
    monkeypatch.setattr(loop, "epoch_batches", _uneven)
    assert {_padded(data, batch) for batch in _uneven(data.sequences.lengths)} == {True, False}
    with NoWaiting():
        loop.fine_tune(network, data, [data], task, 1, meta, History(), None, pruned)
    assert steps[-1] == task.epochs * -(-len(data.sequences) // 4)


def _uneven(lengths: np.ndarray, *_: object) -> Sequence[np.ndarray]:
    """As many batches as there are, one of a single sequence."""
    order = np.arange(len(lengths))
    batches = [order[start : start + 4] for start in range(0, len(order), 4)]
    return [*batches[:-1], batches[-1][:1]]


def _padded(data: Examples, batch: np.ndarray) -> bool:
    return collate(data.sequences, batch, torch.device("cpu")).padded


@pytest.mark.parametrize("kind", ["classification", "spans"])
def test_an_evaluation_computes_all_before_it_reads(
    meta: torch.device, model_dir: Path, write_task: WriteTask, sentiment: Rows, lookup: Rows,
    kind: str,
) -> None:  # fmt: skip
    model = Model(source=f"dir:{model_dir}")
    rows = lookup if kind == "spans" else sentiment
    more = {"max_length": 64, "doc_stride": 16, "max_query": 8} if kind == "spans" else {}
    task = write_task(kind, rows(20, 1), rows(6, 2), batch_size=4, epochs=1, **more)
    checkpoint = load_checkpoint(model.source)
    data = task.examples(load_rows(task.train), tokenizer(checkpoint), None, 1)
    network = Encoder(checkpoint, meta).network(model, task, 1)
    seen: list[int] = []
    network.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0]["input_ids"])))
    with NoWaiting(), pytest.raises(NotImplementedError, match="Cannot copy out of meta tensor"):
        loop.outputs(network, data, 4, meta)
    assert sum(seen) == len(data.sequences)
    assert len(seen) > 1


def test_a_look_at_a_loss_would_be_seen(
    meta: torch.device, model_dir: Path, write_task: WriteTask, sentiment: Rows
) -> None:
    task = write_task("classification", sentiment(20, 1), sentiment(6, 2), batch_size=4, epochs=1)
    model = Model(source=f"dir:{model_dir}")
    checkpoint = load_checkpoint(model.source)
    data = task.examples(load_rows(task.train), tokenizer(checkpoint), None, 1)
    network = Encoder(checkpoint, meta).network(model, task, 1)
    with pytest.raises(NotImplementedError, match="Cannot copy out of meta tensor"):
        loop.fine_tune(network, data, [data], task, 1, meta, History(), None)
