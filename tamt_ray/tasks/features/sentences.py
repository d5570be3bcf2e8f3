"""Features of single sentences and sentence pairs."""

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
from tamt_ray.data.table import Rows
from tamt_ray.tasks.features.examples import Batch, PackedSequences, subset
from tamt_ray.tasks.features.labels import read
from tamt_ray.tasks.metrics.base import Predictions
from tamt_ray.tasks.sentences import SentenceTask

_CHUNK = 10_000
"""Rows tokenised at a time: bounds the Python lists that a tokenizer returns."""


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
        kept, values, columns = read(task, rows)
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
