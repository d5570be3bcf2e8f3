"""The masked-language-model corruption: 15 % of tokens, 80/10/10."""

from dataclasses import dataclass

import torch
from torch import Tensor

from tamt_ray.data.blocks import Paragraphs, Tokens
from tamt_ray.data.seeds import derive


@dataclass(frozen=True)
class Corrupted:
    """A batch to predict: `ids` [batch, length]; `chosen` bool alike; `labels` [chosen tokens].

    `real`, bool [batch, length], is false on padding; None where there can be none.
    """

    ids: Tensor
    chosen: Tensor
    labels: Tensor
    real: Tensor | None = None

    def to(self, device: torch.device) -> "Corrupted":
        """The same on a device."""
        real = None if self.real is None else self.real.to(device)
        return Corrupted(self.ids.to(device), self.chosen.to(device), self.labels.to(device), real)


def corrupt(text: Tokens, rows: list[int], seeds: list[int], probability: float) -> list[Corrupted]:
    """One corrupted block [1, length] for each row, drawn from that row's own seed.

    A block's corruption depends on nothing but its seed: not on the batch around it, its size or
    the number of workers.
    """
    return [_corrupt(text, row, seed, probability) for row, seed in zip(rows, seeds, strict=True)]


def join(parts: list[Corrupted]) -> Corrupted:
    """Blocks of one batch stacked."""
    real = [part.real for part in parts if part.real is not None]
    return Corrupted(
        torch.cat([part.ids for part in parts]),
        torch.cat([part.chosen for part in parts]),
        torch.cat([part.labels for part in parts]),
        torch.cat(real) if real else None,
    )


def _corrupt(text: Tokens, row: int, seed: int, probability: float) -> Corrupted:
    generator = torch.Generator().manual_seed(seed)
    ids, length = text.row(row)
    ordinary = torch.zeros_like(ids, dtype=torch.bool)
    ordinary[1 : length - 1] = True  # neither CLS nor SEP nor padding
    chosen = (torch.rand(ids.shape, generator=generator) < probability) & ordinary
    fate = torch.rand(ids.shape, generator=generator)
    other = torch.randint(text.special.vocabulary, ids.shape, generator=generator)
    corrupted = torch.where(chosen & (fate < 0.8), torch.tensor(text.special.mask), ids)
    corrupted = torch.where(chosen & (fate >= 0.9), other, corrupted)
    real = None
    if isinstance(text, Paragraphs):
        real = (torch.arange(len(ids)) < length)[None]
    return Corrupted(corrupted[None], chosen[None], ids[chosen], real)


@dataclass(frozen=True)
class Stream:
    """The endless training data of one search: a pure function of the step."""

    text: Tokens
    batch_size: int
    seed: int
    probability: float
    first: int = 0
    """Steps that the levels below have taken: IMP prunes one training again and again, so that
    each level goes on with text and corruption that are new."""

    def batch(self, step: int) -> list[Corrupted]:
        """The blocks of one global batch. Epochs are permutations of all blocks."""
        step += self.first
        total = len(self.text)
        places = range(step * self.batch_size, (step + 1) * self.batch_size)
        orders = {epoch: self._order(epoch, total) for epoch in {p // total for p in places}}
        rows = [orders[place // total][place % total] for place in places]
        seeds = [derive(self.seed, "mlm", step, number) for number in range(self.batch_size)]
        return corrupt(self.text, rows, seeds, self.probability)

    def _order(self, epoch: int, total: int) -> list[int]:
        generator = torch.Generator().manual_seed(derive(self.seed, "order", epoch))
        return torch.randperm(total, generator=generator).tolist()
