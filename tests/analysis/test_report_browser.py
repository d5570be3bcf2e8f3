"""The report in a real browser."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tamt_ray.analysis.report.page import build_report
from tamt_ray.plan.expand import expand
from tamt_ray.spec.load import load_sweep
from tamt_ray.store.record import Record

CHROMIUM = shutil.which("chromium")


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
@pytest.mark.parametrize("width", [700, 1400])
def test_the_page_does_not_scroll_sideways(
    width: int, fill: Callable[..., dict[str, Record]], tmp_path: Path
) -> None:
    sweep = load_sweep(Path("sweeps/quickstart.yaml"))
    plan = expand(sweep)
    html = build_report(sweep, plan, fill(plan))["report.html"].decode()
    # The page's own policy allows no script but its own two.
    html = re.sub(r"<meta http-equiv[^>]*>", "", html)
    asked = "document.title = document.documentElement.scrollWidth + ' of ' + innerWidth"
    page = tmp_path / "page.html"
    page.write_text(f"{html}<script>addEventListener('load', () => {{ {asked} }})</script>")
    said = subprocess.run(
        [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
         f"--user-data-dir={tmp_path}", f"--window-size={width},900", "--dump-dom",
         page.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    ).stdout  # fmt: skip
    found = re.search(r"<title>(\d+) of (\d+)</title>", said)
    assert found
    assert found[1] == found[2] == str(width)
