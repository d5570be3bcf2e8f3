"""Tokens of the rows of a table."""

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from transformers import PreTrainedTokenizerBase

from tamt_ray.data.cache import SourceError
from tamt_ray.data.checkpoint import Checkpoint, tokenizer
from tamt_ray.data.table import Rows, column
from tamt_ray.data.tokens import Special
from tamt_ray.values.text import Text

T = TypeVar("T")
_VERSION = "2"
"""Raised with every change of what texts become, so that no cache keeps sequences of an older
one."""
BATCH = 1_000_000
"""Characters tokenised at a time."""
_SAMPLED = 100
"""Rows of a sample, and characters of each that are looked at."""
_SLICE = 10_000
"""Rows turned into Python strings at a time."""


def cache_key(rows: Rows, checkpoint: Checkpoint, text: Text) -> tuple[str, ...]:
    """Return all that decides the sequences of a text."""
    return (
        _VERSION, text.form, rows.fingerprint, text.column, checkpoint.fingerprint,
        str(text.block_size), str(text.limit),
    )  # fmt: skip


@functools.lru_cache(maxsize=8)
def special_tokens(checkpoint: Checkpoint) -> Special:
    """Return the special tokens. Raises SourceError where one that is needed is missing."""
    words = tokenizer(checkpoint)

    def number(name: str) -> int:
        found = getattr(words, f"{name}_token_id")
        if not isinstance(found, int):
            raise SourceError(
                f"{checkpoint.path}: the tokenizer has no {name.upper()} token, so this is no "
                f"masked language model"
            )
        return found

    every = frozenset(words.all_special_ids)
    return Special(number("cls"), number("sep"), number("mask"), number("pad"), every, len(words))


def tokenised(words: PreTrainedTokenizerBase, texts: list[str]) -> list[list[int]]:
    """Return the ids of each text without special tokens. Raises SourceError."""
    try:
        encoded = words(
            texts,
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )
    except Exception as error:
        # The Rust tokenizers raise plain Exceptions, as for a vocabulary without words.
        raise SourceError(
            f"{words.name_or_path}: the tokenizer fails: {error}; take the one that was published "
            "with the model"
        ) from error
    return encoded["input_ids"]


def estimated_tokens(rows: Rows, columns: Iterable[str], checkpoint: Checkpoint) -> np.ndarray:
    """Return roughly the tokens of each row in those columns that hold text, [rows], without
    special ones: its characters over those of a token in a sample. Raises SourceError."""
    characters, sample = np.zeros(rows.table.num_rows), list[str]()
    for values in map(rows.table.column, columns):
        if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
            characters += pc.fill_null(pc.call_function("utf8_length", [values]), 0).to_numpy()
            some = values[:: 1 + len(values) // _SAMPLED].drop_null().to_pylist()
            sample += [text[:_SAMPLED] for text in some]
    if not any(sample):
        return characters
    tokens = sum(map(len, tokenised(shared_tokenizer(checkpoint), sample)))
    return characters * tokens / sum(map(len, sample))


shared_tokenizer = functools.lru_cache(maxsize=1)(tokenizer)
"""`tokenizer` for those who only tokenise: loading one takes a tenth of a second."""


def joined(rows: list[list[int]]) -> np.ndarray:
    """Return the ids of all rows, int32."""
    return np.fromiter(itertools.chain.from_iterable(rows), dtype=np.int32)


def batched(
    items: Iterable[T], size: Callable[[T], int], characters: int | None = None
) -> Iterator[list[T]]:
    """Yield lists of about so many characters together, `BATCH` by default."""
    enough = characters or BATCH
    batch: list[T] = []
    total = 0
    for item in items:
        batch.append(item)
        total += size(item)
        if total >= enough:
            yield batch
            batch, total = [], 0
    if batch:
        yield batch


def texts_of(rows: Rows, name: str) -> Iterator[str]:
    """Yield the texts of a column, empty ones too. Raises SourceError for other types."""
    for start in range(0, rows.table.num_rows, _SLICE):
        # A corpus as Python strings takes several times the memory of its Arrow table.
        for text in column(Rows(rows.table.slice(start, _SLICE), rows.fingerprint), name):
            if text is not None and not isinstance(text, str):
                kind = type(text).__name__
                raise SourceError(f"column {name!r} of the corpus holds {kind}, not text")
            yield text or ""
