"""Text for the pre-training objectives, packed into blocks of tokens."""

from collections.abc import Iterator

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from tamt_ray.data.cache import SourceError
from tamt_ray.data.checkpoint import load_checkpoint, tokenizer
from tamt_ray.data.derived import Tensors, derived
from tamt_ray.data.documents import check_document, load_documents
from tamt_ray.data.seeds import derive
from tamt_ray.data.table import Rows, load_rows
from tamt_ray.data.tokenization import (
    batched,
    cache_key,
    joined,
    shared_tokenizer,
    special_tokens,
    texts_of,
    tokenised,
)
from tamt_ray.data.tokens import Blocks, Special, Tokens
from tamt_ray.values.text import Text

_FEW = 10_000
"""Characters tokenised at a time to find the first block."""


def load_text(text: Text, source: str) -> Tokens:
    """Return the sequences of a text for the tokenizer of the model at `source`.

    Raises SourceError as `load_blocks` and `load_documents` do.
    """
    return (load_documents if text.form == "documents" else load_blocks)(text, source)


def check_fills(text: Text, source: str) -> None:
    """Raise SourceError, as `load_text` does, where a text gives no sequence.

    Reads the text no further than its first sequence, and keeps nothing.
    """
    checkpoint = load_checkpoint(source)
    rows, words = load_rows(text.table), shared_tokenizer(checkpoint)
    if text.form == "documents":
        check_document(text, rows, words)
        return
    missing = text.block_size - 2
    for texts in _batches(rows, text.column, _FEW):
        missing -= sum(map(len, tokenised(words, texts)))
        if missing <= 0:
            return
    raise _too_short(text)


def load_blocks(text: Text, source: str) -> Blocks:
    """Return the blocks of a text for the tokenizer of the model at `source`.

    The rows are tokenised one by one without special tokens, empty ones skipped, strung together
    in file order and cut into pieces of block_size − 2, whose tokens are shuffled where the text
    asks for that; the remainder is dropped. Where the text limits the number of blocks, the first
    ones are taken and no more is tokenised. Kept in the cache. Raises SourceError where not even
    one block results.
    """
    checkpoint = load_checkpoint(source)
    special = special_tokens(checkpoint)
    rows = load_rows(text.table)

    def make() -> Tensors:
        if text.form == "shuffled":
            plain = load_blocks(text.model_copy(update={"form": "blocks"}), source)
            ids = plain.ids.numpy().copy()
            drawn = np.random.default_rng(derive("shuffled text"))
            ids[:, 1:-1] = drawn.permuted(ids[:, 1:-1], axis=1)
        else:
            ids = _pack(rows, text, tokenizer(checkpoint), special)
        if len(ids) == 0:
            raise _too_short(text)
        return {"ids": torch.from_numpy(ids)}

    found = derived("blocks", cache_key(rows, checkpoint, text), make)
    return Blocks(found["ids"], special)


def _pack(rows: Rows, text: Text, words: PreTrainedTokenizerBase, special: Special) -> np.ndarray:
    """Return [blocks, block_size] int32."""
    inner = text.block_size - 2
    wanted = None if text.limit is None else text.limit * inner
    pieces: list[np.ndarray] = []
    total = 0
    for texts in _batches(rows, text.column):
        piece = joined(tokenised(words, texts))
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


def _too_short(text: Text) -> SourceError:
    return SourceError(
        f"{text.table.source}: the text in column {text.column!r} does not fill one block of "
        f"{text.block_size} tokens; set a smaller `block_size`"
    )


def _batches(rows: Rows, name: str, characters: int | None = None) -> Iterator[list[str]]:
    """Yield the texts of a column in batches, without texts of white space."""
    texts = (text for text in texts_of(rows, name) if text and not text.isspace())
    return batched(texts, len, characters)
