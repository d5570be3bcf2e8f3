"""Rows of a data set: their source, and how to read them."""

import re
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from tamt_ray.values.base import Frozen

FORMS = (
    "hf:<repo>[#<config>]",
    "dir:<path>",
    "pypi:<name>==<version>/<path inside>#sha256=<digest of the archive>",
)

_HF = re.compile(r"^hf:(?P<name>[\w.-]+(?:/[\w.-]+)?)(?:#(?P<config>[\w.-]+))?$")
_DIR = re.compile(r"^dir:(?P<path>[^#]+)$")
_WINDOWS = re.compile(r"^(dir:)?([A-Za-z]:|.*\\)")
"""Drive letters and backslashes."""
_PYPI = re.compile(
    r"^pypi:(?P<name>[\w.-]+)==(?P<version>[\w.!+]+)/(?P<path>[^#]+)#sha256=(?P<sha256>[0-9a-f]{64})$"
)


@dataclass(frozen=True, slots=True)
class SourceRef:
    """A parsed source. `path` is inside the archive for `pypi`, on disk for `dir`."""

    scheme: Literal["hf", "dir", "pypi"]
    name: str = ""
    config: str | None = None
    version: str = ""
    path: str = ""
    sha256: str = ""


def parse_source(text: str) -> SourceRef:
    """Return the parts of a source string. Raises ValueError naming the accepted forms."""
    if match := _HF.match(text):
        return SourceRef("hf", name=match["name"], config=match["config"])
    if _WINDOWS.match(text):
        raise ValueError(
            f"{text!r} is a path of Windows; write it with `/`; under WSL, C: is /mnt/c"
        )
    if match := _DIR.match(text):
        return SourceRef("dir", path=match["path"])
    if match := _PYPI.match(text):
        if ".." in match["path"].split("/"):
            raise ValueError(f"the path inside {text!r} leaves the archive")
        return SourceRef(
            "pypi", match["name"], None, match["version"], match["path"], match["sha256"]
        )
    if re.fullmatch(r"[\w./~-]+", text):
        raise ValueError(
            f"{text!r} is not a source; write `dir:{text}` for a place on this machine, or "
            f"`hf:{text}` for the hub"
        )
    raise ValueError(f"{text!r} is not a source; the forms are: " + ", ".join(FORMS))


def _check(text: str) -> str:
    parse_source(text)
    return text


Source = Annotated[str, AfterValidator(_check)]


class Table(Frozen):
    """One split of a data set, read in file order.

    For `hf:` sources `split` names the split. For a file, the format follows its name: parquet,
    csv, tsv, jsonl, txt (one row a line, column `text`) or a MediaWiki dump (`.xml.bz2`, one row
    an article, column `text`).
    """

    source: Source
    """`hf:<repo>[#<config>]`, or one file: `dir:<path>`,
    `pypi:<name>==<version>/<path>#sha256=<digest>`. A `*` in the last part of a `dir:` path stands
    for several files, which are read in the order of their names."""
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
