"""Tables from every kind of file, from a mirror, and what is said when they do not fit."""

import bz2
import io
import json
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tamt_ray.data.cache import SourceError
from tamt_ray.data.table import Rows, column, fingerprint, load_rows, longest_rows
from tamt_ray.values.table import Table


def write(tmp_path: Path, name: str, content: str | bytes) -> str:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return f"dir:{path}"


def rows_of(source: str, **settings: object) -> dict[str, list[object]]:
    return load_rows(Table.model_validate({"source": source, **settings})).table.to_pydict()


def test_each_format_follows_the_name(tmp_path: Path) -> None:
    expected = {"s": ["a b", "c"], "n": [1, 2]}
    sink = io.BytesIO()
    pq.write_table(pa.table(expected), sink)
    files = {
        "x.parquet": sink.getvalue(),
        "x.csv": "s,n\na b,1\nc,2\n",
        "x.tsv": "\ufeffs\tn\r\na b\t1\r\nc\t2",
        "x.jsonl": '{"s": "a b", "n": 1}\n\n{"n": 2, "s": "c"}\n',
    }
    for name, content in files.items():
        assert rows_of(write(tmp_path, name, content)) == expected, name
    assert rows_of(write(tmp_path, "x.txt", "one\n\ntwo\u2028more\n")) == {
        "text": ["one", "", "two\u2028more"]
    }
    xml = (
        "<mediawiki><page><ns>0</ns><revision><text>It ''is''.</text></revision></page></mediawiki>"
    )
    assert rows_of(write(tmp_path, "x.xml.bz2", bz2.compress(xml.encode()))) == {"text": ["It is."]}


def test_quotes_quote_only_where_the_delimiter_is_a_comma(tmp_path: Path) -> None:
    comma = 'a,b\n"one, ""two""\nthree",x\n'
    assert rows_of(write(tmp_path, "c.csv", comma)) == {"a": ['one, "two"\nthree'], "b": ["x"]}
    tab = 'He said "no.\t1\n"Yes"\t2\n'
    source = write(tmp_path, "t.csv", tab)
    assert rows_of(source, delimiter="\t", header=False) == {
        "0": ['He said "no.', '"Yes"'],
        "1": [1, 2],
    }


def test_numbers_are_numbers_only_where_all_are(tmp_path: Path) -> None:
    found = rows_of(write(tmp_path, "n.tsv", "i\tf\ts\n1\t1\t1\n-2\t2.5\tNA\n"))
    assert found == {"i": [1, -2], "f": [1.0, 2.5], "s": ["1", "NA"]}


def test_without_header_surplus_columns_are_left_out(tmp_path: Path) -> None:
    source = write(tmp_path, "n.tsv", "a\t1\nb\t2\tlicence\n")
    assert rows_of(source, header=False) == {"0": ["a", "b"], "1": [1, 2]}
    with pytest.raises(SourceError, match=r"n\.tsv.*:2: 3 columns where line 1 has 2"):
        rows_of(write(tmp_path, "h.n.tsv", "a\tb\nb\t2\tsurplus\n"))


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("x.tsv", "a\tb\n1\t2\n3\n", r":3: 1 columns where line 1 has 2"),
        ("x.csv", 'a,b\n"1\n2",3\n4\n', r":4: 1 columns where line 1 has 2"),
        ("x.csv", 'a,b\n1,"2\n', r":2: unexpected end"),
        ("x.tsv", "a\ta\n1\t2\n", r":1: two columns"),
        ("x.tsv", "", "empty"),
        ("x.jsonl", '{"a": 1}\n{"a": \n', r":2: not JSON"),
        ("x.jsonl", '{"a": 1}\n{"b": 1}\n', r":2: the keys are b"),
        ("x.jsonl", '{"a": 1}\n[1]\n', r":2: each line"),
        ("x.jsonl", '{"a": 1}\n{"a": "b"}\n', "cannot be read"),
        ("x.jsonl", "\n", "empty"),
        ("x.txt", b"fine\ncaf\xe9\n", r":2: not utf-8.*encoding"),
        ("x.parquet", b"PAR1 is not", "cannot be read"),
        ("x.xml.bz2", b"BZh9 is not", "cannot be read"),
        ("x.pdf", b"", "files are read that end in"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_with_the_place(
    tmp_path: Path, name: str, content: str | bytes, complaint: str
) -> None:
    with pytest.raises(SourceError, match=complaint) as caught:
        rows_of(write(tmp_path, name, content))
    assert name in str(caught.value)


def test_the_encoding_is_honoured(tmp_path: Path) -> None:
    # U+0085 is a control character that str.splitlines takes for the end of a line.
    source = write(tmp_path, "x.txt", "caf\xe9\x85 noir\n".encode("latin-1"))
    assert rows_of(source, encoding="latin-1") == {"text": ["café\x85 noir"]}
    with pytest.raises(SourceError, match="no encoding 'klingon'"):
        rows_of(source, encoding="klingon")


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    source = write(tmp_path, "x.txt", "one\n")
    first = load_rows(Table(source=source))
    assert load_rows(Table(source=source)) is first
    write(tmp_path, "x.txt", "one\ntwo\n")
    assert load_rows(Table(source=source)).table.num_rows == 2


def test_a_star_stands_for_files_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name, content in (("b-2", "c,3\n"), ("b-1", "b,2\n"), ("a", "a,1\n")):
        write(tmp_path, f"parts/{name}.csv", f"s,n\n{content}")
    assert rows_of(f"dir:{tmp_path}/parts/b-*.csv") == {"s": ["b", "c"], "n": [2, 3]}
    write(tmp_path, "parts/b-3.csv", "s,n\nd,4\n")
    assert rows_of(f"dir:{tmp_path}/parts/b-*.csv") == {"s": ["b", "c", "d"], "n": [2, 3, 4]}
    with pytest.raises(SourceError, match=r"parts is a folder; name its files, as in dir:.*/\*"):
        rows_of(f"dir:{tmp_path}/parts")
    with pytest.raises(SourceError, match=r"no file .*/none-"):
        rows_of(f"dir:{tmp_path}/parts/none-*.csv")
    write(tmp_path, "parts/b-4.csv", "s,n\nd,four\n")
    with pytest.raises(SourceError, match=r"its files make no table: .*int64"):
        rows_of(f"dir:{tmp_path}/parts/b-*.csv")


def test_a_missing_file_is_a_source_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no file"):
        rows_of(f"dir:{tmp_path}/absent.txt")


def test_head_and_tail_share_out_the_rows_by_content_alone(tmp_path: Path) -> None:
    lines = [f"line {number}" for number in range(2000)]
    forward = write(tmp_path, "f.txt", "\n".join(lines + lines[:100]))
    backward = write(tmp_path, "b.txt", "\n".join(reversed(lines)))
    tail = rows_of(forward, part="tail", tail=0.25)["text"]
    head = rows_of(forward, part="head", tail=0.25)["text"]
    assert len(head) + len(tail) == 2100
    assert not set(head) & set(tail)
    assert set(rows_of(backward, part="tail", tail=0.25)["text"]) == set(tail)
    # Binomial with n = 2000, p = 0.25: five standard deviations are 97.
    assert abs(len(set(tail)) - 500) < 97
    # A larger tail takes rows from the head only.
    assert set(tail) <= set(rows_of(forward, part="tail", tail=0.5)["text"])


def test_a_missing_column_names_those_there_are() -> None:
    rows = Rows(pa.table({"a": [1], "b": [2]}), "")
    assert column(rows, "b") == [2]
    with pytest.raises(SourceError, match="no column 'c'; valid are: a, b"):
        column(rows, "c")


def test_the_fingerprint_depends_on_content_only() -> None:
    plain = pa.table({"s": ["a", None, "", "bc"], "n": [1, 2, None, 4], "l": [[1], [], None, [2]]})
    digest = fingerprint(plain)
    halves = pa.concat_tables([plain.slice(0, 3), plain.slice(3)])
    longer = pa.concat_tables([plain.slice(3), plain]).slice(1)
    wide = pa.schema({"s": pa.large_string(), "n": pa.int32(), "l": pa.list_(pa.int64())})
    same = [
        halves,
        longer,
        plain.cast(wide),
        plain.select(["l", "s", "n"]),
        plain.replace_schema_metadata({"made": "by someone else"}),
        plain.set_column(0, "s", plain["s"].dictionary_encode()),
    ]
    assert {fingerprint(table) for table in same} == {digest}


def test_the_fingerprint_tells_unlike_tables_apart() -> None:
    tables: list[dict[str, list[object]]] = [
        {"a": ["x", "y"]}, {"a": ["xy", ""]}, {"a": ["", "xy"]}, {"a": ["x", None, "y"]},
        {"a": ["x", "", "y"]}, {"b": ["x", "y"]}, {"a": ["y", "x"]}, {"a": [1, 0]},
        {"a": [1, None]},
        {"a": [1.0, 0.0]}, {"a": [True, False]}, {"a": [[1], [0]]}, {"a": [[1, 0], []]}, {"a": []},
        {"a": [], "b": []}, {"a": ["1", "0"]},
    ]  # fmt: skip
    assert len({fingerprint(pa.table(table)) for table in tables}) == len(tables)


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "mirror"
    for name in (
        "one/only/train",
        "two/default/train",
        "two/x/train",
        "three/x/test",
        "three/y/test",
    ):
        path = root / "datasets" / "org" / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"text": [name]}), path)
    monkeypatch.setenv("TAMT_MIRROR", str(root))
    return root


@pytest.mark.parametrize("remote", [False, True])
def test_a_mirror_stands_in_for_the_hub(
    mirror: Path, remote: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if remote:
        monkeypatch.setenv("TAMT_MIRROR", f"file://{mirror}")
    assert rows_of("hf:org/one", split="train") == {"text": ["one/only/train"]}
    assert rows_of("hf:org/two", split="train") == {"text": ["two/default/train"]}
    assert rows_of("hf:org/two#x", split="train") == {"text": ["two/x/train"]}


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("hf:org/three", r"#<config>.*there are: x, y"),
        ("hf:org/three#z", "there are: x, y"),
        ("hf:org/two#x", "no split 'test'.*there are: train"),
        ("hf:org/absent", "no such data set"),
        ("hf:../org", "not the name of a repository"),
    ],
)
def test_what_a_mirror_lacks_is_said(mirror: Path, source: str, complaint: str) -> None:
    with pytest.raises(SourceError, match=complaint):
        rows_of(source, split="test")


def test_a_mirror_that_is_not_there_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAMT_MIRROR", "nonsense://x")
    with pytest.raises(SourceError, match="TAMT_MIRROR"):
        rows_of("hf:org/one", split="train")


def test_a_remote_mirror_is_copied_once_until_it_changes(
    mirror: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pyarrow import fs

    from tamt_ray.data.hub import Mirror

    elsewhere = fs.SubTreeFileSystem(str(mirror), fs.LocalFileSystem())
    monkeypatch.setattr(Mirror, "_open", lambda _self: (elsewhere, ""))
    copies = cache / "mirror"
    for _ in range(2):
        assert rows_of("hf:org/one", split="train") == {"text": ["one/only/train"]}
        assert len([p for p in copies.iterdir() if p.is_dir()]) == 1
    changed = mirror / "datasets/org/one/only/train.parquet"
    pq.write_table(pa.table({"text": ["one", "more"]}), changed)
    assert rows_of("hf:org/one", split="train") == {"text": ["one", "more"]}


@pytest.mark.usefixtures("offline")
def test_offline_the_hub_is_a_source_error_with_the_way_out() -> None:
    with pytest.raises(
        SourceError, match=r"TAMT_MIRROR=<dir> with <dir>/datasets/a/b/c/d\.parquet"
    ):
        rows_of("hf:a/b#c", split="d")


def test_a_table_inside_a_package(cache: Path) -> None:
    import hashlib

    data = json.dumps({"text": "hello"}).encode()
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w:gz") as file:
        info = tarfile.TarInfo("demo-1.0/rows.jsonl")
        info.size = len(data)
        file.addfile(info, io.BytesIO(data))
    digest = hashlib.sha256(sink.getvalue()).hexdigest()
    write(cache / "archives" / digest, "demo-1.0.tar.gz", sink.getvalue())
    assert rows_of(f"pypi:demo==1.0/rows.jsonl#sha256={digest}") == {"text": ["hello"]}


def test_reading_a_table_imports_no_torch() -> None:
    import subprocess
    import sys

    code = "import sys, tamt_ray.data.table; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_damaged_page_is_a_source_that_cannot_be_read(tmp_path: Path) -> None:
    """With and without the page's checksum; a flipped bit in plain numbers only the sum tells."""
    rows = pa.table({"s": ["a good thing"] * 1000, "n": list(range(1000))})
    for settings in ({"compression": "snappy"}, {"write_page_checksum": True}):
        sink = io.BytesIO()
        pq.write_table(rows, sink, use_dictionary=False, **settings)
        data = bytearray(sink.getvalue())
        data[200:208] = bytes(255 - byte for byte in data[200:208])
        with pytest.raises(SourceError, match=r"x\.parquet\): cannot be read"):
            rows_of(write(tmp_path, "x.parquet", bytes(data)))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("[" * 100_000 + "]" * 100_000, "not JSON: maximum recursion depth"),
        ("9" * 5000, "not JSON: Exceeds the limit"),
        (str(2**63), "column 'n' cannot be read: Python int too large"),
        ('"text"', "column 'n' cannot be read: Could not convert 'text'"),
        ('"\\ud800"', "column 'n' cannot be read: Could not convert"),
    ],
)
def test_a_value_that_no_column_holds_is_told_with_its_line(
    value: str, reason: str, tmp_path: Path
) -> None:
    source = write(tmp_path, "x.jsonl", f'{{"n": 1}}\n\n{{"n": {value}}}\n{{"n": 2}}\n')
    with pytest.raises(SourceError) as caught:
        rows_of(source)
    assert f"(x.jsonl):3: {reason}" in str(caught.value)


def test_integers_that_are_too_large_stay_what_they_are(tmp_path: Path) -> None:
    """As floating-point numbers they would lose digits without a word."""
    source = write(tmp_path, "x.csv", f"id,n\n1,1\n{2**63},2.5\n")
    assert rows_of(source) == {"id": ["1", str(2**63)], "n": [1.0, 2.5]}


def test_the_longest_rows_are_those_with_most_text() -> None:
    table = pa.table({"a": ["x", "xxx", None, "éé"], "n": [9, 9, 9, 9], "b": ["", "", "xx", "x"]})
    rows = Rows(table, "f")
    assert longest_rows(rows, 2).table.column("a").to_pylist() == ["xxx", "éé", "x"]
    assert longest_rows(rows, 9).table.num_rows == 4
    numbers = Rows(pa.table({"n": [1, 2, 3]}), "f")
    assert longest_rows(numbers, 2).table.column("n").to_pylist() == [1, 2]


def test_the_row_with_the_most_tokens_need_not_have_the_most_characters() -> None:
    """Marks and short words are tokens too; so is each character of Chinese."""
    texts = ["internationalisation of everything", "a, b; c: d. e!", "模型剪枝", "short"]
    rows = Rows(pa.table({"text": pa.array(texts, pa.large_string())}), "f")
    assert longest_rows(rows, 1).table.column("text").to_pylist() == texts[:2]
    assert longest_rows(rows, 2).table.column("text").to_pylist() == texts[:3]
