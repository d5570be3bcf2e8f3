"""Building blocks of a report section. Only the template turns them into HTML."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from tamt_ray.analysis.figures.vega import Figure

Mark = Literal["", "best", "warn", "missing", "soft"]


@dataclass(frozen=True)
class TableCell:
    """A cell of a table."""

    text: str
    note: str = ""
    """Small, on a line of its own."""
    mark: Mark = ""
    hint: str = ""
    """Shown to a pointer that rests on the cell."""
    warning: str = ""
    """Note in the colour of warnings."""


MISSING_CELL = TableCell("–", mark="missing", note="missing")
NONE = TableCell("–")
"""A cell that the sweep does not ask for."""


@dataclass(frozen=True)
class Group:
    """A row that names those below it."""

    words: str


TableRow = Sequence[TableCell | str] | Group


@dataclass(frozen=True)
class Paragraph:
    """A paragraph."""

    kind: ClassVar[str] = "text"
    words: str
    mark: Mark = ""


@dataclass(frozen=True)
class Bullets:
    """A list."""

    kind: ClassVar[str] = "bullets"
    lines: Sequence[str]


@dataclass(frozen=True)
class FactList:
    """Names, each with one or several lines."""

    kind: ClassVar[str] = "facts"
    lines: Sequence[tuple[str, Sequence[str]]]


@dataclass(frozen=True)
class Code:
    """Text as it stands in a file."""

    kind: ClassVar[str] = "code"
    text: str


LONG = 16
"""Rows from which on a table is folded."""


@dataclass(frozen=True)
class ReportTable:
    """A table that can be sorted and copied; the first cell of a row is its head."""

    kind: ClassVar[str] = "table"
    head: Sequence[str]
    rows: Sequence[TableRow]
    caption: str = ""
    title: str = ""
    words: bool = False
    """True where the cells are sentences rather than numbers."""

    def shortened(self, title: str) -> "ReportTable | Fold":
        """Return the table, behind a line where it is long."""
        if len(self.rows) < LONG:
            return self
        return Fold(f"{title} ({len(self.rows)} rows)", [replace(self, title="")])


@dataclass(frozen=True)
class Chart:
    """A figure of the report."""

    kind: ClassVar[str] = "chart"
    figure: Figure


@dataclass(frozen=True)
class Fold:
    """Blocks behind one line."""

    kind: ClassVar[str] = "fold"
    title: str
    blocks: "Sequence[Block]"


Block = Paragraph | Bullets | FactList | Code | ReportTable | Chart | Fold
