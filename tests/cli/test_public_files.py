"""What a public project has beside its code says the same as the code."""

import re
import tomllib
from pathlib import Path

import yaml
from typer.testing import CliRunner

import tamt_ray
from tamt_ray.cli.app import app

CHECKS = ("ruff", "basedpyright", "pytest")
ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_one_version_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    said = CliRunner().invoke(app, ["--version"]).stdout
    assert {PROJECT["version"], citation["version"], said.split()[-1]} == {tamt_ray.__version__}


def test_the_image_has_the_ray_that_the_project_asks_for() -> None:
    dockerfile = (ROOT / "cluster" / "Dockerfile").read_text()
    (asked,) = (one for one in PROJECT["dependencies"] if one.startswith("ray["))
    (built,) = re.findall(r'"ray\[default\]==([\d.]+)"', dockerfile)
    assert asked.endswith(f"~={built}")
    for copied in re.findall(r"^COPY --chown=ray (.*) \S+$", dockerfile, re.MULTILINE):
        assert all((ROOT / name).exists() for name in copied.split())


def test_hooks_run_what_ci_runs() -> None:
    (repo,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    ci = (ROOT / ".ci" / "run").read_text().splitlines()
    commands = [line.split(" --durations")[0] for line in ci if line.startswith(CHECKS)]
    assert [hook["entry"] for hook in repo["hooks"]] == commands
