"""Fine-tuning beside padding with masks in every forward, and beside `Trainer`.

The quickstart's model on real GLUE tasks. All contestants train the same batches of 32, out of an
epoch of the whole task that is sorted by length as ours is; `Trainer` itself sorts as well. Each
trains as its users run it, in a process of its own, and they take turns at each step. Beside
`Trainer`, which masks nothing, ours carries a mask. Ratios are those of a whole epoch's processor
time on one thread. Needs the extra `bench` and the tasks' data; on a GPU neither, where random
words are trained on at the shape of BERT-base (`words.py`).
"""

import atexit
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from unittest.mock import patch

import numpy as np
import torch
from transformers import (
    AutoModelForSequenceClassification,
    DataCollatorWithPadding,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.utils import logging

from benchmarks import words
from benchmarks.answer import Answer, at_least
from benchmarks.device import CPU as HOST
from benchmarks.device import Device
from benchmarks.padded import Padded
from benchmarks.turns import Run, Turn, in_turns
from tamt_ray.data.checkpoint import Checkpoint, load_checkpoint, tokenizer
from tamt_ray.data.table import load_rows
from tamt_ray.execution.worker.device import keep_freed_memory
from tamt_ray.finetune import loop
from tamt_ray.finetune.finetuner import Finetuner
from tamt_ray.finetune.loop import epoch_batches
from tamt_ray.finetune.model import Encoder
from tamt_ray.masks.mask import Mask
from tamt_ray.masks.matrices import prunable_matrices
from tamt_ray.spec.load import load_sweep
from tamt_ray.tasks.classification import Classification
from tamt_ray.tasks.features.examples import Indices
from tamt_ray.tasks.features.sentences import Sentences
from tamt_ray.values.model import Model

ROUNDS = 5
LENGTH = 128
BATCHES = 6
TEXTS = {"cola": 1, "sst2": 1, "mrpc": 2, "rte": 2}
"""Sentences of an example."""
TARGETS = {"cola": 4.0, "sst2": 4.0, "mrpc": 1.8, "rte": 1.8}
CPU = torch.device("cpu")


def run(device: Device = HOST) -> Iterator[Answer]:
    """How many times faster ours is, task by task."""
    if device.gpu:
        yield from words.run(device)
        return
    for name in TARGETS:
        steps = len(_setting(name).epoch)
        loops = in_turns(
            {
                "ours": partial(_ours, name),
                "padded": partial(_padded, name),
                "Trainer": partial(_trainer, name),
            },
            ROUNDS,
        )
        seconds = {who: loop.epoch(steps) for who, loop in loops.items()}
        measured = [
            f"{who} {seconds[who]:.0f} s ({fmean(loop.steps):.3g} s a step)"
            for who, loop in loops.items()
        ]
        said = f"epoch of {steps} steps out of {BATCHES}: {', '.join(measured)}"
        question = f"fine-tuning on {name}: times faster than"
        yield at_least(
            f"{question} padding to {LENGTH}, masks in every forward",
            seconds["padded"] / seconds["ours"], TARGETS[name], "x", said,
        )  # fmt: skip
        yield at_least(
            f"{question} Trainer on the same batches",
            seconds["Trainer"] / seconds["ours"], 1.0, "x", said,
        )  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """What all contestants train on."""

    checkpoint: Checkpoint
    model: Model
    task: Classification
    examples: Sentences
    epoch: Sequence[Indices]

    @property
    def batches(self) -> list[Indices]:
        """The first full ones."""
        return [batch for batch in self.epoch if len(batch) == self.task.batch_size][:BATCHES]

    def masked(self) -> tuple[Encoder, Mask]:
        """The encoder and a mask of half of its weights."""
        encoder = Encoder(self.checkpoint, CPU)
        return encoder, Mask.by_magnitude(prunable_matrices(encoder.body), 0.5)


def _setting(name: str) -> Setting:
    torch.set_num_threads(1)
    sweep = load_sweep(Path(__file__).parents[1] / "sweeps" / "quickstart.yaml")
    model = Model(source=next(iter(sweep.models.values())).source)
    task, checkpoint = glue(name), load_checkpoint(model.source)
    examples = Sentences.read(task, load_rows(task.train), tokenizer(checkpoint), None, 1)
    epoch = epoch_batches(examples.sequences.lengths, task.batch_size, 1, 0)
    return Setting(checkpoint, model, task, examples, epoch)


def _ours(name: str) -> Run:
    """As a worker of a sweep does it."""
    keep_freed_memory()
    setting, ours = _setting(name), Finetuner(CPU)
    mask = setting.masked()[1]

    def run(turn: Turn) -> object:
        with patch.object(loop, "epoch_batches", return_value=_stepwise(setting.batches, turn)):
            return ours.run(setting.model, setting.task, 1, mask)

    return run


def _padded(name: str) -> Run:
    """One batch of 128 tokens a sentence costs what any does."""
    setting = _setting(name)
    encoder, mask = setting.masked()
    network = encoder.network(setting.model, setting.task, 1)
    padded = Padded(network, mask, encoder.masked(mask)[0], LENGTH)

    def run(turn: Turn) -> None:
        turn()
        examples, some = setting.examples, setting.batches[:1]
        padded.epoch(examples.sequences, examples.targets, setting.task, some)
        turn()

    return run


def _stepwise(batches: Sequence[Indices], turn: Turn) -> Iterator[Indices]:
    for batch in batches:
        turn()
        yield batch
    turn()


class _Stepwise(TrainerCallback):
    def __init__(self, turn: Turn) -> None:
        self._turn = turn

    def on_step_begin(self, *_: object, **__: object) -> None:
        self._turn()

    def on_epoch_end(self, *_: object, **__: object) -> None:
        self._turn()


def glue(name: str) -> Classification:
    """A GLUE task of one epoch; it evaluates once, on a single example."""
    columns = ("sentence",) if TEXTS[name] == 1 else ("sentence1", "sentence2")
    table = {"source": f"hf:nyu-mll/glue#{name}", "split": "train"}
    return Classification.model_validate(
        {
            "kind": "classification", "train": table, "validation": [table], "text": columns,
            "max_validation": 1, "max_length": LENGTH, "epochs": 1, "eval_every": BATCHES,
        }
    )  # fmt: skip


def _trainer(name: str) -> Run:
    """These batches in `Trainer`, on the same features, from the same pre-trained weights."""
    from datasets import Dataset

    setting = _setting(name)
    checkpoint, task, examples = setting.checkpoint, setting.task, setting.examples
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    model = AutoModelForSequenceClassification.from_pretrained(
        checkpoint.path, num_labels=2, dtype=torch.float32
    )
    pretrained = {name: value.clone() for name, value in model.state_dict().items()}
    sequences, chosen = examples.sequences, np.concatenate(setting.batches)
    rows = Dataset.from_dict(
        {
            "input_ids": [
                sequences.ids[sequences.starts[row] : sequences.starts[row + 1]].tolist()
                for row in chosen
            ],
            "labels": examples.targets[chosen].tolist(),
        }
    )
    folder = tempfile.mkdtemp(prefix="tamt-bench-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    arguments = TrainingArguments(
        output_dir=folder, num_train_epochs=1, per_device_train_batch_size=task.batch_size,
        learning_rate=task.lr, train_sampling_strategy="sequential", use_cpu=True,
        save_strategy="no", eval_strategy="no", logging_strategy="no", report_to="none",
        disable_tqdm=True,
    )  # fmt: skip
    collator = DataCollatorWithPadding(tokenizer(checkpoint))

    def epoch(turn: Turn) -> object:
        model.load_state_dict(pretrained)
        peer = Trainer(model=model, args=arguments, train_dataset=rows, data_collator=collator)
        peer.remove_callback(PrinterCallback)
        peer.add_callback(_Stepwise(turn))
        return peer.train()

    return epoch
