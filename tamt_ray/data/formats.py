"""Files to Arrow tables; the format follows the name of the file."""

import bisect
import csv
import io
import json
import re
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq

from tamt_ray.data.cache import SourceError
from tamt_ray.data.mediawiki import articles
from tamt_ray.values.table import Table

_INTEGER = re.compile(r"[-+]?[0-9]+")
_OTHERS = re.compile(r"[;\t|]")
"""Delimiters in files whose name implies another one."""
SUFFIXES = (".parquet", ".csv", ".tsv", ".jsonl", ".txt", ".xml", ".bz2")


def parse(table: Table, name: str, data: bytes) -> pa.Table:
    """Return the rows of a file called `name`, in file order.

    A `delimiter` makes a table of any text file. Only where it is a comma does a double quote
    quote: tab-separated data sets hold bare quotes. In a delimited file a column becomes int64 or
    float64 where every value reads as one, and text otherwise; integers beyond int64 stay text.
    Raises SourceError with the line.
    """
    where = f"{table.source} ({PurePosixPath(name).name})"
    suffix = PurePosixPath(name).suffix
    try:
        if suffix == ".parquet":
            return pq.read_table(io.BytesIO(data), page_checksum_verification=True)
        if suffix == ".bz2" or suffix == ".xml":
            return pa.table({"text": pa.array(articles(data), pa.large_string())})
        text = data.decode(table.encoding).removeprefix("\ufeff")
        if table.delimiter or suffix in {".csv", ".tsv"}:
            return _delimited(text, table, suffix, where)
        if suffix == ".jsonl":
            return _json_lines(text, where)
        if suffix == ".txt":
            return pa.table({"text": pa.array(_lines(text), pa.large_string())})
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SourceError(
            f"{where}:{line}: not {table.encoding}: {error}; set `encoding`"
        ) from error
    except LookupError as error:
        raise SourceError(f"{where}: there is no encoding {table.encoding!r}") from error
    except (pa.ArrowException, OSError, EOFError, ValueError) as error:
        raise SourceError(f"{where}: cannot be read: {error}") from error
    raise SourceError(
        f"{where}: files are read that end in {', '.join(SUFFIXES)}, or any text file with a "
        f"`delimiter`"
    )


def _lines(text: str) -> list[str]:
    """Lines without their ends. Not splitlines, which also cuts at U+0085 and U+2028."""
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def _delimited(text: str, table: Table, suffix: str, where: str) -> pa.Table:
    delimiter = table.delimiter or ("," if suffix == ".csv" else "\t")
    if delimiter == ",":
        rows = _quoted(text, where)
    else:
        rows = [(n, line.split(delimiter)) for n, line in enumerate(_lines(text), 1) if line]
    if not rows:
        raise SourceError(f"{where}: the file is empty; write rows into it, or name another file")
    names = rows.pop(0)[1] if table.header else [str(number) for number in range(len(rows[0][1]))]
    if table.header and len(names) == 1 and (other := _OTHERS.search(names[0])):
        raise SourceError(
            f"{where}:1: one column, {names[0]!r}; is it delimited by {other[0]!r}? then set "
            f"`delimiter: {json.dumps(other[0])}`"
        )
    if len(set(names)) < len(names):
        raise SourceError(f"{where}:1: two columns have the same name in {names}")
    for line, row in rows:
        # Without a header the first row rules: STS-B adds licence columns to some later rows.
        if len(row) < len(names) or (table.header and len(row) > len(names)):
            raise SourceError(
                f"{where}:{line}: {len(row)} columns where line 1 has {len(names)}; "
                f"check `delimiter` ({delimiter!r}) and the file"
            )
    return pa.table({name: _typed([row[i] for _, row in rows]) for i, name in enumerate(names)})


def _quoted(text: str, where: str) -> list[tuple[int, list[str]]]:
    """Return (line number from 1, fields) of each row that is not empty."""
    # Polars and Arrow do not say on which line of the file a row begins, which errors have to name.
    csv.field_size_limit(2**31 - 1)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[tuple[int, list[str]]] = []
    line = 1
    try:
        for row in reader:
            if row:
                rows.append((line, row))
            line = reader.line_num + 1
    except csv.Error as error:
        raise SourceError(f"{where}:{line}: {error}") from error
    return rows


def _typed(values: list[str]) -> pa.Array:
    text = pa.array(values, pa.large_string())
    for kind in (pa.int64(), pa.float64()):
        try:
            return text.cast(kind)
        except pa.ArrowInvalid:
            if all(map(_INTEGER.fullmatch, values)):
                break
    return text


def _json_lines(text: str, where: str) -> pa.Table:
    rows: list[dict[str, object]] = []
    lines: list[int] = []
    for number, line in enumerate(_lines(text), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise SourceError(f"{where}:{number}: not JSON: {error}") from error
        if not isinstance(row, dict):
            raise SourceError(f"{where}:{number}: each line is one JSON object")
        if rows and row.keys() != rows[0].keys():
            raise SourceError(
                f"{where}:{number}: the keys are {', '.join(row)}, and in the first row "
                f"{', '.join(rows[0])}"
            )
        rows.append(row)
        lines.append(number)
    if not rows:
        raise SourceError(f"{where}: the file is empty; write rows into it, or name another file")
    columns = {str(name): [row[name] for row in rows] for name in rows[0]}
    found: dict[str, pa.Array] = {}
    for name, values in columns.items():
        try:
            found[name] = pa.array(values)
        except (pa.ArrowException, OverflowError, ValueError) as error:
            line = lines[_first_misfit(values)]
            raise SourceError(f"{where}:{line}: column {name!r} cannot be read: {error}") from error
    return pa.table(found)


def _first_misfit(values: list[object]) -> int:
    """Return the number of the first value that makes no column with those before it."""

    def fails(count: int) -> bool:
        try:
            pa.array(values[:count])
        except (pa.ArrowException, OverflowError, ValueError):
            return True
        return False

    return bisect.bisect_left(range(len(values) + 1), True, key=fails) - 1
