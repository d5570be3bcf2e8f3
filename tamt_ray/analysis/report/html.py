"""HTML in which whatever comes from outside is escaped by its type."""

import html
import re
from collections.abc import Iterable, Sequence


class Html(str):
    """Text that is HTML already; every plain `str` is escaped on its way into it."""

    __slots__ = ()


_VOID = {"br", "img", "meta"}


def tag(name: str, /, *children: str, **attributes: str) -> Html:
    """An element; `class_` stands for the attribute `class`."""
    head = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(value)}"'
        for key, value in attributes.items()
        if value
    )
    if name in _VOID:
        return Html(f"<{name}{head}>")
    return Html(f"<{name}{head}>{join(children)}</{name}>")


def join(parts: Iterable[str], between: str = "") -> Html:
    """The parts one after the other."""
    return Html(_safe(between).join(_safe(part) for part in parts))


def table(
    head: Sequence[str], rows: Iterable[Sequence[str] | Html], caption: str = "", kind: str = ""
) -> Html:
    """A table that scrolls sideways where the page is narrow; a row given as Html stands as is."""
    body = [
        row
        if isinstance(row, Html)
        else tag("tr", tag("th", row[0], scope="row"), *(_cell(cell) for cell in row[1:]))
        for row in rows
    ]
    content = [
        *([tag("caption", caption)] if caption else []),
        tag("thead", tag("tr", *(tag("th", cell, scope="col") for cell in head))),
        tag("tbody", *body),
    ]
    return tag("div", tag("table", *content, class_=kind), class_="scroll")


def section(title: str, *content: str) -> Html:
    """A chapter that the list of contents can point at."""
    return tag("section", tag("h2", title, id=_anchor(title)), *content)


def contents(titles: Iterable[str]) -> Html:
    """Links to the sections with these titles."""
    links = (tag("li", tag("a", title, href=f"#{_anchor(title)}")) for title in titles)
    return tag("nav", tag("ul", *links), aria_label="Contents")


def folded(title: str, *children: str) -> Html:
    """Content behind a click."""
    return tag("details", tag("summary", title), *children)


def _anchor(title: str) -> str:
    return "-".join(re.findall(r"[a-z0-9]+", title.lower()))


def _cell(cell: str) -> Html:
    return Html(cell) if cell.startswith("<td") and isinstance(cell, Html) else tag("td", cell)


def _safe(part: str) -> str:
    return part if isinstance(part, Html) else html.escape(part)
