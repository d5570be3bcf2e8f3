"""Plain text of the articles in a MediaWiki XML dump.

The rules are this project's own. Another parser, such as mwparserfromhell, leaves other words, and
with other tokens the fingerprints and all numbers of the sweeps that read a dump would change.
"""

import bz2
import html
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from typing import IO
from xml.parsers import expat

_CHUNK = 1 << 20


def articles(data: bytes) -> list[str]:
    """Return the text of each article of a dump, in its order: one paragraph a line, no empty
    lines.

    `data` is the XML, or the XML compressed by bzip2. Articles are the pages of namespace 0 that
    redirect nowhere, are not lists of what a word may mean, and have text left. Raises ValueError
    where it is no such dump, and for any document type declaration: without one, XML has no
    entities to expand.
    """
    stream: IO[bytes] = bz2.BZ2File(BytesIO(data)) if data[:3] == b"BZh" else BytesIO(data)
    try:
        return [
            text
            for markup in _pages(stream)
            if not _DISAMBIGUATION.search(markup) and (text := clean(markup))
        ]
    except (OSError, EOFError) as error:
        raise ValueError(f"the bzip2 compression is broken: {error}") from error


@dataclass
class _Page:
    """The current page, as far as it was parsed."""

    tag: str = ""
    parts: dict[str, list[str]] = field(default_factory=dict)
    redirect: bool = False

    def get(self, tag: str) -> str:
        return "".join(self.parts.get(tag, []))


def _pages(stream: IO[bytes]) -> Iterator[str]:
    """Yield the markup of each article."""
    found: list[str] = []
    page = _Page()
    roots: list[str] = []

    def start(tag: str, _attributes: dict[str, str]) -> None:
        nonlocal page
        if not roots:
            roots.append(tag)
        if tag == "page":
            page = _Page()
        page.tag = tag
        # A page with its history keeps its last revision.
        page.parts[tag] = []
        page.redirect |= tag == "redirect"

    def end(tag: str) -> None:
        page.tag = ""
        if tag == "page" and page.get("ns") == "0" and not page.redirect:
            found.append(page.get("text"))

    def characters(text: str) -> None:
        if page.tag in {"ns", "text"}:
            page.parts[page.tag].append(text)

    def refuse(*_declaration: object) -> None:
        raise ValueError("the XML has a document type declaration, which a dump has not")

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = characters
    parser.StartDoctypeDeclHandler = refuse
    try:
        while chunk := stream.read(_CHUNK):
            parser.Parse(chunk, False)
            yield from found
            found.clear()
        parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise ValueError(f"not XML: {error}") from error
    yield from found
    if roots != ["mediawiki"]:
        raise ValueError(f"not a MediaWiki dump: the outermost element is {roots[0]!r}")


_ELEMENTS = (
    "ref", "math", "chem", "gallery", "timeline", "imagemap", "source", "syntaxhighlight", "score",
    "pre", "code", "nowiki", "hiero", "graph", "mapframe",
)  # fmt: skip
_SPANS = tuple(
    (re.compile(end, re.IGNORECASE), re.compile(f"{begin}.*?{end}", re.DOTALL | re.IGNORECASE))
    for begin, end in [
        ("<!--", "-->"),
        *((rf"<{name}\b[^<>]*>", rf"</{name}\s*>") for name in _ELEMENTS),
    ]
)
"""End of a comment or an element, and the whole of it."""
_DEPTH = 20
"""Links inside links; deeper ones are no longer text that anybody wrote."""
_EMPTY_TAG = re.compile(r"<(?:ref|nowiki|references|section)\b[^<>]*/>", re.IGNORECASE)
_BREAK = re.compile(r"<(?:br|p|/p|li|/li|hr|tr|/tr|/div|/blockquote)\b[^<>]*>", re.IGNORECASE)
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")
_PARAMETER = re.compile(r"\{\{\{[^{}]*\}\}\}")
_BRACES = re.compile(r"\{\{|\}\}|\{\||\|\}(?!\})")
_EXTERNAL = re.compile(r"\[(?:https?:|ftp:|mailto:)?//[^\s\[\]]++ *+([^\[\]]*+)\]")
_LINK = re.compile(r"\[\[((?:[^\[\]]++|\[[^\[\]]*+\])*+)\]\]")
_DISAMBIGUATION = re.compile(
    r"\{\{\s*(?:disambig|dab\b|hndis|geodis|surname|given name)", re.IGNORECASE
)
_WORDS = re.compile(
    r"\{\{\s*(?:lang\s*\|[^{}|]*\||lang-[a-z-]+\s*\||nowrap\s*\||quote\s*\|(?:text=)?|blockquote\s*\|)"
    r"([^{}|]*)(?:\|[^{}]*)?\}\}",
    re.IGNORECASE,
)
_MEASURE = re.compile(r"\{\{\s*(?:convert|cvt)\s*\|([^{}|]*)\|([^{}|]*)[^{}]*\}\}", re.IGNORECASE)
_NO_TEXT = re.compile(r"\s*(?:file|image|media|category)\s*:", re.IGNORECASE)
_LANGUAGE = re.compile(r"(?:[a-z]{2,3}(?:-[a-z-]+)?|simple):[^\s]")
_APPARATUS = re.compile(
    r"^==[^=\n]*\b(?:see also|references|external links|further reading|bibliography|notes|sources"
    r"|footnotes|citations|works cited|literature)\s*==.*?(?=^==[^=]|\Z)",
    re.MULTILINE | re.DOTALL | re.IGNORECASE,
)
_HEADING = re.compile(r"^(={1,6}).*?\1[ \t]*$", re.MULTILINE)
_QUOTES = re.compile(r"'{2,5}")
_MAGIC = re.compile(r"__[A-Z]+__")
_HOLLOW = re.compile(r"\(\s*(?:[;,:|]\s*)*\)")
_LOOSE = re.compile(r"\(\s*(?:[;,:|]\s*)+")
_NO_PROSE = re.compile(r"[|!]|(?:file|image):", re.IGNORECASE)
_REMAINS = re.compile(r"\{\{|\}\}|\[\[|\]\]|\{\||\|\}")
_MARK = re.compile(r"^[*#:;]+\s*")
_SPACES = re.compile(r"\s+")
_BEFORE_MARK = re.compile(r"\s+([,.;:)])")
_ITEM = 8
"""Words; a shorter item of a list is a name rather than prose."""


def clean(markup: str) -> str:
    """Wiki markup as plain text, one paragraph a line: prose stays, apparatus goes.

    Templates, tables, references, formulas, media, categories, headings and the sections that
    only list sources and links are removed; links leave the words that a reader sees.
    """
    text = html.unescape(_without_spans(_EMPTY_TAG.sub("", markup)))
    text = _WORDS.sub(r"\1", _MEASURE.sub(r"\1 \2", _PARAMETER.sub("", text)))
    text = _without_braces(text)
    text = _TAG.sub("", _BREAK.sub("\n", text))
    text = _EXTERNAL.sub(r"\1", _MAGIC.sub("", text))
    text = _APPARATUS.sub("", text)
    for _ in range(_DEPTH):
        text, links = _LINK.subn(_shown, text)
        if not links:
            break
    text = _QUOTES.sub("", _HEADING.sub("", text)).replace("\xa0", " ")
    lines = (_line(line) for line in text.split("\n"))
    return "\n".join(line for line in lines if line)


def _without_spans(text: str) -> str:
    """Return the text outside comments and elements that hold no prose."""
    for end, whole in _SPANS:
        # Behind the last end nothing closes, and looking for it would take quadratic time.
        last = max((match.end() for match in end.finditer(text)), default=0)
        text = whole.sub("", text[:last]) + text[last:]
    return text


def _without_braces(text: str) -> str:
    """Return the text outside templates and tables, nested ones included."""
    kept: list[str] = []
    opened: list[int] = []
    last = 0
    for match in _BRACES.finditer(text):
        if match[0] in {"{{", "{|"}:
            opened.append(match.start())
        elif opened:
            begin = opened.pop()
            if not opened:
                kept.append(text[last:begin])
                last = match.end()
    kept.append(text[last:])
    return "".join(kept)


def _shown(link: re.Match[str]) -> str:
    """Return the words a reader sees of `[[target|words]]`."""
    target, bar, words = link[1].partition("|")
    if _NO_TEXT.match(target) or (not bar and _LANGUAGE.match(target)):
        return ""
    return words.rpartition("|")[2] if bar else target.lstrip(": ")


def _line(line: str) -> str:
    """Return one paragraph without list marks and remains; empty where it is not prose."""
    line = _REMAINS.sub("", line.strip())
    item = _MARK.sub("", line)
    if (item != line and len(item.split()) < _ITEM) or _NO_PROSE.match(item):
        return ""
    line = _LOOSE.sub("(", _HOLLOW.sub("", item)).replace("|", " ")
    return _BEFORE_MARK.sub(r"\1", _SPACES.sub(" ", line)).strip()
