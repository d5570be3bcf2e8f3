"""Documents by hand calculation: words a to j are the ids 5 to 14; PAD 0, CLS 2, SEP 3."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tamt_ray.data import derived, tokenization
from tamt_ray.data import documents as room
from tamt_ray.data.blocks import load_text
from tamt_ray.data.cache import SourceError
from tamt_ray.data.documents import load_documents
from tamt_ray.data.tokens import Blocks, Documents
from tamt_ray.values.text import Text

SIZE = 32
"""Tokens of a sequence; a pair has room for 29."""


def words(ids: list[int]) -> str:
    return " ".join("abcdefghij"[number - 5] for number in ids)


def paragraph(length: int, begin: int = 0) -> list[int]:
    """Ids that go round a to j from the letter `begin` on."""
    return [5 + (begin + place) % 10 for place in range(length)]


def text(tmp_path: Path, rows: list[str | None], **settings: object) -> Text:
    pq.write_table(pa.table({"text": rows}), tmp_path / "corpus.parquet")
    table = {"source": f"dir:{tmp_path}/corpus.parquet"}
    given = {"table": table, "form": "documents", "block_size": SIZE, **settings}
    return Text.model_validate(given)


def load(model: Path, tmp_path: Path, rows: list[str | None], **settings: object) -> Documents:
    return load_documents(text(tmp_path, rows, **settings), f"dir:{model}")


def single(ids: list[int]) -> list[int]:
    """One part between CLS and SEP, padded."""
    return [2, *ids, 3, *[0] * (SIZE - 2 - len(ids))]


def shown(found: Documents) -> list[list[int]]:
    return [found.row(number).ids.tolist() for number in range(len(found))]


def test_headings_and_blank_lines_part_documents_and_short_beginnings_are_dropped(
    model: Path, tmp_path: Path
) -> None:
    """One paragraph a document, so that no draw shows."""
    first, second, third = paragraph(20), paragraph(29, 3), paragraph(25, 7)
    rows = [
        " = Title = \n", f" {words(first)} \n", "", words(paragraph(19)), None, words(second),
        " = = Section = = ", words(paragraph(5)), words(paragraph(28)), "  ", words(third),
    ]  # fmt: skip
    found = load(model, tmp_path, rows)
    assert shown(found) == [single(first), single(second), single(third)]
    # Kept without special tokens and padding.
    assert found.tokens.numel() == 20 + 29 + 25
    assert found.tokens.dtype == torch.int32
    row = found.row(0)
    assert row.real is not None
    assert row.segments is not None
    assert row.real.tolist() == [True] * 22 + [False] * 10
    assert row.ordinary.tolist() == [False] + [True] * 20 + [False] * 11
    assert not row.segments.any()


def test_a_row_of_several_lines_is_a_document_of_its_own(model: Path, tmp_path: Path) -> None:
    article = f"{words(paragraph(20))}\n{words(paragraph(5))}"
    alone = words(paragraph(22, 1))
    whole = load(model, tmp_path, [article, alone, article, words(paragraph(3))])
    lines = [*article.split("\n"), "", alone, "", *article.split("\n"), "", words(paragraph(3))]
    apart = load(model, tmp_path, lines)
    assert shown(whole) == shown(apart)
    assert single(paragraph(22, 1)) in shown(whole)


def test_a_first_paragraph_with_an_equals_sign_drops_the_document(
    model: Path, tmp_path: Path
) -> None:
    """The tokenizer knows the sign as a token in place of j."""
    vocabulary = model / "tokenizer.json"
    vocabulary.write_text(vocabulary.read_text().replace('"j": 14', '"=": 14'))
    kept = words(paragraph(9)) * 3
    later = words(paragraph(9))
    rows = [f"a = b {kept}", "", kept, f"b = c {later}"]
    found = load(model, tmp_path, rows, block_size=64)
    tokens = found.tokens.tolist()
    assert tokens.count(14) == 1, "only the second document's later paragraph has the sign"
    assert len(tokens) == 25 + 12 or len(tokens) == 27 + 12


def test_two_paragraphs_are_two_segments(model: Path, tmp_path: Path) -> None:
    """Of 500 documents one in ten is cut at a random number of 2 to 29 tokens, so that A and B are
    sequences of their own where that is at most A's 20: 19 of 28 of them."""
    rows = [row for _ in range(500) for row in (words(paragraph(20)), words(paragraph(6, 4)), "")]
    found = load(model, tmp_path, rows)
    a, b = paragraph(20), paragraph(6, 4)
    pair = [2, *a, 3, *b, 3, *[0] * 3]
    drawn = shown(found)
    pairs, apart = drawn.count(pair), drawn.count(single(b))
    assert pairs + apart == 500
    assert drawn.count(single(a)) == apart
    assert len(drawn) == 500 + apart
    expected = 500 * 0.1 * 19 / 28
    assert abs(apart - expected) < 5 * expected**0.5
    row = found.row(drawn.index(pair))
    assert row.real is not None
    assert row.segments is not None
    assert row.segments.tolist() == [0] * 22 + [1] * 7 + [0] * 3
    assert row.real.tolist() == [True] * 29 + [False] * 3
    special = [0, 21, 28, 29, 30, 31]
    assert [place for place in range(SIZE) if not row.ordinary[place]] == special


def test_paragraphs_are_gathered_up_to_the_room_and_split_anywhere(
    model: Path, tmp_path: Path
) -> None:
    """20 + 4 + 3 + 2 fill a sequence; the next paragraph begins another one."""
    parts = [paragraph(20), paragraph(4, 1), paragraph(3, 2), paragraph(2, 3), paragraph(8, 4)]
    rows = [row for _ in range(300) for row in (*map(words, parts), "")]
    found = load(model, tmp_path, rows)
    full = [n for n in range(len(found)) if found.row(n).ids.count_nonzero() == SIZE]
    assert 250 < len(full) < 290  # nine in ten
    splits = [int(found.first[number]) for number in full]
    assert {20, 24, 27} == set(splits)
    assert min(splits.count(split) for split in (20, 24, 27)) > 60
    last = [n + 1 for n in full]
    assert all(found.row(n).ids.tolist() == single(parts[-1]) for n in last)


def test_what_is_too_long_loses_tokens_at_either_end_of_the_longer_part(
    model: Path, tmp_path: Path
) -> None:
    long, short = paragraph(45), paragraph(9, 2)
    rows = [row for _ in range(200) for row in (words(long), "")]
    begins: set[int] = set()
    for ids in shown(load(model, tmp_path, rows)):
        (begin,) = [n for n in range(10) if ids == [2, *paragraph(29, n), 3, 0]]
        begins.add(begin)
    assert begins == set(range(10)), "of 16 tokens about half go in front"
    rows = [row for _ in range(200) for row in (words(paragraph(28)), words(short), "")]
    found = load(model, tmp_path, rows)
    for ids in shown(found):
        if ids[:2] != [2, 5] and 3 not in ids[2:20]:
            # The shorter part is whole, and 20 tokens of the longer one stand before it.
            assert ids[21:] == [3, *short, 3]


def test_documents_depend_on_nothing_but_the_text(
    model: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = [(words(paragraph(21 + n)), words(paragraph(n + 1))) for n in range(40)]
    rows = [row for pair in pairs for row in (*pair, "")]
    whole = load(model, tmp_path, rows)
    monkeypatch.setenv("TAMT_CACHE", str(cache / "other"))
    monkeypatch.setattr(tokenization, "BATCH", 1)
    again = load(model, tmp_path, rows)
    assert torch.equal(whole.tokens, again.tokens)
    assert torch.equal(whole.first, again.first)
    limited = load(model, tmp_path, rows, limit=7)
    assert shown(limited) == shown(whole)[:7]
    # A document that is dropped moves no draw of the others.
    more = load(model, tmp_path, [words(paragraph(3)), "", *rows])
    assert torch.equal(whole.tokens, more.tokens)


def test_they_are_kept_and_damage_is_noticed(
    model: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[str | None] = [words(paragraph(20))]
    load(model, tmp_path, rows)
    (path,) = (cache / "blocks").glob("[!.]*")
    derived._verified.cache_clear()
    genuine = room._pairs
    monkeypatch.setattr(room, "_pairs", None)
    assert shown(load(model, tmp_path, rows)) == [single(paragraph(20))]
    monkeypatch.setattr(room, "_pairs", genuine)
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    derived._verified.cache_clear()
    assert shown(load(model, tmp_path, rows)) == [single(paragraph(20))]


def test_the_form_of_a_text_says_which_of_the_two_it_becomes(model: Path, tmp_path: Path) -> None:
    rows: list[str | None] = [words(paragraph(40))]
    assert isinstance(load_text(text(tmp_path, rows), f"dir:{model}"), Documents)
    assert isinstance(load_text(text(tmp_path, rows, form="blocks"), f"dir:{model}"), Blocks)


@pytest.mark.parametrize("rows", [[""], [" ", None], [words(paragraph(19))], []])
def test_no_document_is_a_source_error(model: Path, tmp_path: Path, rows: list[str | None]) -> None:
    with pytest.raises(SourceError, match="no document in column 'text' begins with a paragraph"):
        load(model, tmp_path, rows)
