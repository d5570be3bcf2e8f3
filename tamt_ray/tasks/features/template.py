"""How a tokenizer puts a pair together."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

Ids = NDArray[np.int32]


@dataclass(frozen=True)
class Template:
    """Special tokens around and between the two parts, and the segment of every place."""

    before: Ids
    between: Ids
    after: Ids
    segments: tuple[int, int, int, int, int] | None
    """Segment ids of before, first part, between, second part and after; None without segments."""

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> Self:
        """Read off a pair of one-word texts. Raises ValueError for a slow tokenizer."""
        if not tokenizer.is_fast:
            raise ValueError(f"{tokenizer.name_or_path}: no fast tokenizer, which spans need")
        pair = tokenizer("a", "a")
        parts: list[int | None] = pair.sequence_ids(0)
        ids = np.array(pair["input_ids"], dtype=np.int32)
        first, second = parts.index(0), parts.index(1)
        last = len(parts) - parts[::-1].index(1)
        behind = len(parts) - parts[::-1].index(0)
        types: list[int] | None = pair.get("token_type_ids")
        return cls(
            before=ids[:first],
            between=ids[behind:second],
            after=ids[last:],
            segments=(types[0], types[first], types[behind], types[second], types[-1])
            if types
            else None,
        )

    @property
    def length(self) -> int:
        """Special tokens of a pair."""
        return len(self.before) + len(self.between) + len(self.after)

    def join(self, first: Ids, second: Ids) -> Ids:
        """The sequence of a pair."""
        return np.concatenate([self.before, first, self.between, second, self.after])

    def types(self, first: int, second: int) -> NDArray[np.uint8] | None:
        """The segments of a pair of these lengths in tokens."""
        if self.segments is None:
            return None
        counts = (len(self.before), first, len(self.between), second, len(self.after))
        return np.repeat(np.array(self.segments, dtype=np.uint8), counts)
