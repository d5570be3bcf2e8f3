"""Fine-tuning beside padding with masks in every forward, and beside `Trainer`.

The quickstart's model on real GLUE tasks. All contestants train the same batches of 32, out of an
epoch of the whole task that is sorted by length as ours is; `Trainer` itself sorts as well. A
padded batch costs the same whatever is in it, so that contestant trains `PADDED` of them. Beside
`Trainer`, which masks nothing, ours carries a mask. Ratios are of processor time on one thread.
Needs the extra `bench` and the tasks' data.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import fmean
from unittest.mock import patch

import numpy as np
import torch
from datasets import Dataset
from transformers import (
    AutoModelForSequenceClassification,
    DataCollatorWithPadding,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.utils import logging

from benchmarks.answer import Answer, at_least
from benchmarks.padded import Padded
from benchmarks.turns import Turn, in_turns
from tamt_ray.data.checkpoint import Checkpoint, load_checkpoint, tokenizer
from tamt_ray.data.table import load_rows
from tamt_ray.finetune import loop
from tamt_ray.finetune.batches import epoch_batches
from tamt_ray.finetune.examples import Indices
from tamt_ray.finetune.finetuner import Finetuner
from tamt_ray.finetune.model import Encoder
from tamt_ray.finetune.sentences import Sentences, sentences
from tamt_ray.masks.mask import Mask
from tamt_ray.masks.matrices import prunable_matrices
from tamt_ray.spec.load import load_sweep
from tamt_ray.spec.model import Model
from tamt_ray.spec.task import Classification

ROUNDS = 5
LENGTH = 128
BATCHES = 6
TEXTS = {"cola": 1, "sst2": 1, "mrpc": 2, "rte": 2}
"""Sentences of an example."""
TARGETS = {"cola": 4.0, "sst2": 4.0, "mrpc": 1.8, "rte": 1.8}
CPU = torch.device("cpu")


def run() -> Iterator[Answer]:
    """How many times faster ours is, task by task."""
    torch.set_num_threads(1)
    sweep = load_sweep(Path(__file__).parents[1] / "sweeps" / "quickstart.yaml")
    source = next(iter(sweep.models.values())).source
    for name in TARGETS:
        yield from _beside(name, source)


def _beside(name: str, source: str) -> Iterator[Answer]:
    model, task = Model(source=source), glue(name)
    checkpoint = load_checkpoint(source)
    examples = sentences(task, load_rows(task.train), tokenizer(checkpoint), None, 1)
    ours, encoder = Finetuner(CPU), Encoder(checkpoint, CPU)
    mask = Mask.by_magnitude(prunable_matrices(encoder.body), 0.5)
    padded = Padded(encoder.network(model, task, 1), mask, encoder.masked(mask)[0], LENGTH)
    epoch = epoch_batches(examples.sequences.lengths, task.batch_size, 1, 0)
    some = [batch for batch in epoch if len(batch) == task.batch_size][:BATCHES]

    def subnetwork(turn: Turn) -> object:
        with patch.object(loop, "epoch_batches", return_value=_stepwise(some, turn)):
            return ours.run(model, task, 1, mask)

    def padding(turn: Turn) -> None:
        turn()
        padded.epoch(examples.sequences, examples.targets, task, some[:1])
        turn()

    with tempfile.TemporaryDirectory(prefix="tamt-bench-") as folder:
        loops = in_turns(
            {
                "ours": subnetwork,
                "padded": padding,
                "Trainer": trainer(checkpoint, examples, some, task, Path(folder)),
            },
            ROUNDS,
        )
    seconds = {who: loop.epoch(len(epoch)) for who, loop in loops.items()}
    told = [
        f"{who} {seconds[who]:.0f} s ({fmean(loop.steps):.3g} s a step, {loop.around:.2g} s around)"
        for who, loop in loops.items()
    ]
    said = f"epoch of {len(epoch)} steps out of {BATCHES}: {', '.join(told)}"
    question = f"fine-tuning on {name}: times faster than"
    yield at_least(
        f"{question} padding to {LENGTH}, masks in every forward",
        seconds["padded"] / seconds["ours"], TARGETS[name], "x", said,
    )  # fmt: skip
    yield at_least(
        f"{question} Trainer on the same batches",
        seconds["Trainer"] / seconds["ours"], 1.0, "x", said,
    )  # fmt: skip


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


def trainer(
    checkpoint: Checkpoint,
    examples: Sentences,
    batches: Sequence[Indices],
    task: Classification,
    folder: Path,
) -> Callable[[Turn], object]:
    """These batches in `Trainer`, on the same features, from the same pre-trained weights."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    model = AutoModelForSequenceClassification.from_pretrained(
        checkpoint.path, num_labels=2, dtype=torch.float32
    )
    pretrained = {name: value.clone() for name, value in model.state_dict().items()}
    sequences, chosen = examples.sequences, np.concatenate(batches)
    rows = Dataset.from_dict(
        {
            "input_ids": [
                sequences.ids[sequences.starts[row] : sequences.starts[row + 1]].tolist()
                for row in chosen
            ],
            "labels": examples.targets[chosen].tolist(),
        }
    )
    arguments = TrainingArguments(
        output_dir=str(folder), num_train_epochs=1, per_device_train_batch_size=task.batch_size,
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
