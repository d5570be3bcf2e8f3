"""Pages of the site that are made when it is built: front page, every key, every command.

Pages link to files of the repository as `../sweeps/study.yaml`; the site gets a copy of each.
"""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from typer.main import get_command

from tamt_ray.cli.app import app
from tamt_ray.spec.schema import sweep_schema

ROOT = Path(__file__).parents[2]
_LINK = re.compile(r"\[([^\]]*)\]\(([^)\s]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add generated pages, and the files that pages link to."""
    files.append(File.generated(config, "reference.md", content=keys(json.loads(sweep_schema()))))
    files.append(File.generated(config, "commands.md", content=commands()))
    pages = [*(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "CHANGELOG.md"]
    known = set[Path]()
    while pages:
        page = pages.pop()
        if not page.is_relative_to(ROOT / "docs"):
            is_page = page.suffix == ".md"
            content = rewritten(page.read_text(), page) if is_page else page.read_bytes()
            files.append(File.generated(config, _on_site(page), content=content))
        if page.suffix == ".md":
            pages += sorted(_linked(page) - known)
            known |= _linked(page)
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Point the links of pages in docs/ to the copies."""
    source = ROOT / "docs" / page.file.src_uri
    return rewritten(markdown, source) if source.is_file() else markdown


def rewritten(markdown: str, page: Path) -> str:
    """Return the text with links to files of the repository as paths of the site; a link to a
    folder becomes plain text."""
    home = page.parent.relative_to(ROOT)
    depth = "" if home in (Path(), Path("docs")) else "../" * len(home.parts)

    def there(match: re.Match[str]) -> str:
        text, link = match.groups()
        file, hash_, anchor = link.partition("#")
        if "://" in link or not file:
            return match[0]
        place = (page.parent / file).resolve()
        if place.is_dir():
            return text
        return f"[{text}]({depth}{_on_site(place)}{hash_}{anchor})"

    return _LINK.sub(there, markdown)


def _on_site(place: Path) -> str:
    path = place.relative_to(ROOT).as_posix()
    return "index.md" if path == "README.md" else path.removeprefix("docs/")


def _linked(page: Path) -> set[Path]:
    """Return the files outside docs/ that a page links to, other than those that start the site."""
    found = set[Path]()
    for _, link in _LINK.findall(page.read_text()):
        place = (page.parent / link.partition("#")[0]).resolve()
        if "://" not in link and place.is_file() and not place.is_relative_to(ROOT / "docs"):
            found.add(place)
    return found - {ROOT / "README.md", ROOT / "CHANGELOG.md"}


def commands() -> str:
    """Return the reference of the command line, from the program itself."""
    group: Any = get_command(app)
    context = typer.Context(group, info_name="tamt")
    lines = ["# Every command", "", "`python -m tamt_ray.sweep FILE` is `tamt run FILE`.", ""]
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        shown = {
            each.name: each.metavar or each.name.upper()
            for each in command.params
            if each.param_type_name == "argument"
        }
        arguments = [
            shown[each.name] if each.required else f"[{shown[each.name]}]"
            for each in command.params
            if each.name in shown
        ]
        usage = " ".join(["tamt", name, *arguments, "[OPTIONS]"])
        lines += [f"## tamt {name}", "", str(command.help), "", f"    {usage}", ""]
        rows = [
            (f"`{shown.get(each.name) or ' / '.join(each.opts)}`", each.help or "")
            for each in command.params
        ]
        lines += [*_table(("argument or option", "meaning"), rows), ""]
    return "\n".join(lines)


def keys(schema: dict[str, Any]) -> str:
    """Return the reference of every key of a sweep file, from its JSON schema."""
    lines = ["# Every key", "", "Generated from the JSON schema (`tamt schema`).", ""]
    top = schema["else"]
    sections = {"A sweep file": top, **schema["$defs"]}
    for title, section in sections.items():
        required = set(section.get("required", []))
        if "anyOf" in section:
            required |= set(section["anyOf"][0]["required"])
        lines += [f"## {title}", "", _flat(section.get("description", "")), ""]
        rows = [
            (f"`{key}`", _type(field), _default(field, key in required),
             _flat(field.get("description", "")))
            for key, field in section.get("properties", {}).items()
        ]  # fmt: skip
        lines += [*_table(("key", "value", "default", "meaning"), rows), ""]
    return "\n".join(lines)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    for row in (head, ("---",) * len(head), *rows):
        yield "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |"


def _flat(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def _type(field: dict[str, Any]) -> str:
    if reference := field.get("$ref"):
        name = reference.rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    for several in ("anyOf", "oneOf"):
        if several in field:
            return " or ".join(dict.fromkeys(map(_type, field[several])))
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    match field.get("type"):
        case "array":
            return f"list of {_type(field.get('items', {}))}"
        case "object":
            inner = next(iter(field.get("patternProperties", {}).values()), None)
            inner = inner or field.get("additionalProperties")
            return f"mapping to {_type(inner)}" if isinstance(inner, dict) else "mapping"
        case None:
            return "any"
        case kind:
            return {"null": "nothing", "boolean": "true or false", "integer": "whole number",
                    "string": "text"}.get(kind, kind)  # fmt: skip


def _default(field: dict[str, Any], required: bool) -> str:
    if required:
        return "required"
    value = field.get("default")
    if value is None:
        return ""
    return "see there" if isinstance(value, dict) and value else f"`{json.dumps(value)}`"
