"""`tamt profile`: a few steps of a search and of a fine-tune, and nothing left behind."""

import time
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from tamt_ray.cli.app import app
from tamt_ray.data.phases import phase, watched

SWEEP = """\
name: small
store: {here}/results
models: {{mini: {{source: "dir:{model}"}}}}
corpus:
  train: {{source: "dir:{here}/text.txt"}}
  validation: {{source: "dir:{here}/text.txt"}}
  block_size: 16
methods: [omp, {{method: tamt_kd, steps: 9}}]
sparsities: [0.5]
mask_seeds: [1]
finetune_seeds: [1]
tasks:
  marks:
    kind: regression
    train: {{source: "dir:{here}/marks.csv"}}
    validation: [{{source: "dir:{here}/marks.csv"}}]
    text: [words]
    batch_size: 2
"""


@pytest.fixture
def file(tmp_path: Path, model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TAMT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "text.txt").write_text("a b c d good bad e f g .\n" * 50)
    rows = [f"{'good ' * n}bad,{n}" for n in range(1, 13)]
    (tmp_path / "marks.csv").write_text("\n".join(["words,label", *rows]) + "\n")
    path = tmp_path / "small.yaml"
    path.write_text(SWEEP.format(here=tmp_path, model=model_dir))
    return path


def profile(*words: object) -> Result:
    return CliRunner().invoke(app, ["profile", *map(str, words)])


def test_the_first_search_and_the_first_fine_tune(file: Path) -> None:
    said = profile(file)
    assert said.exit_code == 0, said.stderr
    search, finetune = said.stdout.strip().split("\n\n")
    assert search.startswith("search mini tamt_kd 0.5 1: ")
    assert finetune.startswith("finetune mini ")
    for table, names in (
        (search, ["data", "forward and backward", "gradients of what trains", "clipping",
                  "optimiser", "re-ranking and masks", "other"]),
        (finetune, ["collating", "forward and backward", "clipping", "optimiser", "evaluation",
                    "other"]),
    ):  # fmt: skip
        head, *lines = (line.rsplit(maxsplit=2) for line in table.splitlines())
        assert [line[0].strip() for line in lines] == names
        assert sum(float(line[2]) for line in lines) == pytest.approx(100, abs=0.5)
        whole = float(head[0].split(": ")[1].split()[0].replace(",", ""))
        parts = [float(line[1].replace(",", "")) for line in lines]
        assert sum(parts) == pytest.approx(whole, abs=0.5)
        assert all(part >= 0 for part in parts)
    assert not (file.parent / "results").exists()


def test_the_plan_says_how_many_workers_have_work(file: Path) -> None:
    """16 blocks per step, 4 at once."""
    said = CliRunner().invoke(app, ["plan", str(file)])
    assert (
        "a search step is 4 × 4 blocks (search.micro_batch): work for 4 workers per gang "
        "(execution.search.workers: 1)"
    ) in " ".join(said.stdout.split())
    said = CliRunner().invoke(app, ["plan", str(file), "--set", "execution.search.workers=4"])
    assert "a search step" not in said.stdout


def test_the_plan_says_where_searches_leave_gpus_idle(file: Path) -> None:
    def hint(*more: str) -> bool:
        words = [word for each in ("mask_seeds=[1, 2]", *more) for word in ("--set", each)]
        said = CliRunner().invoke(app, ["plan", str(file), *words]).stdout
        return "searches run one at a time, on 1 of the GPUs; `execution.search.gangs:" in said

    assert hint("execution.search.gpus=1")
    assert not hint("execution.search.gpus=1", "execution.search.gangs=auto")
    assert not hint("execution.search.gpus=0", "execution.finetune.gpus=0")


def test_what_does_not_train_has_no_profile(file: Path) -> None:
    said = profile(file, "search/mini/omp/0.5")
    assert said.exit_code == 2
    assert "does not train; name a search by training or a fine-tune" in said.stderr


def test_phases_count_only_while_someone_watches() -> None:
    with phase("before"):
        pass
    with watched() as seconds:
        for _ in range(2):
            with phase("sleep"):
                time.sleep(0.002)
    with phase("after"):
        pass
    assert list(seconds) == ["sleep"]
    assert 0.004 <= seconds["sleep"] < 10
