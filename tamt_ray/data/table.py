"""Rows of a data set as an Arrow table, known by their content."""

import functools
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tamt_ray.data.archive import cached_archive, read_member
from tamt_ray.data.cache import SourceError, local_files, missing
from tamt_ray.data.formats import parse
from tamt_ray.data.hub import mirror, read_split, split_file
from tamt_ray.values.base import nearest
from tamt_ray.values.table import SourceRef, Table, parse_source

_MODERATE = 1 << 25
"""Bytes of a file that is read within a few seconds."""


_PART = r"\w+|[^\w\s]"
"""A word or a mark; beyond ASCII each character counts."""
_Stamps = tuple[tuple[int, int], ...]
"""Size and time of each file."""


@dataclass(frozen=True)
class Rows:
    """A table in file order; `fingerprint` is a sha256 over names, types and values.

    It depends neither on chunks, nor on the order of columns, nor on the width of a number type.
    """

    table: pa.Table
    fingerprint: str


def load_rows(table: Table) -> Rows:
    """Return the rows that a sweep file describes.

    Kept in memory for the next call while the file is unchanged. Raises SourceError where the
    source cannot be had, lacks the split, or has a line that does not fit.
    """
    ref = parse_source(table.source)
    paths = _files(table, ref)
    for path in paths if ref.scheme == "dir" else ():
        if path.is_dir():
            raise SourceError(
                f"{table.source} is a folder; name its files, as in dir:{ref.path}/*.parquet"
            )
        if not path.is_file():
            raise SourceError(f"{table.source}: {missing(path, 'file')}")
    stamps = tuple((path.stat().st_size, path.stat().st_mtime_ns) for path in paths)
    return _load(table, ref, paths, stamps)  # pyright: ignore[reportArgumentType] - frozen, so it hashes


def at_hand(table: Table) -> bool:
    """Return whether the rows can be read at once: from files of moderate size on this machine, or
    from an archive that the cache has. A folder counts: reading it says what is wrong."""
    ref = parse_source(table.source)
    try:
        if ref.scheme == "hf" and not ((stand_in := mirror()) and stand_in.local):
            return False
        path = cached_archive(ref, _MODERATE) if ref.scheme == "pypi" else None
        paths = [path] if path else _files(table, ref)
        there = bool(paths) and all(path.exists() for path in paths)
        return there and sum(path.stat().st_size for path in paths) <= _MODERATE
    except (SourceError, OSError):
        # A mirror may have some of the data sets only; a folder may belong to somebody else.
        return False


def _files(table: Table, ref: SourceRef) -> tuple[Path, ...]:
    """Return the files that hold the rows; none where the package index or the hub has them."""
    if ref.scheme == "dir":
        return local_files(ref.path)
    if ref.scheme == "hf" and (stand_in := mirror()) is not None:
        return (split_file(stand_in, ref, table.split or ""),)
    return ()


def name_of(table: Table) -> str:
    """Return the source with what chooses rows of it, as records and messages name it."""
    part = None if table.part == "all" else table.part
    return "#".join(filter(None, (table.source, table.split, part)))


def column(rows: Rows, name: str) -> list[object]:
    """Return the values of one column. Raises SourceError with the nearest column's name."""
    if name not in rows.table.column_names:
        raise SourceError(f"no column {name!r}{nearest(name, rows.table.column_names)}")
    return rows.table.column(name).to_pylist()


def longest_rows(rows: Rows, count: int) -> Rows:
    """Return the `count` rows with the most characters of text, and the `count` with the most words
    and marks: without a tokenizer, the rows with the most tokens are looked for among both."""
    characters, parts = (np.zeros(rows.table.num_rows, np.int64) for _ in range(2))
    for values in rows.table.columns:
        if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
            characters += _counted(pc.call_function("utf8_length", [values]))
            options = pc.MatchSubstringOptions(_PART)
            parts += _counted(pc.call_function("count_substring_regex", [values], options))
    most = [np.argsort(-size, kind="stable")[:count] for size in (characters, parts)]
    chosen = list(dict.fromkeys(np.concatenate(most).tolist()))
    return Rows(rows.table.take(chosen), rows.fingerprint)


def _counted(counts: pa.ChunkedArray) -> NDArray[np.int64]:
    return np.asarray(pc.fill_null(counts, 0), np.int64)


@functools.lru_cache(maxsize=8)
def _load(table: Table, ref: SourceRef, paths: tuple[Path, ...], stamps: _Stamps) -> Rows:
    """`paths` are the files, unless the package index or the hub has the rows."""
    # Both parts of one file come out of a single reading.
    whole = table.model_copy(update={"part": "all", "tail": 0.1})
    content = _content(whole, ref, paths, stamps)  # pyright: ignore[reportArgumentType]
    if table.part != "all":
        border = np.uint64(int(table.tail * 2**64))
        places = _places(whole, ref, paths, stamps)  # pyright: ignore[reportArgumentType]
        content = content.filter(pa.array((places < border) == (table.part == "tail")))
    content = content.combine_chunks()
    return Rows(content, fingerprint(content))


@functools.lru_cache(maxsize=4)
def _content(table: Table, ref: SourceRef, paths: tuple[Path, ...], _stamps: _Stamps) -> pa.Table:
    if paths:
        parts = [parse(table, path.name, path.read_bytes()) for path in paths]
        try:
            return pa.concat_tables(parts) if len(parts) > 1 else parts[0]
        except pa.ArrowInvalid as error:
            words = " ".join(str(error).split())
            raise SourceError(f"{table.source}: its files make no table: {words}") from error
    if ref.scheme == "pypi":
        return parse(table, ref.path, read_member(ref))
    return read_split(ref, table.split or "")


@functools.lru_cache(maxsize=4)
def _places(
    table: Table, ref: SourceRef, paths: tuple[Path, ...], stamps: _Stamps
) -> NDArray[np.uint64]:
    """Return a number per row, [rows], by which it belongs to a part: equal rows have the same,
    whatever their order."""
    rows = _content(table, ref, paths, stamps).to_pylist()  # pyright: ignore[reportArgumentType]
    digests = (hashlib.sha256(_canonical(row)).digest()[:8] for row in rows)
    return np.fromiter(map(int.from_bytes, digests), np.uint64, len(rows))


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str).encode(
        "utf-8", "surrogatepass"
    )


def fingerprint(content: pa.Table) -> str:
    """Return the sha256 over names, types and values of a table, in hex."""
    digest = hashlib.sha256(str(content.num_rows).encode())
    for name in sorted(content.column_names):
        kind, buffers = _plain(content.column(name))
        digest.update(json.dumps([name, kind, sum(map(len, buffers))]).encode())
        for part in buffers:
            digest.update(part)
    return digest.hexdigest()


def _plain(values: pa.ChunkedArray) -> tuple[str, list[memoryview | bytes]]:
    """Return the kind of a column and its content in bytes that depend on the values only."""
    kind = values.type
    if pa.types.is_dictionary(kind):
        return _plain(values.cast(kind.value_type))
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        lengths = pc.fill_null(pc.cast(pc.call_function("binary_length", [values]), pa.int64()), -1)
        text = values.drop_null().cast(pa.large_binary())
        return "text", [_numbers(lengths), *(_text(chunk) for chunk in text.chunks)]
    if pa.types.is_boolean(kind) or (pa.types.is_integer(kind) and kind != pa.uint64()):
        name, wide = ("bool" if pa.types.is_boolean(kind) else "int"), pa.int64()
    elif pa.types.is_floating(kind):
        name, wide = "float", pa.float64()
    else:
        return "other", [_canonical(values.to_pylist())]
    filled = pc.fill_null(pc.cast(values, wide), 0)
    return name, [_numbers(pc.cast(values.is_valid(), pa.int8())), _numbers(filled)]


def _numbers(values: pa.ChunkedArray) -> bytes:
    """Return the bytes of a column of numbers without nulls."""
    return values.to_numpy().tobytes()


def _text(values: pa.Array) -> memoryview:
    """Return the bytes of an array of large binaries without nulls, one after the other."""
    _, offsets, content = values.buffers()
    borders = memoryview(offsets or b"").cast("q")[values.offset : values.offset + len(values) + 1]
    return memoryview(content or b"")[borders[0] : borders[-1]] if len(values) else memoryview(b"")
