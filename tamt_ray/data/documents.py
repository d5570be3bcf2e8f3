"""Documents in the manner of the released code's data for distillation."""

import random
from collections.abc import Iterator
from itertools import chain, islice

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from tamt_ray.data.cache import SourceError
from tamt_ray.data.checkpoint import load_checkpoint, tokenizer
from tamt_ray.data.derived import Tensors, derived
from tamt_ray.data.seeds import derive
from tamt_ray.data.table import Rows, load_rows
from tamt_ray.data.tokenization import (
    batched,
    cache_key,
    joined,
    special_tokens,
    texts_of,
    tokenised,
)
from tamt_ray.data.tokens import Documents
from tamt_ray.values.text import Text

_SHORTEST = 20
"""Tokens that the first paragraph of a document has at least."""
_SHORT = 0.1
"""Share of the documents that are cut into shorter sequences."""
Tokenised = list[int]
Pair = tuple[Tokenised, Tokenised]


def load_documents(text: Text, source: str) -> Documents:
    """Return the sequences of a text's documents for the tokenizer of the model at `source`.

    A document is a run of paragraphs, one per line, between headings (`= … =`), blank lines and the
    ends of rows with several lines. One whose first paragraph is shorter than 20 tokens or holds
    the token `=` is dropped. Paragraphs are gathered to block_size − 3 tokens or more (− 4 where a
    pair has two SEPs between), in one document of ten to a random number, and split at random into
    A and B where there are two or more. What is too long loses tokens at either end of the longer
    part. All draws come from the number of the document. Kept in the cache. Raises SourceError
    where no document is left.
    """
    checkpoint = load_checkpoint(source)
    rows, words = load_rows(text.table), tokenizer(checkpoint)
    # RoBERTa has two; a tokenizer that says nothing is taken for BERT's.
    between = max(1, words.num_special_tokens_to_add(pair=True) - 2)

    def make() -> Tensors:
        pairs = _pairs(rows, text.column, words, text.block_size - 2 - between)
        found = _stored(islice(pairs, text.limit))
        if len(found["ends"]) == 0:
            raise _no_document(text)
        return found

    found = derived("blocks", cache_key(rows, checkpoint, text), make)
    return Documents(
        found["tokens"], found["ends"], found["first"], text.block_size, between,
        special_tokens(checkpoint),
    )  # fmt: skip


def check_document(text: Text, rows: Rows, words: PreTrainedTokenizerBase) -> None:
    """Raise SourceError where a text has no document; reads no further than the first one."""
    if next(_pairs(rows, text.column, words, text.block_size), None) is None:
        raise _no_document(text)


def _no_document(text: Text) -> SourceError:
    return SourceError(
        f"{text.table.source}: no document in column {text.column!r} begins with a paragraph of "
        f"{_SHORTEST} tokens"
    )


def _stored(pairs: Iterator[Pair]) -> Tensors:
    """Return `tokens`, `ends` and `first` of `Documents`."""
    pieces: list[np.ndarray] = []
    ends: list[int] = [0]
    first: list[int] = []
    for a, b in pairs:
        pieces.append(joined([a, b]))
        ends.append(ends[-1] + len(pieces[-1]))
        first.append(len(a))
    tokens = np.concatenate([*pieces, np.empty(0, np.int32)])
    return {
        "tokens": torch.from_numpy(tokens),
        "ends": torch.tensor(ends[1:]),
        "first": torch.tensor(first, dtype=torch.int32),
    }


def _pairs(rows: Rows, name: str, words: PreTrainedTokenizerBase, room: int) -> Iterator[Pair]:
    """Yield the sequences of all documents, of at most `room` tokens without special ones."""
    equals = words.get_vocab().get("=")
    number = 0
    runs = _runs(_lines(texts_of(rows, name)))
    for texts in batched(runs, lambda run: sum(map(len, run))):
        tokens = iter(tokenised(words, [line for run in texts for line in run]))
        for run in texts:
            document = list(islice(tokens, len(run)))
            if len(document[0]) >= _SHORTEST and equals not in document[0]:
                yield from _cut(document, room, random.Random(derive("document", number)))
                number += 1


def _cut(document: list[Tokenised], room: int, draw: random.Random) -> Iterator[Pair]:
    """Yield the sequences of one document."""

    def below(count: int) -> int:
        # `random.random` is Python's only draw that is the same in every version.
        return int(draw.random() * count)

    target = 2 + below(room - 1) if draw.random() < _SHORT else room
    chunk: list[Tokenised] = []
    length = 0
    for number, paragraph in enumerate(document, start=1):
        chunk.append(paragraph)
        length += len(paragraph)
        if length < target and number < len(document):
            continue
        split = 1 + below(len(chunk) - 1) if len(chunk) > 1 else 1
        if length:
            a, b = (list(chain.from_iterable(part)) for part in (chunk[:split], chunk[split:]))
            yield _truncated(a, b, room, draw)
        chunk, length = [], 0


def _truncated(a: Tokenised, b: Tokenised, room: int, draw: random.Random) -> Pair:
    """Return both without the tokens that are too many, each from either end of the longer."""
    parts = [[0, len(a)], [0, len(b)]]
    for _ in range(len(a) + len(b) - room):
        lengths = [end - begin for begin, end in parts]
        longer = parts[0] if lengths[0] > lengths[1] else parts[1]
        if draw.random() < 0.5:
            longer[0] += 1
        else:
            longer[1] -= 1
    return a[slice(*parts[0])], b[slice(*parts[1])]


def _lines(texts: Iterator[str]) -> Iterator[str]:
    """Yield the lines of all rows; a row of several lines stands between blank ones."""
    for text in texts:
        lines = [line.strip() for line in text.strip().split("\n")]
        yield from lines if len(lines) == 1 else ["", *lines, ""]


def _runs(lines: Iterator[str]) -> Iterator[list[str]]:
    """Yield the runs of lines that are neither blank nor headings."""
    run: list[str] = []
    for line in lines:
        if line and not (line.startswith("=") and line.endswith("=")):
            run.append(line)
        elif run:
            yield run
            run = []
    if run:
        yield run
