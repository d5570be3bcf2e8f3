"""Tokens that a search reads: packed blocks, or documents."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Special:
    """Token ids with a meaning of their own, and the size of the vocabulary.

    `every` holds all of the tokenizer's special ids, those named here among them.
    """

    cls: int
    sep: int
    mask: int
    pad: int
    every: frozenset[int]
    vocabulary: int


@dataclass(frozen=True)
class Row:
    """One sequence: `ids` int64, `ordinary` bool, false on special tokens and padding.

    `real`, bool, is false on padding, and `segments`, int64, is 1 from the second part on and 0 on
    padding; None where there can be neither. All of one length.
    """

    ids: Tensor
    ordinary: Tensor
    real: Tensor | None = None
    segments: Tensor | None = None


@dataclass(frozen=True)
class Blocks:
    """`ids` [n, block_size] int32, each row CLS … SEP without padding.

    The tensor is shared among processes and must not be written to.
    """

    ids: Tensor
    special: Special

    def __len__(self) -> int:
        return len(self.ids)

    def row(self, number: int) -> Row:
        """Return one block."""
        ids = self.ids[number].long()
        ordinary = torch.ones_like(ids, dtype=torch.bool)
        ordinary[0] = ordinary[-1] = False
        return Row(ids, ordinary)


@dataclass(frozen=True)
class Documents:
    """Parts of documents one after the other, int32, without special tokens.

    Sequence n ends before `ends[n]`. Its first `first[n]` tokens are part A; the others, if any,
    part B, with `between` SEPs before it. Special tokens and padding are added where a row is
    read: stored, they would be a third of what there is. The tensors must not be written to.
    """

    tokens: Tensor
    ends: Tensor
    first: Tensor
    block_size: int
    between: int
    special: Special

    def __len__(self) -> int:
        return len(self.ends)

    def row(self, number: int) -> Row:
        """Return CLS A SEP PAD … or CLS A SEP B SEP PAD …, of block_size tokens."""
        begin = int(self.ends[number - 1]) if number else 0
        words = self.tokens[begin : int(self.ends[number])]
        middle = int(self.first[number])
        ids = torch.full((self.block_size,), self.special.sep)
        ordinary = torch.zeros(self.block_size, dtype=torch.bool)
        segments = torch.zeros(self.block_size, dtype=torch.int64)
        ids[0] = self.special.cls
        ids[1 : middle + 1] = words[:middle]
        ordinary[1 : middle + 1] = True
        length = middle + 2
        if len(words) > middle:
            start = middle + 1 + self.between
            length = start + len(words) - middle + 1
            ids[start : length - 1] = words[middle:]
            ordinary[start : length - 1] = True
            segments[middle + 2 : length] = 1
        ids[length:] = self.special.pad
        return Row(ids, ordinary, torch.arange(self.block_size) < length, segments)


Tokens = Blocks | Documents
"""Sequences that a search reads."""
