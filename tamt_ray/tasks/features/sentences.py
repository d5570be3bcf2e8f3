"""Features of single sentences and sentence pairs, and their labels as numbers."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from tamt_ray.data.checkpoint import pad_id
from tamt_ray.data.device import send
from tamt_ray.data.table import Rows, column
from tamt_ray.tasks.classification import Classification
from tamt_ray.tasks.features.examples import Batch, Indices, PackedSequences, subset
from tamt_ray.tasks.metrics.base import Predictions
from tamt_ray.tasks.sentences import SentenceTask
from tamt_ray.values.base import nearest

_SHOWN = 8
"""Labels that a message lists."""
_CHUNK = 10_000
"""Rows tokenised at a time: bounds the Python lists that a tokenizer returns."""


def labels(values: list[object], task: SentenceTask) -> tuple[Indices, NDArray[np.float64]]:
    """Return the rows that have a label, and their labels: classes 0, 1, … or numbers.

    Only a `cut` drops rows. Raises ValueError, with the first row, for a value that is no label of
    the task.
    """
    names = task.names if isinstance(task, Classification) else ()
    if names:
        known = {name: float(number) for number, name in enumerate(names)}
        found = [_named(value, row, task, known) for row, value in enumerate(values)]
    else:
        found = [_number(value, row, task, values) for row, value in enumerate(values)]
    numbers = np.array(found, dtype=np.float64)
    if len(numbers) > 0 and (numbers == -1).all():
        raise ValueError(
            f"every label in column {task.label!r} is -1: this split's labels are hidden, "
            "as in the test sets of GLUE; choose a labelled split"
        )
    rows = np.arange(len(numbers))
    if not isinstance(task, Classification):
        return rows, numbers
    if task.cut is not None:
        kept = rows[(numbers >= task.cut.above) | (numbers <= task.cut.below)]
        return kept, (numbers[kept] >= task.cut.above).astype(np.float64)
    whole = (numbers >= 0) & (numbers == np.floor(numbers))
    wrong = rows[~whole | (numbers >= task.outputs)]
    if len(wrong) > 0:
        last = int(numbers.max()) if whole.all() else 0
        remedy = f"set `classes: {last + 1}`" if last else "set `cut` or choose another split"
        raise ValueError(
            f"row {wrong[0]}: label {values[wrong[0]]!r} in column {task.label!r} is none of the "
            f"classes 0 to {task.outputs - 1}; {remedy}"
        )
    return rows, numbers


def check_variety(numbers: NDArray[np.float64], task: SentenceTask) -> None:
    """Raise ValueError where all labels are equal: nothing can be learned, no score is defined."""
    if len(numbers) > 0 and (numbers == numbers[0]).all():
        raise ValueError(
            f"every label in column {task.label!r} is {numbers[0]:g}; choose rows of at least two "
            "different labels"
        )


def _named(value: object, row: int, task: SentenceTask, known: dict[str, float]) -> float:
    if isinstance(value, str | int) and str(value) in known:
        return known[str(value)]
    raise ValueError(
        f"row {row}: label {value!r} in column {task.label!r} is none of `classes`"
        f"{nearest(str(value), known)}"
    )


def _number(value: object, row: int, task: SentenceTask, values: list[object]) -> float:
    where = f"row {row}: {value!r} in the label column {task.label!r}"
    if isinstance(value, list):
        raise ValueError(f"{where} is a list; a row has one label, multi-label data are not read")
    if isinstance(value, str | int | float):
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if math.isfinite(number):
            return number
    hint = "; remove the row or give it a label"
    if isinstance(value, str) and isinstance(task, Classification):
        common = Counter(str(each) for each in values).most_common(_SHOWN + 1)
        listed = ", ".join(sorted(name for name, _ in common[:_SHOWN]))
        more = ", …" if len(common) > _SHOWN else ""
        hint = f"; for classes with names set `classes: [{listed}{more}]`"
    raise ValueError(f"{where} is not a number{hint}")


@dataclass(frozen=True)
class Sentences:
    """Sentences or pairs, each with a class or a number."""

    sequences: PackedSequences
    targets: Tensor
    """[sequences]: int64 classes or float32 numbers."""
    classes: int
    """1 for a regression."""
    fingerprint: str

    @property
    def count(self) -> int:
        """Sentences or pairs."""
        return len(self.sequences)

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        return self.sequences.nbytes + self.targets.nbytes

    @staticmethod
    def check(task: SentenceTask, rows: Rows) -> None:
        """Raise ValueError or SourceError for rows without text, without a label of the task, or
        with one label or one empty text only."""
        kept, values, columns = _read(task, rows)
        check_variety(values, task)
        for name, texts in zip(task.text, columns, strict=True):
            if not any(texts[row].strip() for row in kept):
                raise ValueError(f"every text in column {name!r} is empty")

    @classmethod
    def read(
        cls,
        task: SentenceTask,
        rows: Rows,
        tokenizer: PreTrainedTokenizerBase,
        limit: int | None,
        seed: int | str,
    ) -> "Sentences":
        """Return the features of at most `limit` rows. Raises ValueError for a wrong label."""
        kept, values, columns = _read(task, rows)
        chosen = subset(len(kept), limit, seed)
        texts = [[texts[row] for row in kept[chosen]] for texts in columns]
        return cls(
            sequences=tokenise(tokenizer, texts, task.max_length),
            targets=torch.from_numpy(values[chosen]).to(
                torch.float32 if task.outputs == 1 else torch.int64
            ),
            classes=task.outputs,
            fingerprint=rows.fingerprint,
        )

    def pack(self) -> dict[str, Tensor]:
        """Return the features as tensors."""
        return {**self.sequences.pack(), "targets": self.targets}

    @classmethod
    def unpack(
        cls, tensors: Mapping[str, Tensor], task: SentenceTask, fingerprint: str
    ) -> "Sentences":
        """Return the features that `pack` stored."""
        return cls(PackedSequences.unpack(tensors), tensors["targets"], task.outputs, fingerprint)

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy, or the squared error of a regression; outputs are [batch, classes]."""
        targets = send(self.targets[torch.from_numpy(batch.indices)], outputs.device)
        if self.classes == 1:
            return F.mse_loss(outputs.squeeze(1), targets)
        return F.cross_entropy(outputs, targets)

    def predictions(self, outputs: Sequence[NDArray[np.float32]]) -> Predictions:
        """Return the class with the largest output, or the outputs as numbers."""
        stacked = np.stack(outputs)
        if self.classes == 1:
            return Predictions(self.targets.numpy(), stacked[:, 0])
        return Predictions(self.targets.numpy(), stacked.argmax(axis=1), stacked, self.classes)

    def constants(self) -> Iterator[Predictions]:
        """Yield each class that occurs, or the mean number, as the answer to everything."""
        gold = self.targets.numpy()
        if self.classes == 1:
            yield Predictions(gold, np.full_like(gold, gold.mean()))
            return
        for answer in np.unique(gold):
            predicted = np.full_like(gold, answer)
            sure = np.eye(self.classes, dtype=np.float32)[predicted]
            yield Predictions(gold, predicted, sure, self.classes)


def tokenise(
    tokenizer: PreTrainedTokenizerBase, texts: list[list[str]], max_length: int
) -> PackedSequences:
    """Return each sentence or pair with its special tokens, the longer part of a pair cut first."""
    ids: list[NDArray[np.int32]] = []
    types: list[NDArray[np.uint8]] = []
    lengths: list[int] = [0]
    for start in range(0, len(texts[0]), _CHUNK):
        part = [column[start : start + _CHUNK] for column in texts]
        encoded = tokenizer(
            part[0],
            part[1] if len(part) > 1 else None,
            truncation=True,
            max_length=max_length,
            return_attention_mask=False,
        )
        sequences: list[list[int]] = encoded["input_ids"]
        lengths += map(len, sequences)
        ids.append(np.fromiter(chain.from_iterable(sequences), dtype=np.int32))
        if "token_type_ids" in encoded:
            segments: list[list[int]] = encoded["token_type_ids"]
            types.append(np.fromiter(chain.from_iterable(segments), dtype=np.uint8))
    return PackedSequences(
        ids=np.concatenate(ids),
        types=np.concatenate(types) if types else None,
        starts=np.cumsum(lengths, dtype=np.int64),
        pad_id=pad_id(tokenizer),
    )


def _read(task: SentenceTask, rows: Rows) -> tuple[Indices, NDArray[np.float64], list[list[str]]]:
    """Return the rows that have a label, their labels, and the texts of all rows by column."""
    kept, values = labels(column(rows, task.label), task)
    columns = [_texts(column(rows, name), name) for name in task.text]
    if len(kept) == 0:
        raise ValueError("no row is left to learn from or to evaluate on")
    return kept, values, columns


def _texts(values: list[object], name: str) -> list[str]:
    texts = [value for value in values if isinstance(value, str)]
    if len(texts) < len(values):
        row, value = next((r, v) for r, v in enumerate(values) if not isinstance(v, str))
        raise ValueError(f"row {row}: {value!r} in the text column {name!r} is not text")
    return texts
