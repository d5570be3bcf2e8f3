"""The interface between a data set and the fine-tuning loop."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tamt_ray.data.seeds import derive
from tamt_ray.tasks.metrics.base import Predictions

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class PackedSequences:
    """Token sequences of unequal length, end to end."""

    ids: NDArray[np.int32]
    """[tokens] of all sequences together."""
    types: NDArray[np.uint8] | None
    """[tokens] segment of each token; None where the model has no segments."""
    starts: Indices
    """[sequences + 1]: sequence i is `ids[starts[i]:starts[i + 1]]`."""
    pad_id: int

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> Indices:
        """[sequences], in tokens."""
        return np.diff(self.starts)

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        return (
            self.ids.nbytes + self.starts.nbytes + (0 if self.types is None else self.types.nbytes)
        )

    def pack(self) -> dict[str, Tensor]:
        """Return the sequences as tensors."""
        arrays = {"ids": self.ids, "starts": self.starts, "pad_id": np.array([self.pad_id])}
        if self.types is not None:
            arrays["types"] = self.types
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    @classmethod
    def unpack(cls, tensors: Mapping[str, Tensor]) -> "PackedSequences":
        """Return the sequences that `pack` stored."""
        types = tensors.get("types")
        return cls(
            ids=tensors["ids"].numpy(),
            types=None if types is None else types.numpy(),
            starts=tensors["starts"].numpy(),
            pad_id=int(tensors["pad_id"]),
        )


@dataclass(frozen=True)
class Batch:
    """Some sequences, padded to the longest of them."""

    indices: Indices
    """[batch]: which sequences."""
    inputs: dict[str, Tensor]
    """`input_ids`, `attention_mask`, perhaps `token_type_ids`: each [batch, longest]."""
    padded: bool
    """True where `attention_mask` hides a token."""


class Examples(Protocol):
    """The features of one data set, ready for training and for evaluation."""

    @property
    def sequences(self) -> PackedSequences:
        """The token sequences that the network reads."""
        ...

    @property
    def count(self) -> int:
        """Examples as the user counts them: questions, not windows."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        ...

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the whole table that the examples come from."""
        ...

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return the mean loss of a batch, a scalar."""
        ...

    def predictions(self, outputs: Sequence[NDArray[np.float32]]) -> Predictions:
        """Return the answers to all examples, from the output for each sequence in order."""
        ...

    def constants(self) -> Iterator[Predictions]:
        """Yield predictions that give every example one answer, the best ones among them."""
        ...

    def pack(self) -> dict[str, Tensor]:
        """Return the features as tensors, for the cache."""
        ...


def subset(count: int, limit: int | None, *seed: int | str) -> Indices:
    """Return a random subset of at most `limit` of `count` indices; a smaller limit gives a part
    of it."""
    if limit is None or limit >= count:
        return np.arange(count)
    generator = torch.Generator().manual_seed(derive("subset", *seed))
    return torch.randperm(count, generator=generator)[:limit].numpy()
