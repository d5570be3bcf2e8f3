"""Text packed into blocks of tokens for the pre-training objectives (PAPER §3)."""

import functools
import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from transformers import PreTrainedTokenizerBase

from tamt_ray.data.cache import SourceError, cache_dir, locked, published, text_digest
from tamt_ray.data.checkpoint import Checkpoint, load_checkpoint, tokenizer
from tamt_ray.data.table import Rows, column, load_rows
from tamt_ray.spec.table import Corpus

VERSION = "1"
"""Grows with every change to the packing, so that no cache keeps blocks of an older one."""
_BATCH = 1_000_000
"""Characters tokenised at a time."""
_SLICE = 10_000
"""Rows turned into Python strings at a time."""


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
    """`ids` [n, block_size] int32, each row CLS … SEP without padding; a sha256 over them.

    The tensor is shared within the process and must not be written to.
    """

    ids: torch.Tensor
    fingerprint: str
    special: Special


def load_blocks(corpus: Corpus, part: Literal["train", "validation"], source: str) -> Blocks:
    """The blocks of one part of the corpus for the tokenizer of the model at `source`.

    The rows are tokenised one by one without special tokens, empty ones skipped, strung together
    in file order and cut into pieces of block_size − 2; the remainder is dropped. Where the corpus
    limits the number of blocks, the first ones are taken and no more is tokenised. Kept on disk
    under `cache_dir()` and in memory. Raises SourceError where not even one block results.
    """
    table = corpus.train if part == "train" else corpus.validation
    limit = corpus.max_train_blocks if part == "train" else corpus.max_validation_blocks
    checkpoint = load_checkpoint(source)
    rows = load_rows(table)
    key = text_digest(
        VERSION, rows.fingerprint, corpus.column, checkpoint.fingerprint,
        str(corpus.block_size), str(limit),
    )  # fmt: skip
    path = cache_dir() / "blocks" / f"{key}.safetensors"
    special = _special(checkpoint)
    with locked(path):
        known = _read(path, path.stat().st_mtime_ns) if path.is_file() else None
        if known is None:
            ids = _pack(rows, corpus, limit, tokenizer(checkpoint), special)
            if len(ids) == 0:
                raise SourceError(
                    f"{table.source}: the text in column {corpus.column!r} does not fill one block "
                    f"of {corpus.block_size} tokens; set a smaller `block_size`"
                )
            with published(path) as temporary:
                save_file({"ids": torch.from_numpy(ids)}, temporary, {"sha256": _digest(ids)})
            known = torch.from_numpy(ids), _digest(ids)
    return Blocks(*known, special)


@functools.lru_cache(maxsize=8)
def _read(path: Path, _stamp: int) -> tuple[torch.Tensor, str] | None:
    """The cached ids and their digest; None where the file is damaged and must be made again."""
    try:
        with safe_open(path, "pt") as file:
            ids, expected = file.get_tensor("ids"), file.metadata()["sha256"]
    except SafetensorError:
        return None
    return (ids, expected) if _digest(ids.numpy()) == expected else None


def _digest(ids: np.ndarray) -> str:
    digest = hashlib.sha256(str(ids.shape).encode())
    digest.update(ids.data)
    return digest.hexdigest()


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


def _pack(
    rows: Rows, corpus: Corpus, limit: int | None, words: PreTrainedTokenizerBase, special: Special
) -> np.ndarray:
    """[blocks, block_size] int32."""
    inner = corpus.block_size - 2
    wanted = None if limit is None else limit * inner
    pieces: list[np.ndarray] = []
    total = 0
    for texts in _batches(_texts(rows, corpus.column)):
        encoded = words(
            texts,
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )
        piece = np.fromiter(itertools.chain.from_iterable(encoded["input_ids"]), dtype=np.int32)
        pieces.append(piece)
        total += len(piece)
        if wanted is not None and total >= wanted:
            break
    count = min(total, wanted or total) // inner
    stream = np.concatenate([*pieces, np.empty(0, np.int32)])[: count * inner]
    ids = np.empty((count, corpus.block_size), np.int32)
    ids[:, 0], ids[:, -1] = special.cls, special.sep
    ids[:, 1:-1] = stream.reshape(count, inner)
    return ids


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
