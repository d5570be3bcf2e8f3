"""The masked-language-model corruption: a share of the tokens, or one of them, 80/10/10."""

import functools
import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

from tamt_ray.data.device import send
from tamt_ray.data.seeds import derive
from tamt_ray.data.tokens import Tokens


@dataclass(frozen=True)
class Corrupted:
    """A batch to predict: `ids` [batch, length]; `places` and `labels` [chosen tokens].

    `places` counts through all tokens of the batch in ascending order: a GPU that looked for them
    among flags would have the host wait. `real`, bool [batch, length], is false on padding, and
    `segments`, int64 alike, 1 in the second part of a pair; None where there can be none.
    """

    ids: Tensor
    places: Tensor
    labels: Tensor
    real: Tensor | None = None
    segments: Tensor | None = None

    @property
    def chosen(self) -> Tensor:
        """bool [batch, length]: where a token is to be predicted."""
        flags = torch.zeros_like(self.ids, dtype=torch.bool)
        flags.view(-1)[self.places] = True
        return flags

    def to(self, device: torch.device) -> "Corrupted":
        """Return the batch on a device; the host does not wait."""
        real, segments = self.real, self.segments
        if real is not None:
            # Attention is faster without a mask that hides nothing.
            real = None if bool(real.all()) else send(real, device)
        if segments is not None:
            segments = send(segments, device)
        ids, places, labels = (send(t, device) for t in (self.ids, self.places, self.labels))
        return Corrupted(ids, places, labels, real, segments)


def corrupt(
    text: Tokens, rows: list[int], seeds: list[int], probability: float, *, one_token: bool = False
) -> list[Corrupted]:
    """Return one corrupted block [1, length] per row, drawn from that row's own seed.

    Each token is predicted with `probability`, at 0 none is; with `one_token` just one is.

    A block's corruption depends on nothing but its seed: not on the batch around it, its size or
    the number of workers.
    """
    return [
        _corrupt(text, row, seed, probability, one_token=one_token)
        for row, seed in zip(rows, seeds, strict=True)
    ]


def stack(parts: list[Corrupted]) -> Corrupted:
    """Blocks of one batch stacked."""
    real = [part.real for part in parts if part.real is not None]
    segments = [part.segments for part in parts if part.segments is not None]
    before = itertools.accumulate((part.ids.numel() for part in parts), initial=0)
    return Corrupted(
        torch.cat([part.ids for part in parts]),
        torch.cat([part.places + tokens for part, tokens in zip(parts, before, strict=False)]),
        torch.cat([part.labels for part in parts]),
        torch.cat(real) if real else None,
        torch.cat(segments) if segments else None,
    )


def _corrupt(
    text: Tokens, row: int, seed: int, probability: float, *, one_token: bool
) -> Corrupted:
    generator = torch.Generator().manual_seed(seed)
    found = text.row(row)
    ids = found.ids
    draw = torch.rand(ids.shape, generator=generator).masked_fill(~found.ordinary, 1.0)
    chosen = ((draw <= draw.min()) & found.ordinary) if one_token else draw < probability
    fate = torch.rand(ids.shape, generator=generator)
    other = torch.randint(text.special.vocabulary, ids.shape, generator=generator)
    corrupted = torch.where(chosen & (fate < 0.8), torch.tensor(text.special.mask), ids)
    corrupted = torch.where(chosen & (fate >= 0.9), other, corrupted)
    real, segments = (t if t is None else t[None] for t in (found.real, found.segments))
    places = chosen.nonzero().view(-1)
    return Corrupted(corrupted[None], places, ids[chosen], real, segments)


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
    one_token: bool = False
    """One token of each block is predicted, the same in every epoch and for every seed."""

    def batch(self, step: int) -> list[Corrupted]:
        """Return the blocks of one global batch. Epochs are permutations of all blocks."""
        step += self.first
        total = len(self.text)
        places = range(step * self.batch_size, (step + 1) * self.batch_size)
        rows = [int(_order(self.seed, place // total, total)[place % total]) for place in places]
        if self.one_token:
            seeds = [derive("one token", row) for row in rows]
        else:
            seeds = [derive(self.seed, "mlm", step, number) for number in range(self.batch_size)]
        return corrupt(self.text, rows, seeds, self.probability, one_token=self.one_token)


@functools.lru_cache(maxsize=4)
def _order(seed: int, epoch: int, total: int) -> Tensor:
    """Return the blocks of an epoch. The same for all its steps, and 7 ms of work for 230,000
    blocks."""
    generator = torch.Generator().manual_seed(derive(seed, "order", epoch))
    return torch.randperm(total, generator=generator)
