"""README stays short, and the site has a page for everything."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tamt_ray.spec.schema import sweep_schema

ROOT = Path(__file__).parents[2]


def test_the_front_page_is_short_and_honest() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 120
    assert "Nothing has run on a GPU yet" in text


def test_there_are_twenty_questions() -> None:
    howto = (ROOT / "docs" / "howto.md").read_text()
    assert sum(line.startswith("## ") for line in howto.splitlines()) >= 20


@pytest.mark.skipif(not find_spec("mkdocs"), reason='pip install -e ".[docs]"')
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    reference = (tmp_path / "reference" / "index.html").read_text()
    schema = json.loads(sweep_schema())
    for section in (schema["else"], *schema["$defs"].values()):
        for key in section.get("properties", {}):
            assert f"<code>{key}</code>" in reference, key
