"""The paper's own numbers, given by the user as a table, to be drawn beside ours."""

import csv
import math
from collections.abc import Mapping

import polars as pl

_PAIRS = ("avg", "mlm_loss", "kd_loss")
_COLUMNS = ["method", "sparsity", *(f"{name}_{end}" for name in _PAIRS for end in ("low", "high"))]


class PublishedError(ValueError):
    """The file is no such table; the message names the line."""


def read_published(text: str, name: str) -> pl.DataFrame:
    """A row for each (method, sparsity): the lowest and highest published value of three numbers.

    `avg_low`, `avg_high` in percent, `mlm_loss_…` in nats a token, `kd_loss_…` a cosine distance.
    Lines that start with # are comments. Raises PublishedError; `name` stands for the file.
    """
    lines = [
        (number, line)
        for number, line in enumerate(text.splitlines(), 1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if not lines:
        raise PublishedError(
            f"{name}:1: the table is empty; its first line is {','.join(_COLUMNS)}"
        )
    # Polars does not say on which line of the file a row is, which errors have to name.
    numbers, rows = [number for number, _ in lines], list(csv.reader(line for _, line in lines))
    head = [word.strip() for word in rows[0]]
    if head != _COLUMNS:
        raise PublishedError(f"{name}:{numbers[0]}: the columns must be {','.join(_COLUMNS)}")
    if len(rows) == 1:
        raise PublishedError(f"{name}:{numbers[0]}: there is no row below the columns")
    values: dict[tuple[str, float], list[str | float]] = {}
    for number, row in zip(numbers[1:], rows[1:], strict=True):
        where = f"{name}:{number}"
        if len(row) != len(_COLUMNS):
            raise PublishedError(f"{where}: {len(row)} values for {len(_COLUMNS)} columns")
        method = row[0].strip()
        given = dict(zip(_COLUMNS[1:], (_number(word, where) for word in row[1:]), strict=True))
        _check(given, where)
        if (method, given["sparsity"]) in values:
            raise PublishedError(f"{where}: {method} at {given['sparsity']:g} is there twice")
        values[method, given["sparsity"]] = [method, *given.values()]
    schema = {"method": pl.String, **dict.fromkeys(_COLUMNS[1:], pl.Float64)}
    return pl.DataFrame(list(values.values()), schema=schema, orient="row")


def _number(word: str, where: str) -> float:
    try:
        value = float(word)
    except ValueError:
        raise PublishedError(f"{where}: {word.strip()!r} is not a number") from None
    if not math.isfinite(value):
        raise PublishedError(f"{where}: {word.strip()} is not a finite number")
    return value


def _check(given: Mapping[str, float], where: str) -> None:
    if not 0 <= given["sparsity"] < 1:
        raise PublishedError(f"{where}: the sparsity {given['sparsity']:g} is not in [0, 1)")
    for name in _PAIRS:
        low, high = given[f"{name}_low"], given[f"{name}_high"]
        if low > high:
            raise PublishedError(f"{where}: {name}_low {low:g} is above {name}_high {high:g}")
