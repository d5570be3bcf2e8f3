"""Sizes of sources on this machine, for the price: weights of a model, rows and tokens of a table.

Only heads of files are read. What lies elsewhere has no size here (None).
"""

import json
import os
import struct
from functools import lru_cache
from math import prod
from pathlib import Path

from tamt_ray.values.table import SourceRef, parse_source

_READ = 1 << 24
"""Bytes of a text file in which lines are counted; a longer file has as many lines per byte."""
_BYTES_PER_TOKEN = 4.0
_LONGEST_HEADER = 1 << 26


@lru_cache
def weights(source: str) -> int | None:
    """Weights of a checkpoint directory, by the headers of its safetensors files."""
    folder = _place(parse_source(source), "models")
    if folder is None:
        return None
    try:
        return sum(_weights_of(path) for path in folder.glob("*.safetensors")) or None
    except (OSError, ValueError, struct.error):
        # The run itself will say what is wrong with it.
        return None


@lru_cache
def rows(source: str, split: str | None = None) -> int | None:
    """Rows of one split, or lines of one text file."""
    ref = parse_source(source)
    place = _place(ref, "datasets")
    if place is None:
        return None
    try:
        if ref.scheme == "hf":
            files = list((place / (ref.config or "default")).glob(f"{split}*.parquet"))
            return sum(map(_parquet_rows, files)) or None
        if place.suffix == ".parquet":
            return _parquet_rows(place)
        return _lines(place) if place.suffix in {".csv", ".tsv", ".jsonl", ".txt"} else None
    except (OSError, ValueError):
        return None


@lru_cache
def tokens(source: str) -> float | None:
    """Tokens of a text file, roughly."""
    ref = parse_source(source)
    place = _place(ref, "datasets") if ref.scheme == "dir" else None
    try:
        return place.stat().st_size / _BYTES_PER_TOKEN if place and place.suffix == ".txt" else None
    except OSError:
        return None


def _place(ref: SourceRef, kind: str) -> Path | None:
    if ref.scheme == "dir":
        return Path(ref.path)
    mirror = os.environ.get("TAMT_MIRROR", "")
    if ref.scheme == "hf" and mirror and "://" not in mirror:
        return Path(mirror) / kind / ref.name
    return None


def _weights_of(path: Path) -> int:
    with path.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        if length > _LONGEST_HEADER:
            raise ValueError("no header of safetensors")
        header = json.loads(stream.read(length))
    return sum(prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")


def _parquet_rows(path: Path) -> int:
    from pyarrow import parquet

    return parquet.read_metadata(path).num_rows


def _lines(path: Path) -> int:
    with path.open("rb") as stream:
        read = stream.read(_READ)
    lines = read.count(b"\n")
    return round(lines * path.stat().st_size / len(read)) if read else 0
