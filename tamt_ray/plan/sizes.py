"""Sizes of models and data, for the price of a unit: as read from their content, else roughly.

Without `Sizes` that a run has read, heads of files on this machine are looked at. Sizes of sources
that are elsewhere are guessed, and bounded by the limits in the sweep file.
"""

import json
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from math import prod
from pathlib import Path

from tamt_ray.tasks.base import Task
from tamt_ray.values.model import Model, ModelSize
from tamt_ray.values.table import SourceRef, Table, parse_source

CHARACTERS = 4.0
"""Characters of a usual token, with the space behind it."""
_READ = 1 << 24
"""Bytes of a text file in which lines are counted; a longer file has as many lines per byte."""
_LONGEST_HEADER = 1 << 26
_ROWS = {
    "cola": (8551, 1043), "sst2": (67349, 872), "mnli": (392702, 9815), "mrpc": (3668, 408),
    "stsb": (5749, 1500), "rte": (2490, 277), "qnli": (104743, 5463), "qqp": (363846, 40430),
    "squad": (87599, 10570),
}  # fmt: skip
_UNKNOWN_ROWS = (10_000, 1_000)


@dataclass(frozen=True)
class TableSize:
    """Rows of a table, and tokens of a usual one, special ones included."""

    rows: float
    tokens: float


@dataclass(frozen=True)
class Sizes:
    """Sizes read from the content of sources."""

    models: Mapping[str, ModelSize] = field(default_factory=dict)
    """Keys are sources."""
    tables: Mapping[tuple[Table, tuple[str, ...]], TableSize] = field(default_factory=dict)
    """Keys are a table and the columns that a task reads."""
    texts: Mapping[Table, float] = field(default_factory=dict)
    """Tokens of the whole corpus."""

    def model(self, model: Model) -> ModelSize:
        """Return the size of a model."""
        known = self.models.get(model.source) or model_size(model.source)
        return known or ModelSize.usual(model.parameters)

    def table(self, task: Task, number: int | None = None) -> TableSize:
        """Return the examples that a task takes of its training table, or of a validation table,
        and the tokens of each."""
        table = task.train if number is None else task.validation[number]
        limit = task.max_train if number is None else task.max_validation
        size = self.tables.get((table, task.columns)) or _guessed(task, table, number is not None)
        # A span task reads a long passage in several windows.
        tokens = min(size.tokens, task.max_length) if task.pooled else size.tokens
        return TableSize(min(size.rows, limit or size.rows), tokens)

    def text(self, table: Table) -> float | None:
        """Return the tokens of a text, if they are known."""
        return self.texts.get(table) or _tokens(table)


def _guessed(task: Task, table: Table, held_out: bool) -> TableSize:
    ref = parse_source(table.source)
    usual = _ROWS.get(ref.config or ref.name.rsplit("/", 1)[-1], _UNKNOWN_ROWS)[held_out]
    size = table_size(table.source, table.split) or TableSize(usual, 0)
    size = replace(size, tokens=size.tokens or task.tokens)
    return replace(size, rows=size.rows * _share(table))


def _tokens(table: Table) -> float | None:
    size = table_size(table.source) if table.source.endswith(".txt") else None
    return size and size.rows * size.tokens * _share(table)


def _share(table: Table) -> float:
    return {"all": 1.0, "head": 1 - table.tail, "tail": table.tail}[table.part]


def model_size(source: str) -> ModelSize | None:
    """Return the size of a checkpoint directory, by the headers of its safetensors files."""
    folder = _place(parse_source(source), "models")
    return folder and _model_at(folder)


@lru_cache
def _model_at(folder: Path) -> ModelSize | None:
    return size_in(folder)


def size_in(folder: Path) -> ModelSize | None:
    """Return the size of the model in a directory; None where there is none that can be read."""
    try:
        shapes = {
            name: entry["shape"]
            for path in folder.glob("*.safetensors")
            for name, entry in _header(path).items()
            if name != "__metadata__" and len(entry["shape"]) == 2
        }
    except (OSError, ValueError, KeyError, struct.error):
        # The run itself will say what is wrong with it.
        return None
    embeddings = [prod(shape) for name, shape in shapes.items() if "embeddings" in name]
    # Matrices of layers have a number in their names; those of the output layer have none.
    body = [
        prod(shape)
        for name, shape in shapes.items()
        if "embeddings" not in name and any(part.isdigit() for part in name.split("."))
    ]
    return ModelSize(sum(body), max(embeddings, default=0)) if body else None


def table_size(source: str, split: str | None = None) -> TableSize | None:
    """Return the size of one split, or of one text file by its bytes; 0 tokens are unknown."""
    ref = parse_source(source)
    place = _place(ref, "datasets")
    return place and _table_at(place, ref, split)


@lru_cache
def _table_at(place: Path, ref: SourceRef, split: str | None) -> TableSize | None:
    try:
        if ref.scheme == "hf":
            files = list((place / (ref.config or "default")).glob(f"{split}*.parquet"))
            rows = sum(map(_parquet_rows, files))
            return TableSize(rows, 0) if rows else None
        if place.suffix == ".parquet":
            return TableSize(_parquet_rows(place), 0)
        return _by_bytes(place) if place.suffix in {".csv", ".tsv", ".jsonl", ".txt"} else None
    except (OSError, ValueError):
        return None


def _place(ref: SourceRef, kind: str) -> Path | None:
    """Return the absolute path of a source on this machine."""
    if ref.scheme == "dir":
        return Path(ref.path).absolute()
    mirror = os.environ.get("TAMT_MIRROR", "")
    if ref.scheme == "hf" and mirror and "://" not in mirror:
        return Path(mirror).absolute() / kind / ref.name
    return None


def _header(path: Path) -> Mapping[str, Mapping[str, list[int]]]:
    with path.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        if length > _LONGEST_HEADER:
            raise ValueError("no header of safetensors")
        return json.loads(stream.read(length))


def _parquet_rows(path: Path) -> int:
    from pyarrow import parquet

    return parquet.read_metadata(path).num_rows


def _by_bytes(path: Path) -> TableSize | None:
    with path.open("rb") as stream:
        read = stream.read(_READ)
    lines = max(1, read.count(b"\n"))
    tokens = len(read) / lines / CHARACTERS
    return TableSize(lines * path.stat().st_size / len(read), tokens) if read else None
