"""`tamt doctor` as printed, and what it ends with."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tamt_ray.cli.app import app
from tamt_ray.execution.cluster import doctor
from tamt_ray.execution.cluster.connection import ClusterError
from tamt_ray.execution.cluster.diagnosis import Checked

FINE = Checked("versions", "cluster", True, "python 3.11.7")
BAD = Checked("store", "10.0.0.5", False, "s3://b: [denied]", "give this node the credentials")


def found(monkeypatch: pytest.MonkeyPatch, *findings: Checked) -> None:
    def examine(
        address: str | None, sweep: object, on_finding: Callable[[Checked], None]
    ) -> list[Checked]:
        for finding in findings:
            on_finding(finding)
        return list(findings)

    monkeypatch.setattr(doctor, "examine", examine)


def test_a_fault_is_printed_with_its_place_and_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found(monkeypatch, FINE, BAD)
    shown = CliRunner().invoke(app, ["doctor", "--address", "10.0.0.1:6379"])
    assert shown.exit_code == 1
    assert shown.stdout.splitlines() == [
        "ok     versions   python 3.11.7",
        "FAILED store      10.0.0.5: s3://b: [denied]",
        "       give this node the credentials",
    ]
    assert shown.stderr == "1 of 2 checks failed\n"
    as_json = CliRunner().invoke(app, ["doctor", "--address", "10.0.0.1:6379", "--json"])
    assert as_json.exit_code == 1
    body = json.loads(as_json.stdout)
    assert body["fine"] is False
    assert body["findings"][1] == {
        "check": "store", "where": "10.0.0.5", "passed": False, "said": "s3://b: [denied]",
        "advice": "give this node the credentials",
    }  # fmt: skip


def test_a_cluster_that_is_fit_ends_with_the_command_to_type(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found(monkeypatch, FINE)
    shown = CliRunner().invoke(app, ["doctor", "--address", "10.0.0.1:6379"])
    assert shown.exit_code == 0
    assert "python -m tamt_ray.sweep SWEEP.yaml --address 10.0.0.1:6379" in shown.stderr


def test_the_commands_to_type_have_the_settings_that_were_checked(
    monkeypatch: pytest.MonkeyPatch, file: Path
) -> None:
    found(monkeypatch, FINE)
    words = [str(file), "--set", "mask_seeds=[7]"]
    said = CliRunner().invoke(app, ["doctor", *words, "--address", "10.0.0.1:6379"]).stderr
    assert said.splitlines()[-2:] == [
        f"what it costs: tamt plan {file} --set 'mask_seeds=[7]'",
        f"run it: python -m tamt_ray.sweep {file} --set 'mask_seeds=[7]' --address 10.0.0.1:6379",
    ]


def test_no_cluster_and_no_sweep(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def unreachable(*_: object) -> list[Checked]:
        raise ClusterError("no Ray cluster answers")

    monkeypatch.setattr(doctor, "examine", unreachable)
    assert CliRunner().invoke(app, ["doctor", "--address", "10.0.0.1:6379"]).exit_code == 3
    wrong = CliRunner().invoke(app, ["doctor", str(tmp_path / "none.yaml")])
    assert wrong.exit_code == 2
    assert "none.yaml" in wrong.stderr
