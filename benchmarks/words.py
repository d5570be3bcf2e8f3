"""Fine-tuning random words: beside `Trainer`, beside padding, and beside other fine-tunes.

Needs no data. Sentences have the lengths of CoLA's; batches hold 32 of them.
"""

import importlib.util
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from benchmarks.answer import Answer, at_least, at_most
from benchmarks.device import Device
from benchmarks.padded import Padded
from tamt_ray.data.checkpoint import Checkpoint
from tamt_ray.data.graphs import Recorder
from tamt_ray.data.history import History
from tamt_ray.finetune import loop
from tamt_ray.finetune.model import Encoder
from tamt_ray.finetune.vocabulary import tokens_of
from tamt_ray.masks.mask import KeptZero, Mask, pruned_nonzero
from tamt_ray.masks.matrices import prunable_matrices
from tamt_ray.tasks.classification import Classification
from tamt_ray.tasks.features.examples import Batch, Examples, PackedSequences
from tamt_ray.tasks.scores import Evaluation
from tamt_ray.values.model import Model

_PADDED = 128
"""Tokens to which the released code pads every sentence."""
TABLE = {"source": "dir:x", "split": "train"}
TASK = Classification.model_validate(
    {
        "kind": "classification", "train": TABLE, "validation": [TABLE], "text": ["a"],
        "batch_size": 32, "epochs": 1, "eval_every": 10**6,
    }
)  # fmt: skip


@dataclass(frozen=True)
class Words:
    """Sentences of random words with random classes."""

    sequences: PackedSequences
    targets: Tensor

    @classmethod
    def drawn(cls, count: int, longest: int) -> "Words":
        """So many batches of sentences, of `longest` tokens at most."""
        draw = np.random.default_rng(0)
        lengths = draw.lognormal(3.0, 0.5, count * TASK.batch_size).astype(np.int64)
        starts = np.concatenate([[0], np.clip(lengths, 6, longest).cumsum()])
        ids = draw.integers(999, 8000, starts[-1]).astype(np.int32)
        targets = torch.from_numpy(draw.integers(0, 2, len(lengths)))
        return cls(PackedSequences(ids, None, starts, 0), targets)

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy."""
        targets = self.targets[torch.from_numpy(batch.indices)].to(outputs.device)
        return functional.cross_entropy(outputs, targets)


class Finetune:
    """A fine-tune of `count` batches under a mask of half the weights, with `changes` of the
    task."""

    def __init__(self, path: Path, count: int, device: Device, **changes: object) -> None:
        longest = _longest(device)
        self._data, self._warm = Words.drawn(count, longest), Words.drawn(2, longest)
        self._device = device
        self._task = TASK.model_copy(update=changes)
        self._encoder = Encoder(Checkpoint(path, "x"), device.torch)
        names = prunable_matrices(self._encoder.body)
        weights = {name: self._encoder._original[name] for name in names}
        self._half = Mask.by_magnitude(weights, 0.5)
        self.begin()

    def begin(self) -> None:
        """Begin with θ0 and a new head."""
        tokens = tokens_of([self._data.sequences, self._warm.sequences])
        self._network = self._encoder.network(Model(source="dir:x"), self._task, 1, tokens)
        self._masked = self._encoder.masked(self._half)

    def ours(
        self, ready: Callable[[], object] = lambda: None, record: Recorder | None = None
    ) -> float:
        """Seconds of all steps, as a worker of a sweep does them; `ready` is called before. With
        `record`, shapes that come twice are recorded."""
        pruned = KeptZero(*self._masked)
        self._train(self._warm, pruned)
        ready()
        begin = self._device.clock()
        self._train(self._data, pruned, record)
        return self._device.clock() - begin

    def weights(self) -> list[Tensor]:
        """Copies of the network's weights."""
        return [weight.detach().clone() for weight in self._network.parameters()]

    def moved(self) -> int:
        """Pruned weights that are not zero."""
        return pruned_nonzero(*self._masked)

    def padded(self) -> float:
        """Seconds of the same number of steps as the released code has them; ends the network."""
        matrices, mask = self._masked
        peer = Padded(self._network, mask, matrices, _longest(self._device))
        for data in (self._warm, self._data):
            batches = loop.epoch_batches(data.sequences.lengths, TASK.batch_size, 1, 0)
            begin = self._device.clock()
            peer.epoch(data.sequences, data.targets, self._task, batches)
        return self._device.clock() - begin

    def _train(self, data: Words, pruned: KeptZero, record: Recorder | None = None) -> None:
        # Metrics need scikit-learn and are no part of a step; steps read sequences and loss alone.
        with patch.object(loop, "_evaluate", lambda *_: Evaluation(0, {})):
            loop.fine_tune(
                self._network, cast("Examples", data), [], self._task, 1, self._device.torch,
                History(), None, pruned, record, worth=2,
            )  # fmt: skip


def run(device: Device) -> Iterator[Answer]:
    """A step of ours beside one with padding and masks in every forward, and one of `Trainer`."""
    torch.set_num_threads(1)
    steps = 60 if device.cuda else 2
    with tempfile.TemporaryDirectory(prefix="tamt-words-") as scratch:
        path = Path(scratch)
        device.shape.save(path)
        finetune = Finetune(path, steps, device)
        device.peak()
        seconds, peak = finetune.ours(), device.peak()
        said = f"{1e3 * seconds / steps:.3g} ms per step, {peak / 2**30:.2f} GiB at most"
        moved = finetune.moved()
        yield at_most("pruned weights that moved in a fine-tune", moved, 0, "weights", said)
        gain = finetune.padded() / seconds
        question = f"time of padding to {_PADDED}, masks in every forward, over a fine-tune's"
        yield device.judged(at_least(question, gain, 2, "x"))
        if not importlib.util.find_spec("accelerate"):
            yield Answer("Trainer was left out: pip install accelerate", None)
            return
        for precision in ("float32", "tf32", "bfloat16"):
            question = f"Trainer's time over a fine-tune's, {precision}"
            if precision == "tf32" and not device.cuda:
                yield Answer(f"{question}: left out, CPUs have none", None)
                continue
            if precision != "float32":
                seconds = Finetune(path, steps, device, precision=precision).ours()
            gain = trainer(path, steps, device, precision) / seconds
            yield device.judged(at_least(question, gain, 1.3, "x"))


def trainer(path: Path, count: int, device: Device, precision: str) -> float:
    """Seconds of as many steps in `Trainer`, which masks nothing. Needs accelerate."""
    from transformers import (
        AutoModelForSequenceClassification,
        PrinterCallback,
        Trainer,
        TrainingArguments,
    )

    def collate(some: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        padded = torch.nn.utils.rnn.pad_sequence([row["ids"] for row in some], batch_first=True)
        labels = torch.stack([row["label"] for row in some])
        return {"input_ids": padded, "attention_mask": (padded != 0).long(), "labels": labels}

    model = AutoModelForSequenceClassification.from_pretrained(path, num_labels=2)
    given = TrainingArguments(
        output_dir=str(path / "out"), num_train_epochs=1,
        per_device_train_batch_size=TASK.batch_size, use_cpu=not device.cuda,
        train_sampling_strategy="sequential", save_strategy="no", eval_strategy="no",
        logging_strategy="no", report_to="none", disable_tqdm=True, remove_unused_columns=False,
        bf16=precision == "bfloat16", tf32=True if precision == "tf32" else None,
    )  # fmt: skip
    spent = 0.0
    for batches in (2, count):
        rows = list(_rows(Words.drawn(batches, _longest(device))))
        peer = Trainer(
            model=model, args=given, data_collator=collate,
            train_dataset=cast("Dataset[dict[str, Tensor]]", rows),
        )  # fmt: skip
        peer.remove_callback(PrinterCallback)
        spent = peer.train().metrics["train_runtime"]
    return spent


def _longest(device: Device) -> int:
    """Tokens of the longest sentence."""
    return min(_PADDED, device.shape.length - 1)


def _rows(data: Words) -> Iterator[dict[str, Tensor]]:
    """The sentences in the order in which ours reads them."""
    starts, ids = data.sequences.starts, torch.from_numpy(data.sequences.ids.astype(np.int64))
    for batch in loop.epoch_batches(data.sequences.lengths, TASK.batch_size, 1, 0):
        for row in batch.tolist():
            yield {"ids": ids[starts[row] : starts[row + 1]], "label": data.targets[row]}
