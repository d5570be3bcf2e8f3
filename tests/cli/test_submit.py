"""`tamt submit`: what travels, and what is refused before anything does."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from tamt_ray.cli.app import app
from tamt_ray.cli.submit import what_travels
from tamt_ray.execution.cluster import submission

SWEEP = """\
name: small
store: {store}
mlflow: http://127.0.0.1:5000
models: {{mini: {{source: "hf:m"}}}}
corpus: {{train: {{source: "dir:/d/a.txt"}}, validation: {{source: "dir:/d/b.txt"}}}}
methods: [omp]
sparsities: [0.5]
tasks: {{}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A sweep that extends one in a directory beside it."""
    base = tmp_path / "shared" / "base.yaml"
    base.parent.mkdir()
    base.write_text(SWEEP.format(store="s3://bucket/results"))
    path = tmp_path / "mine" / "small.yaml"
    path.parent.mkdir()
    path.write_text("extends: ../shared/base.yaml\nname: mine\n")
    return path


def test_only_the_code_and_the_sweep_travel(file: Path) -> None:
    (file.parent / "results.parquet").write_bytes(bytes(1000))
    files = what_travels(file)
    assert files["sweeps/mine/small.yaml"] == file
    assert files["sweeps/shared/base.yaml"].name == "base.yaml"
    others = [name for name in files if not name.startswith("sweeps/")]
    assert {name.split("/")[0] for name in others} == {"tamt_ray"}
    assert {Path(name).suffix for name in others} <= {
        ".py", ".css", ".jinja", ".js", ".typed", ".template",
    }  # fmt: skip
    assert "tamt_ray/sweep.py" in others
    assert 100_000 < submission.check_size(files) < 4_000_000


def test_the_job_runs_what_travelled(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, object] = {}

    def submit(address: str, folder: Path, entrypoint: str, name: str) -> str:
        words = entrypoint.split()
        seen.update(address=address, name=name, there=(folder / words[3]).read_text(), words=words)
        return "raysubmit_1"

    monkeypatch.setattr(submission, "submit", submit)
    shown = CliRunner().invoke(app, ["submit", str(file), "--address", "http://127.0.0.1:8265"])
    assert (shown.exit_code, shown.stdout) == (0, "raysubmit_1\n")
    assert f"tamt status {file} --watch" in shown.stderr
    assert seen == {
        "address": "http://127.0.0.1:8265",
        "name": "mine",
        "there": file.read_text(),
        "words": [
            "python", "-m", "tamt_ray.sweep", "sweeps/mine/small.yaml", "--address", "auto",
        ],
    }  # fmt: skip


def test_what_is_too_large_is_named(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submission, "_LARGEST", 10_000)
    shown = CliRunner().invoke(app, ["submit", str(file), "--address", "http://127.0.0.1:8265"])
    assert shown.exit_code == 2
    largest = [line.split() for line in shown.stderr.splitlines() if " MB  " in line]
    assert len(largest) == 5
    assert [float(size) for size, *_ in largest] == sorted(
        (float(size) for size, *_ in largest), reverse=True
    )


def test_a_place_of_this_machine_is_refused(file: Path) -> None:
    file.write_text('extends: ../shared/base.yaml\nstore: results\nmlflow: "sqlite:///m.db"\n')
    shown = CliRunner().invoke(app, ["submit", str(file), "--address", "http://127.0.0.1:8265"])
    assert shown.exit_code == 2
    assert "`store: results` would be a directory that goes with the job" in shown.stderr
    assert "`mlflow: sqlite:///m.db`" in shown.stderr


def test_a_young_cluster_is_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its dashboard answers before the agent is there that starts jobs."""
    import ray.job_submission

    answers = iter(["No available agent to submit job, please try again later.", "Wrong token"])

    class Client:
        def __init__(self, address: str) -> None:
            pass

        def submit_job(self, **asked: object) -> str:
            raise RuntimeError(next(answers))

    monkeypatch.setattr(ray.job_submission, "JobSubmissionClient", Client)
    monkeypatch.setattr(submission.time, "sleep", lambda seconds: None)
    with pytest.raises(submission.SubmissionError, match="Wrong token"):
        submission.submit("http://127.0.0.1:1", tmp_path, "true", "toy")
