"""Which sequences form a batch, and the batch as tensors."""

import numpy as np
import torch

from tamt_ray.data.device import send
from tamt_ray.data.seeds import derive
from tamt_ray.tasks.features.examples import Batch, Indices, PackedSequences

_WINDOW, _WINDOWS = 50, 4
"""At most so many batches are sorted by length together, and at most one in so many of an epoch:
enough to save padding, few enough that epochs have different batches."""


def epoch_batches(lengths: Indices, size: int, seed: int, epoch: int) -> list[Indices]:
    """An epoch: each sequence once, in ⌈n / size⌉ batches of similar length in random order."""
    generator = torch.Generator().manual_seed(derive("epoch", seed, epoch))
    order = torch.randperm(len(lengths), generator=generator).numpy()
    batches: list[Indices] = []
    together = size * max(1, min(_WINDOW, len(order) // (_WINDOWS * size)))
    for start in range(0, len(order), together):
        window = order[start : start + together]
        batches += _cut(window[np.argsort(lengths[window], kind="stable")], size)
    return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]


def evaluation_batches(lengths: Indices, size: int) -> list[Indices]:
    """Each sequence once, longest first, so that memory runs out at once or never."""
    return _cut(np.argsort(-lengths, kind="stable"), size)


def collate(sequences: PackedSequences, indices: Indices, device: torch.device) -> Batch:
    """The sequences padded to the longest of them, on the device."""
    lengths = sequences.lengths[indices]
    columns = np.arange(lengths.max())
    inside = columns < lengths[:, None]
    tokens = (sequences.starts[indices][:, None] + columns)[inside]
    arrays = {"input_ids": np.full(inside.shape, sequences.pad_id, dtype=np.int64)}
    arrays["input_ids"][inside] = sequences.ids[tokens]
    arrays["attention_mask"] = inside.astype(np.int64)
    if sequences.types is not None:
        arrays["token_type_ids"] = np.zeros(inside.shape, dtype=np.int64)
        arrays["token_type_ids"][inside] = sequences.types[tokens]
    inputs = {name: send(torch.from_numpy(array), device) for name, array in arrays.items()}
    return Batch(indices, inputs, padded=not inside.all())


def _cut(order: Indices, size: int) -> list[Indices]:
    return [order[start : start + size] for start in range(0, len(order), size)]
