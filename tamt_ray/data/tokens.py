"""Tokens that a search reads: packed blocks, or paragraphs."""

from dataclasses import dataclass

import torch


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
class Blocks:
    """`ids` [n, block_size] int32, each row CLS … SEP without padding.

    The tensor is shared among processes and must not be written to.
    """

    ids: torch.Tensor
    special: Special

    def __len__(self) -> int:
        return len(self.ids)

    def row(self, number: int) -> tuple[torch.Tensor, int]:
        """Ids [block_size] int64 of one block, and how many of them are no padding: all."""
        return self.ids[number].long(), self.ids.shape[1]


@dataclass(frozen=True)
class Paragraphs:
    """The tokens of one paragraph after the other, int32, without special ones.

    Paragraph n ends before `ends[n]`. Padding is added where a row is read: stored, it would be
    most of what there is. The tensors must not be written to.
    """

    tokens: torch.Tensor
    ends: torch.Tensor
    block_size: int
    special: Special

    def __len__(self) -> int:
        return len(self.ends)

    def row(self, number: int) -> tuple[torch.Tensor, int]:
        """Ids [block_size] int64, CLS … SEP PAD …, and how many of them are no padding."""
        begin = int(self.ends[number - 1]) if number else 0
        words = self.tokens[begin : int(self.ends[number])]
        ids = torch.full((self.block_size,), self.special.pad)
        ids[0] = self.special.cls
        ids[1 : len(words) + 1] = words
        ids[len(words) + 1] = self.special.sep
        return ids, len(words) + 2


Tokens = Blocks | Paragraphs
"""Sequences that a search reads."""
