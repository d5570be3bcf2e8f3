"""`tamt init`: what it writes is a sweep that passes, whatever was answered."""

from itertools import product
from pathlib import Path

import pytest
import yaml

from tamt_ray.cli.init import BUDGETS, MODELS, TASK_TEMPLATES
from tamt_ray.methods.registry import METHODS
from tamt_ray.spec.load import load_sweep

from .small import call


@pytest.mark.parametrize(("model", "budget"), list(product([*MODELS, "hf:me/mine"], BUDGETS)))
def test_every_model_and_budget(model: str, budget: str, tmp_path: Path) -> None:
    file = tmp_path / "first.yaml"
    said = call(
        "init", file, "--model", model, "--budget", budget, "--tasks", ",".join(TASK_TEMPLATES)
    )
    assert said.exit_code == 0, said.stderr
    assert said.stdout.strip() == str(file)
    assert f"python -m tamt_ray.sweep {file} --dry-run" in said.stderr
    sweep = load_sweep(file)
    assert (sweep.name, set(sweep.tasks)) == ("first", set(TASK_TEMPLATES))
    assert next(iter(sweep.tasks.values())).metric == "matthews"


def test_what_it_writes_passes_a_dry_run(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    assert (
        call(
            "init",
            file,
            "--methods",
            ",".join(sorted(METHODS.classes.keys() - {"imported", "shuffled", "tamt"})),
        ).exit_code
        == 0
    )
    said = call("run", file, "--dry-run")
    assert said.exit_code == 0, said.stderr
    assert "finetune" in said.stdout


def test_every_part_of_the_file_is_explained(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    assert call("init", file).exit_code == 0
    text = file.read_text()
    for key in yaml.safe_load(text):
        line = next(line for line in text.splitlines() if line.startswith(f"{key}:"))
        below = text.split(line)[1].splitlines()[1]
        assert "#" in line or "#" in below, f"`{key}` is not explained"


@pytest.mark.parametrize(
    ("option", "answer", "complaint"),
    [
        ("--model", "brt", "unknown model 'brt'; give one of minilm, bert, roberta, or hf:<repo>"),
        ("--tasks", "rte, sst", "unknown task 'sst'; did you mean `sst2`?"),
        ("--tasks", " , ", "name at least one task of cola"),
        ("--methods", "opm", "unknown method 'opm'; did you mean `omp`?"),
        ("--budget", "hour", "unknown budget 'hour'; did you mean `hours`?"),
        ("--model", "dir:", "my.yaml"),
    ],
)
def test_wrong_answers_write_nothing(
    option: str, answer: str, complaint: str, tmp_path: Path
) -> None:
    file = tmp_path / "my.yaml"
    said = call("init", file, option, answer)
    assert (said.exit_code, said.stdout) == (2, "")
    assert complaint in said.stderr
    assert not file.exists()


def test_a_file_that_is_there_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text("mine")
    said = call("init", file)
    assert said.exit_code == 2
    assert f"{file} exists already" in said.stderr
    assert file.read_text() == "mine"
