"""What is printed is text, wherever it comes from."""

import io

import pytest
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tamt_ray.cli.speech import out, plain, talk

HOSTILE = "a\x1b]0;title\x07b\x1b[2Jc\x9b31md\u202ee\x00\x7f\r\n"
TEXT = "a]0;titleb[2Jc31mde"


def in_table() -> Table:
    table = Table(box=None)
    table.add_column(HOSTILE)
    table.add_row(HOSTILE)
    return table


@pytest.mark.parametrize("console", [out, talk])
@pytest.mark.parametrize("what", [HOSTILE, Text(HOSTILE), in_table()])
def test_nothing_steers_the_terminal(
    console: Console, what: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = io.StringIO()
    monkeypatch.setattr(console, "_file", said)
    console.print(what, soft_wrap=True)
    shown = said.getvalue()
    assert TEXT in shown
    assert set(shown) <= {*TEXT, "\n", " "}


def test_lines_and_tabs_are_text() -> None:
    assert plain("a\tb\n— ü 日本") == "a\tb\n— ü 日本"


def test_a_live_table_still_moves_the_cursor(monkeypatch: pytest.MonkeyPatch) -> None:
    said = io.StringIO()
    monkeypatch.setattr(talk, "_file", said)
    monkeypatch.setattr(talk, "_force_terminal", True)
    with Live("one", console=talk, auto_refresh=False) as live:
        live.update("two", refresh=True)
    assert "\x1b[" in said.getvalue()
