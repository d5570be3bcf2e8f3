"""Blocks by hand calculation: words a to j are the ids 5 to 14, CLS is 2 and SEP is 3."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tamt_ray.data import blocks as room
from tamt_ray.data import derived, tokenization
from tamt_ray.data.blocks import load_blocks
from tamt_ray.data.cache import SourceError
from tamt_ray.data.tokens import Blocks
from tamt_ray.values.text import Text


def text(tmp_path: Path, texts: list[str | None], **settings: object) -> Text:
    pq.write_table(pa.table({"text": texts}), tmp_path / "corpus.parquet")
    table = {"source": f"dir:{tmp_path}/corpus.parquet"}
    # Eight is the smallest block: six words and the two special tokens.
    return Text.model_validate({"table": table, "block_size": 8, **settings})


def ids(blocks: Blocks) -> list[list[int]]:
    assert blocks.ids.dtype == torch.int32
    return blocks.ids.tolist()


TEXTS: list[str | None] = ["a b c d", "", None, "e f g", "  ", "h i j a b c d e"]
# a b c d e f | g h i j a b | c d e dropped
EXPECTED = [[2, 5, 6, 7, 8, 9, 10, 3], [2, 11, 12, 13, 14, 5, 6, 3]]


def test_rows_are_strung_together_cut_and_wrapped(model: Path, tmp_path: Path) -> None:
    found = load_blocks(text(tmp_path, TEXTS), f"dir:{model}")
    assert ids(found) == EXPECTED
    special = found.special
    assert (special.pad, special.cls, special.sep, special.mask) == (0, 2, 3, 4)
    assert special.every == {0, 1, 2, 3, 4}
    assert special.vocabulary == 15


def test_shuffled_blocks_lose_the_order_of_their_tokens_and_nothing_else(
    model: Path, tmp_path: Path
) -> None:
    plain, shuffled = (
        ids(load_blocks(text(tmp_path, TEXTS * 20, form=form), f"dir:{model}"))
        for form in ("blocks", "shuffled")
    )
    for row, mixed in zip(plain, shuffled, strict=True):
        assert (mixed[0], mixed[-1]) == (2, 3)
        assert sorted(mixed) == sorted(row)
    moved = [mixed != row for row, mixed in zip(plain, shuffled, strict=True)]
    assert sum(moved) > 0.9 * len(moved)
    first = load_blocks(text(tmp_path, TEXTS * 20, form="shuffled", limit=7), f"dir:{model}")
    assert ids(first) == shuffled[:7]


def test_text_that_fills_its_blocks_exactly_loses_nothing(model: Path, tmp_path: Path) -> None:
    found = load_blocks(text(tmp_path, ["a b c d e f", "a b c d e f"]), f"dir:{model}")
    assert ids(found) == [[2, 5, 6, 7, 8, 9, 10, 3]] * 2


def test_a_limit_takes_the_first_blocks_and_reads_no_further(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenization, "BATCH", 5)
    monkeypatch.setattr(tokenization, "_SLICE", 1)
    texts = [*TEXTS, *["a b c d e f"] * 50]
    limited = text(tmp_path, texts, limit=1)
    seen: list[str] = []
    genuine = room.texts_of

    def watched(*arguments: object) -> object:
        for words in genuine(*arguments):  # pyright: ignore
            if words:
                seen.append(words)
            yield words

    monkeypatch.setattr(room, "texts_of", watched)
    assert ids(load_blocks(limited, f"dir:{model}")) == EXPECTED[:1]
    assert seen == ["a b c d", "e f g"]
    whole = limited.model_copy(update={"limit": None})
    assert len(load_blocks(whole, f"dir:{model}").ids) == 52, "each limit has blocks of its own"


def test_how_the_work_is_cut_does_not_change_the_blocks(
    model: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = load_blocks(text(tmp_path, TEXTS), f"dir:{model}")
    monkeypatch.setenv("TAMT_CACHE", str(cache / "other"))
    monkeypatch.setattr(tokenization, "BATCH", 1)
    monkeypatch.setattr(tokenization, "_SLICE", 2)
    pieces = load_blocks(text(tmp_path, TEXTS), f"dir:{model}")
    assert torch.equal(whole.ids, pieces.ids)


def block_files(cache: Path) -> list[Path]:
    return list((cache / "blocks").glob("[!.]*"))


def test_blocks_are_made_once_and_read_from_the_cache_after(
    model: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load_blocks(text(tmp_path, TEXTS), f"dir:{model}")
    (path,) = block_files(cache)
    monkeypatch.setattr(room, "_pack", None)
    derived._verified.cache_clear()
    again = load_blocks(text(tmp_path, TEXTS), f"dir:{model}")
    assert torch.equal(first.ids, again.ids)
    assert block_files(cache) == [path]


@pytest.mark.parametrize("damage", ["half", "flip"])
def test_a_damaged_cache_is_made_again(
    model: Path, tmp_path: Path, cache: Path, damage: str
) -> None:
    load_blocks(text(tmp_path, TEXTS), f"dir:{model}")
    (path,) = block_files(cache)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] if damage == "half" else data[:-1] + b"\x01")
    derived._verified.cache_clear()
    assert ids(load_blocks(text(tmp_path, TEXTS), f"dir:{model}")) == EXPECTED


@pytest.mark.parametrize("texts", [["a b c d e"], [""], []])
def test_less_than_a_block_is_a_source_error(
    model: Path, tmp_path: Path, texts: list[str | None]
) -> None:
    with pytest.raises(SourceError, match="block of 8 tokens; set a smaller `block_size`"):
        load_blocks(text(tmp_path, texts), f"dir:{model}")


def test_a_corpus_without_the_column_or_without_text_is_refused(
    model: Path, tmp_path: Path
) -> None:
    with pytest.raises(SourceError, match="valid are: text"):
        load_blocks(text(tmp_path, TEXTS, column="words"), f"dir:{model}")
    pq.write_table(pa.table({"text": [1, 2]}), tmp_path / "numbers.parquet")
    numbers = {"source": f"dir:{tmp_path}/numbers.parquet"}
    with pytest.raises(SourceError, match="holds int, not text"):
        load_blocks(text(tmp_path, [], table=numbers), f"dir:{model}")


def test_a_tokenizer_without_mask_is_refused(model: Path, tmp_path: Path) -> None:
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if (model / name).exists():
            settings = (model / name).read_text()
            (model / name).write_text(settings.replace("mask_token", "task_token"))
    with pytest.raises(SourceError, match="no MASK token"):
        load_blocks(text(tmp_path, TEXTS), f"dir:{model}")
