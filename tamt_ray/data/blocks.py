"""Text for the pre-training objectives: packed blocks of tokens, or paragraphs."""

import functools
import itertools
from collections.abc import Iterator

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from tamt_ray.data.cache import SourceError
from tamt_ray.data.checkpoint import Checkpoint, load_checkpoint, tokenizer
from tamt_ray.data.derived import Tensors, derived
from tamt_ray.data.table import Rows, column, load_rows
from tamt_ray.data.tokens import Blocks, Paragraphs, Special, Tokens
from tamt_ray.values.text import Text

VERSION = "1"
"""Grows with every change to the packing, so that no cache keeps blocks of an older one."""
_BATCH = 1_000_000
"""Characters tokenised at a time."""
_SLICE = 10_000
"""Rows turned into Python strings at a time."""


def load_text(text: Text, source: str) -> Tokens:
    """Return the sequences of a text for the tokenizer of the model at `source`.

    Raises SourceError as `load_blocks` and `load_paragraphs` do.
    """
    return (load_paragraphs if text.form == "paragraphs" else load_blocks)(text, source)


def load_blocks(text: Text, source: str) -> Blocks:
    """Return the blocks of a text for the tokenizer of the model at `source`.

    The rows are tokenised one by one without special tokens, empty ones skipped, strung together
    in file order and cut into pieces of block_size − 2; the remainder is dropped. Where the text
    limits the number of blocks, the first ones are taken and no more is tokenised. Kept in the
    cache. Raises SourceError where not even one block results.
    """
    checkpoint = load_checkpoint(source)
    special = _special(checkpoint)
    rows = load_rows(text.table)

    def make() -> Tensors:
        ids = _pack(rows, text, tokenizer(checkpoint), special)
        if len(ids) == 0:
            raise SourceError(
                f"{text.table.source}: the text in column {text.column!r} does not fill one block "
                f"of {text.block_size} tokens; set a smaller `block_size`"
            )
        return {"ids": torch.from_numpy(ids)}

    found = derived("blocks", _key(rows, checkpoint, text), make)
    return Blocks(found["ids"], special)


def load_paragraphs(text: Text, source: str) -> Paragraphs:
    """Return the paragraphs of a text for the tokenizer of the model at `source`.

    Every row that is not empty is one, cut to block_size − 2 tokens. A limit on the number of
    blocks is one on paragraphs here. Kept like `load_blocks`. Raises SourceError without text.
    """
    checkpoint = load_checkpoint(source)
    rows = load_rows(text.table)

    def make() -> Tensors:
        found = _cut(rows, text, tokenizer(checkpoint))
        if len(found["ends"]) == 0:
            raise SourceError(f"{text.table.source}: no text in column {text.column!r}")
        return found

    found = derived("blocks", _key(rows, checkpoint, text, "paragraphs"), make)
    return Paragraphs(found["tokens"], found["ends"], text.block_size, _special(checkpoint))


def _key(rows: Rows, checkpoint: Checkpoint, text: Text, *kind: str) -> tuple[str, ...]:
    return (
        VERSION, rows.fingerprint, text.column, checkpoint.fingerprint,
        str(text.block_size), str(text.limit), *kind,
    )  # fmt: skip


@functools.lru_cache(maxsize=8)
def _special(checkpoint: Checkpoint) -> Special:
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


def _pack(rows: Rows, text: Text, words: PreTrainedTokenizerBase, special: Special) -> np.ndarray:
    """[blocks, block_size] int32."""
    inner = text.block_size - 2
    wanted = None if text.limit is None else text.limit * inner
    pieces: list[np.ndarray] = []
    total = 0
    for texts in _batches(_texts(rows, text.column)):
        piece = _joined(_tokens(words, texts))
        pieces.append(piece)
        total += len(piece)
        if wanted is not None and total >= wanted:
            break
    count = min(total, wanted or total) // inner
    stream = np.concatenate([*pieces, np.empty(0, np.int32)])[: count * inner]
    ids = np.empty((count, text.block_size), np.int32)
    ids[:, 0], ids[:, -1] = special.cls, special.sep
    ids[:, 1:-1] = stream.reshape(count, inner)
    return ids


def _cut(rows: Rows, text: Text, words: PreTrainedTokenizerBase) -> Tensors:
    """`tokens` and `ends` of `Paragraphs`."""
    inner = text.block_size - 2
    limit = text.limit
    pieces: list[np.ndarray] = []
    lengths: list[int] = []
    for texts in _batches(_texts(rows, text.column)):
        left = None if limit is None else limit - len(lengths)
        cut = [tokens[:inner] for tokens in _tokens(words, texts) if tokens][:left]
        pieces.append(_joined(cut))
        lengths.extend(len(tokens) for tokens in cut)
        if len(lengths) == limit:
            break
    tokens = np.concatenate([*pieces, np.empty(0, np.int32)])
    ends = np.cumsum(lengths, dtype=np.int64)
    return {"tokens": torch.from_numpy(tokens), "ends": torch.from_numpy(ends)}


def _tokens(words: PreTrainedTokenizerBase, texts: list[str]) -> list[list[int]]:
    """Ids of each text without special tokens."""
    encoded = words(
        texts,
        add_special_tokens=False,
        return_attention_mask=False,
        return_token_type_ids=False,
        verbose=False,
    )
    return encoded["input_ids"]


def _joined(rows: list[list[int]]) -> np.ndarray:
    return np.fromiter(itertools.chain.from_iterable(rows), dtype=np.int32)


def _texts(rows: Rows, name: str) -> Iterator[str]:
    """The texts of a column that hold more than white space. Raises SourceError for other types."""
    for start in range(0, rows.table.num_rows, _SLICE):
        # A corpus as Python strings takes several times the memory of its Arrow table.
        for text in column(Rows(rows.table.slice(start, _SLICE), rows.fingerprint), name):
            if text is not None and not isinstance(text, str):
                kind = type(text).__name__
                raise SourceError(f"column {name!r} of the corpus holds {kind}, not text")
            if text and not text.isspace():
                yield text


def _batches(texts: Iterator[str]) -> Iterator[list[str]]:
    """Lists of about `_BATCH` characters together."""
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= _BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
