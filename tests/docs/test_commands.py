"""Every command on every page is one that the program takes; those that need no cluster are run."""

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
from tamt_ray.execution.worker.unit_runner import UnitRunner
from tamt_ray.plan.expand import expand
from tamt_ray.search.process_group import ProcessGroup
from tamt_ray.spec.load import load_sweep
from tamt_ray.store.logs import log_path
from tamt_ray.store.store import Store
from tamt_ray.toy import write_toy

from ..cli.small import SWEEP, finish

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").rglob("*.md")]
)
READING = {"plan", "status", "explain", "results"}
"""Verbs that are run, and `run` with --dry-run."""
WRITING = {
    "run", "init", "logs", "report", "new-method", "export", "sync-mlflow", "verify", "profile",
    "publish",
}  # fmt: skip
"""Verbs that are run on a finished sweep of a real model."""
SHELL = {"cd", "chmod", "cp", "for", "do", "done", "tail", "get", "umask"}
NOT_RUN = {
    "pip": "installs", "python": "modules: test_modules_and_extras_on_pages_exist",
    "python3": "makes an environment", "pytest": "this", "mkdocs": "tests/docs/test_site.py",
    "ruff": "a check", "basedpyright": "a check", "pre-commit": "a check",
    "ray": "a cluster: tests/cluster", "kubectl": "a cluster: tests/cluster",
    "helm": "a cluster: tests/cluster", "aws": "an account: tests/cluster/test_aws_stack.py",
    "sbatch": "Slurm: tests/cluster/test_slurm_sh.py", "scancel": "Slurm", "squeue": "Slurm",
    "ssh": "a cluster", "ssh-keygen": "a cluster", "ssh-copy-id": "a cluster",
    "mlflow": "a server that never ends", "git": "a repository", "sudo": "rights",
}  # fmt: skip
"""Programs of others on the pages, and why no test runs them or which does."""
TOY = """
name: toy
store: {folder}/results
mlflow: sqlite:///{folder}/mlflow.db
models: {{tiny: {{source: "dir:{folder}/model"}}}}
corpus:
  train: {{source: "dir:{folder}/text.txt", part: head}}
  validation: {{source: "dir:{folder}/text.txt", part: tail}}
  block_size: 16
search: {{batch_size: 4, micro_batch: 2, decay_steps: 20}}
methods: [omp, {{method: imp, steps: 8}}, {{method: tamt_kd, steps: 2}}]
sparsities: [0.5]
mask_seeds: [1]
finetune_seeds: [1]
tasks:
  words:
    kind: classification
    train: {{source: "dir:{folder}/train.jsonl"}}
    validation: [{{source: "dir:{folder}/validation.jsonl"}}]
    text: [text]
    max_train: 16
    max_length: 16
    epochs: 1
"""
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


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished sweep of a real, tiny model as my.yaml."""
    folder = tmp_path_factory.mktemp("real")
    write_toy(folder)
    (folder / "my.yaml").write_text(TOY.format(folder=folder))
    sweep = load_sweep(folder / "my.yaml")
    store = Store(sweep.store)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TAMT_CACHE", str(folder / "cache"))
        runner = UnitRunner(store, ProcessGroup(), "here")
        for unit in expand(sweep).units.values():
            runner.perform(unit)
            store.write(log_path(unit.kind, unit.id, 1, 0), b"# 2026-01-01 00:00:00 +0000\n")
    return folder


def on_toy(arguments: tuple[str, ...]) -> tuple[str, ...]:
    """The same call on the toy: its sweep, and units that it has."""
    words = [re.sub(r"^\S+\.yaml$", "my.yaml", word) for word in arguments]
    words = [re.sub("/(bert|minilm)/", "/*/", word) for word in words]
    words = [word.replace("/0.7/", "/0.5/").replace("tamt_mlm", "tamt_kd") for word in words]
    if words[0] == "run" and "--set" in words:
        words += ["--dry-run"]
    return tuple(words)


def why_not(words: tuple[str, ...]) -> str:
    """The reason for which a call is not run on the toy; empty where it is."""
    if words[0] in READING and not {"--watch", "--matrices"} & set(words):
        return "only reads: test_commands_that_read_run"
    if words[0] == "submit" or "--address" in words:
        return "needs a cluster: tests/cluster, tests/cli/test_submit.py, tests/cli/test_doctor.py"
    if "--mlflow" in words:
        return "slow: tests/cli/test_export.py"
    if "store=docs/study/records" in words:
        return "writes into the records of the study"
    return "" if words[0] in {*WRITING, *READING} else "no such verb"


def test_commands_that_write_run(
    real: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a finished sweep, each in a folder of its own."""
    monkeypatch.setenv("TAMT_CACHE", str(real / "cache"))
    pages = {on_toy(words): page for words, (page, whole) in all_commands().items() if whole}
    reasons = {words: why_not(words) for words in pages if not words[0].startswith("-")}
    assert "no such verb" not in reasons.values(), reasons
    ran: set[str] = set()
    for number, words in enumerate(words for words, reason in reasons.items() if not reason):
        here = tmp_path / str(number)
        here.mkdir()
        monkeypatch.chdir(here)
        if words[0] != "init":
            (here / "my.yaml").symlink_to(real / "my.yaml")
        done = CliRunner().invoke(app, list(words), catch_exceptions=False)
        assert done.exit_code == 0, f"{pages[words]}: tamt {' '.join(words)}: {done.output}"
        ran.add(words[0])
    assert ran == WRITING | {"status", "explain"}


def test_other_programs_are_known() -> None:
    found: set[str] = set()
    for page in PAGES:
        for block in re.findall(r"```(?:console|sh|bash)\n(.*?)```", page.read_text(), re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                for command in commands_in(line):
                    if (
                        command
                        and not ours(command)
                        and re.fullmatch("[a-z][a-z0-9-]*", command[0])
                    ):
                        found.add(command[0])
    assert found - SHELL <= NOT_RUN.keys()


def test_complete_sweeps_on_pages_can_be_run(checkout: Path) -> None:
    complete = 0
    for page in PAGES:
        for block in re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL):
            keys = yaml.safe_load(block)
            if {"name", "models", "corpus"} <= keys.keys() or "extends" in keys:
                block = block.replace("extends: ", "extends: sweeps/")
                (checkout / "page.yaml").write_text(block)
                done = CliRunner().invoke(alone, ["page.yaml", "--dry-run"])
                assert done.exit_code == 0, f"{page.name}: {done.stderr}"
                complete += 1
    assert complete == 3


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
