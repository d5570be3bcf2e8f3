"""The report in a real browser."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from tamt_ray.analysis.report.page import build_report
from tamt_ray.plan.expand import expand
from tamt_ray.spec.load import load_sweep
from tamt_ray.store.record import Record

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
SHAPE = """
  wide: document.documentElement.scrollWidth, window: innerWidth,
  high: document.documentElement.scrollHeight,
  answer: document.querySelector(".answer").getBoundingClientRect().bottom,
  drawn: document.querySelectorAll("figure svg").length,
"""
LOOKS = """
  page: getComputedStyle(document.body).backgroundColor,
  text: getComputedStyle(document.body).color,
  charts: [...document.querySelectorAll("g:is(.role-axis-label, .role-axis-title) > text")].map(
    (text) => getComputedStyle(text).fill),
  behind: [...document.querySelectorAll("figure svg")].map(
    (svg) => getComputedStyle(svg).backgroundColor),
"""
TABLE = """
  const table = document.querySelector("table"), copied = [];
  const clipboard = {writeText: async (text) => copied.push(text)};
  Object.defineProperty(navigator, "clipboard", {value: clipboard});
  const scores = () => [...table.tBodies[0].rows].map((row) => row.cells[1].firstChild.textContent);
  const head = table.tHead.rows[0].cells[1];
  head.click();
  const falling = scores();
  head.click();
  const rising = scores();
  const caption = table.parentElement.nextElementSibling;
  for (const button of caption.querySelectorAll("button")) button.click();
"""


@pytest.fixture
def html(fill: Callable[..., dict[str, Record]]) -> str:
    """The quickstart's report, without its policy that allows no script but its own two."""
    sweep = load_sweep(Path("sweeps/quickstart.yaml"))
    plan = expand(sweep)
    page = build_report(sweep, plan, fill(plan))["report.html"].decode()
    return re.sub(r"<meta http-equiv[^>]*>", "", page)


def ask(html: str, folder: Path, values: str, *flags: str, before: str = "") -> dict[str, Any]:
    """Values of JavaScript once all charts are drawn."""
    script = f"""
addEventListener("load", () => {{
  dispatchEvent(new Event("beforeprint"));
  setTimeout(() => {{ {before}
    document.title = JSON.stringify({{ {values} }});
  }}, 3000);
}});"""
    page = folder / "page.html"
    page.write_text(f"{html}<script>{script}</script>")
    said = subprocess.run(
        [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
         f"--user-data-dir={folder}", "--virtual-time-budget=10000", *flags, "--dump-dom",
         page.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    ).stdout  # fmt: skip
    found = re.search(r"<title>(\{.*?\})</title>", said, re.DOTALL)
    assert found, said[:500]
    return json.loads(unescape(found[1]))


@pytest.mark.parametrize("width", [700, 1400])
def test_the_page_is_short_and_does_not_scroll_sideways(
    width: int, html: str, tmp_path: Path
) -> None:
    found = ask(html, tmp_path, SHAPE, f"--window-size={width},900")
    assert found["wide"] == found["window"] == width
    assert found["drawn"] >= 2
    assert found["high"] <= 6000
    assert found["answer"] <= 700


def test_dark_mode_reaches_page_and_charts(html: str, tmp_path: Path) -> None:
    def brightness(colour: str) -> float:
        return sum(map(float, re.findall(r"[\d.]+", colour)[:3])) / 3

    for dark in (False, True):
        flags = ["--blink-settings=preferredColorScheme=0"] if dark else []
        folder = tmp_path / str(dark)
        folder.mkdir()
        found = ask(html, folder, LOOKS, "--window-size=1400,900", *flags)
        assert (brightness(found["page"]) < 60) == dark
        assert (brightness(found["text"]) > 200) == dark
        assert len(found["charts"]) > 10
        assert {(brightness(colour) > 140) for colour in found["charts"]} == {dark}
        assert all(colour.endswith(" 0)") for colour in found["behind"]), "transparent"


def test_tables_are_sorted_and_copied(html: str, tmp_path: Path) -> None:
    values = "falling, rising, copied, sorted: head.ariaSort"
    found = ask(html, tmp_path, values, "--window-size=1400,900", before=TABLE)
    numbers = [[float(text.split(" ")[0]) for text in found[o]] for o in ("falling", "rising")]
    assert numbers[0] == sorted(numbers[0], reverse=True) != numbers[1] == sorted(numbers[1])
    assert found["sorted"] == "ascending"
    markdown, latex = found["copied"]
    head, rule, *rows = markdown.splitlines()
    assert head.startswith("| method | average over tasks |")
    assert rule.startswith("|---|---|")
    assert [row.split(" | ")[1].split(" ")[0] for row in rows] == [
        text.split(" ")[0] for text in found["rising"]
    ]
    assert latex.startswith("\\begin{tabular}{lr")
    assert "$\\pm$" in latex
    assert "_" not in latex.replace("\\_", "")
