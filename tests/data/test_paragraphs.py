"""Paragraphs by hand calculation: words a to j are the ids 5 to 14; PAD 0, CLS 2, SEP 3."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tamt_ray.data import blocks as room
from tamt_ray.data import derived
from tamt_ray.data.blocks import load_blocks, load_paragraphs, load_text
from tamt_ray.data.cache import SourceError
from tamt_ray.data.tokens import Blocks, Paragraphs
from tamt_ray.values.text import Text

TEXTS: list[str | None] = ["a b c d", "", None, "e f g h i j a b", "  ", "j", "a b c d e f"]
EXPECTED = [
    ([2, 5, 6, 7, 8, 3, 0, 0], 6),
    ([2, 9, 10, 11, 12, 13, 14, 3], 8),  # cut after six words
    ([2, 14, 3, 0, 0, 0, 0, 0], 3),
    ([2, 5, 6, 7, 8, 9, 10, 3], 8),
]


def text(tmp_path: Path, texts: list[str | None], **settings: object) -> Text:
    pq.write_table(pa.table({"text": texts}), tmp_path / "corpus.parquet")
    table = {"source": f"dir:{tmp_path}/corpus.parquet"}
    given = {"table": table, "form": "paragraphs", "block_size": 8, **settings}
    return Text.model_validate(given)


def rows(found: Paragraphs) -> list[tuple[list[int], int]]:
    drawn = [found.row(number) for number in range(len(found))]
    assert all(ids.dtype == torch.int64 for ids, _ in drawn)
    return [(ids.tolist(), length) for ids, length in drawn]


def test_every_row_with_text_is_one_cut_and_padded(model: Path, tmp_path: Path) -> None:
    found = load_paragraphs(text(tmp_path, TEXTS), f"dir:{model}")
    assert rows(found) == EXPECTED
    assert (found.special.pad, found.special.vocabulary) == (0, 15)
    # Kept without special tokens and padding.
    assert found.tokens.numel() == 4 + 6 + 1 + 6
    assert found.tokens.dtype == torch.int32


@pytest.mark.parametrize("batch", [1, 5, 1_000_000])
def test_a_limit_takes_the_first_paragraphs(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(room, "_BATCH", batch)
    limited = text(tmp_path, [*TEXTS, *["a b"] * 20], limit=3)
    assert rows(load_paragraphs(limited, f"dir:{model}")) == EXPECTED[:3]
    whole = limited.model_copy(update={"limit": None})
    assert len(load_paragraphs(whole, f"dir:{model}")) == 24


def test_they_are_kept_beside_the_blocks_and_damage_is_noticed(
    model: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paragraphs = text(tmp_path, TEXTS)
    load_blocks(paragraphs, f"dir:{model}")
    load_paragraphs(paragraphs, f"dir:{model}")
    assert len(list((cache / "blocks").glob("[!.]*"))) == 2
    derived._verified.cache_clear()
    genuine = room._cut
    monkeypatch.setattr(room, "_cut", None)
    again = load_paragraphs(paragraphs, f"dir:{model}")
    assert rows(again) == EXPECTED
    monkeypatch.setattr(room, "_cut", genuine)
    for path in (cache / "blocks").glob("[!.]*"):
        data = path.read_bytes()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    derived._verified.cache_clear()
    assert rows(load_paragraphs(paragraphs, f"dir:{model}")) == EXPECTED


def test_the_form_of_a_text_says_which_of_the_two_it_becomes(model: Path, tmp_path: Path) -> None:
    found = load_text(text(tmp_path, TEXTS), f"dir:{model}")
    assert isinstance(found, Paragraphs)
    assert rows(found) == EXPECTED
    assert isinstance(load_text(text(tmp_path, TEXTS, form="blocks"), f"dir:{model}"), Blocks)


@pytest.mark.parametrize("texts", [[""], [" ", None]])
def test_no_text_is_a_source_error(model: Path, tmp_path: Path, texts: list[str | None]) -> None:
    with pytest.raises(SourceError, match="no text in column 'text'"):
        load_paragraphs(text(tmp_path, texts), f"dir:{model}")
