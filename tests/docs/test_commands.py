"""Every command on every page is one that the program takes; those that only read are run."""

import re
import shlex
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
import typer
import yaml
from typer.main import get_command
from typer.testing import CliRunner

from tamt_ray.cli.app import alone, app
from tamt_ray.plan.expand import expand
from tamt_ray.spec.load import load_sweep
from tamt_ray.store.store import Store

from ..cli.small import SWEEP, finish

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").rglob("*.md")]
)
READING = {"plan", "status", "explain", "results"}
"""Verbs that are run, and `run` with --dry-run."""
MODULE = ("python", "-m", "tamt_ray.sweep")
METHODS = "[random, omp, {method: imp, steps: 40}, {method: tamt_kd, steps: 60}]"


def lines_of(page: Path) -> Iterator[tuple[str, bool]]:
    """The lines of code blocks, and spans of code between words; whether it is a whole line."""
    fenced = ""
    for line in page.read_text().splitlines():
        if line.lstrip().startswith("```"):
            fenced = "" if fenced else line.strip(" `") or "text"
        elif fenced in {"console", "sh", "bash"} or (not fenced and line.startswith("    ")):
            yield line.strip(), True
        elif not fenced:
            yield from ((span, False) for span in re.findall(r"`([^`]+)`", line))


def commands_in(line: str) -> Iterator[list[str]]:
    """The commands of a line of shell, those within quotes too."""
    words = shlex.shlex(line, posix=True, punctuation_chars=";&|")
    words.whitespace_split = True
    found: list[str] = []
    try:
        parts = [*words, ";"]
    except ValueError:
        return
    for word in parts:
        if set(word) <= set(";&|"):
            while found and "=" in found[0]:
                del found[0]
            yield found
            found = []
        else:
            if " " in word:
                yield from commands_in(word)
            found.append(word)


def ours(command: list[str]) -> list[str] | None:
    """The arguments of `tamt`, if it is one of our commands, behind whatever starts it."""
    while "--" in command and command[0] != "tamt":
        command = command[command.index("--") + 1 :]
    if ">" in command:
        command = command[: command.index(">")]
    if command[:1] == ["tamt"] and len(command) > 1:
        return command[1:]
    return ["run", *command[3:]] if tuple(command[:3]) == MODULE else None


@cache
def all_commands() -> dict[tuple[str, ...], tuple[str, bool]]:
    """Arguments of `tamt`, with the first page that has them and whether it is a whole line."""
    found: dict[tuple[str, ...], tuple[str, bool]] = {}
    for page in PAGES:
        for line, whole in lines_of(page):
            for command in commands_in(line):
                arguments = ours(command)
                # A name of a span, as in `python -m tamt_ray.sweep`, is no call.
                if arguments and (whole or len(arguments) > 1):
                    found.setdefault(tuple(arguments), (page.name, whole))
    return found


def test_pages_have_commands() -> None:
    assert len(all_commands()) > 50


@pytest.mark.parametrize("arguments", all_commands(), ids=" ".join)
def test_the_program_takes_it(arguments: tuple[str, ...]) -> None:
    page, whole = all_commands()[arguments]
    command = getattr(get_command(app), "commands").get(arguments[0])  # noqa: B009
    if arguments[0].startswith("-"):
        assert CliRunner().invoke(app, list(arguments)).exit_code == 0
        return
    assert command, f"{page}: there is no tamt {arguments[0]}"
    try:
        context = command.make_context(arguments[0], list(arguments[1:]))
    except typer.BadParameter as error:
        if whole:
            raise AssertionError(f"{page}: {error}") from error
        return
    file = str(context.params.get("file") or "")
    if file.startswith("sweeps/") and Path(file).name not in {"my.yaml", "next.yaml"}:
        assert (ROOT / file).is_file(), f"{page}: there is no {file}"


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with sweeps/, and a small sweep as my.yaml whose results are there."""
    monkeypatch.chdir(tmp_path)
    for variable in ("TAMT_MIRROR", "RAY_ADDRESS"):
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / "sweeps").symlink_to(ROOT / "sweeps")
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    text = SWEEP.format(store=tmp_path / "results").replace("[random, omp]", METHODS)
    text = text.replace("finetune_seeds: [1]", "finetune_seeds: [1, 2]")
    (tmp_path / "my.yaml").write_text(text)
    finish(
        Store(str(tmp_path / "results")), *expand(load_sweep(tmp_path / "my.yaml")).units.values()
    )
    return tmp_path


def test_commands_that_read_run(checkout: Path) -> None:
    """On the sweeps of the project and on a finished small one."""
    ran = 0
    for arguments, (page, whole) in all_commands().items():
        words = ["my.yaml" if word == "sweeps/my.yaml" else word for word in arguments]
        if not whole or words[0] not in {*READING, "run"} or {"--address", "--watch"} & set(words):
            continue
        if not any((checkout / word).is_file() for word in words) or "--matrices" in words:
            continue
        if "--power" in words and "my.yaml" not in words:
            continue
        if words[0] == "run" and "--dry-run" not in words:
            words.append("--dry-run")
        done = CliRunner().invoke(app, words, catch_exceptions=False)
        # The project's own sweeps have no results here.
        code = 2 if words[0] == "results" and "my.yaml" not in words and "--set" not in words else 0
        assert done.exit_code == code, f"{page}: tamt {' '.join(words)}: {done.stderr}"
        ran += 1
    assert ran > 20


def test_complete_sweeps_on_pages_can_be_run(checkout: Path) -> None:
    complete = 0
    for page in PAGES:
        for block in re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL):
            keys = yaml.safe_load(block)
            if {"name", "models", "corpus"} <= keys.keys():
                (checkout / "page.yaml").write_text(block)
                done = CliRunner().invoke(alone, ["page.yaml", "--dry-run"])
                assert done.exit_code == 0, f"{page.name}: {done.stderr}"
                complete += 1
    assert complete


def test_modules_and_extras_on_pages_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for page in PAGES:
        for line, _ in lines_of(page):
            for module in re.findall(r"python -m ((?:benchmarks|tamt_ray)[\w.]*)", line):
                assert find_spec(module.rstrip(".")), f"{page.name}: python -m {module}"
            if page.is_relative_to(ROOT / "examples" / "snip"):
                continue
            for extras in re.findall(r'pip install -e "?\.\[([\w,-]+)\]', line):
                unknown = set(extras.split(",")) - project["optional-dependencies"].keys()
                # `tamt new-method` writes a package with an extra `test`.
                assert not unknown, f"{page.name}: no extra {unknown}"
