"""What the doctor makes of answers, and what it does with the store and its sources."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from tamt_ray.data.cache import SourceError
from tamt_ray.data.hub import glimpse
from tamt_ray.execution.cluster.checkup import NodeReport, Probe, check_node, versions
from tamt_ray.execution.cluster.diagnosis import (
    Checked,
    about_devices,
    about_disks,
    about_exchange,
    about_mps,
    about_nodes,
    about_sources,
    about_store,
    about_versions,
    silent,
)
from tamt_ray.execution.gang.allreduce import Exchange, ExchangeError
from tamt_ray.store.files import Files
from tamt_ray.values.table import Table

SAME = {"python": "3.11.7", "ray": "2.60.0"}


def test_a_version_that_differs_is_told_with_its_node() -> None:
    assert about_versions({"driver": SAME, "a": SAME}).said == "python 3.11.7, ray 2.60.0"
    found = about_versions({"driver": SAME, "a": SAME, "b": {**SAME, "ray": "2.59.0"}})
    assert not found.passed
    assert found.said == "ray is 2.60.0 on driver, a but 2.59.0 on b"
    assert found.advice


def test_the_code_itself_is_part_of_the_version() -> None:
    number, _, code = versions()["tamt-ray"].partition("+")
    assert number == "0.1.0"
    assert len(code) == 8


def test_a_node_without_an_answer_is_no_pass() -> None:
    [late, without] = silent({"a": "", "b": "ModuleNotFoundError: No module named 'tamt_ray'"}, 9)
    assert (late.passed, late.said) == (False, "no answer within 9 s")
    assert without.advice == "install the same tamt-ray on it"


def test_only_a_head_is_not_the_whole_cluster() -> None:
    assert about_nodes({"a": False, "b": True}, local=False).advice == ""
    assert "look again" in about_nodes({"a": False}, local=False).advice


@pytest.fixture
def probe(tmp_path: Path) -> Probe:
    probe = Probe(str(tmp_path / "results"), "doctor/0123.probe", b"from the driver")
    Files(probe.store).write(probe.name, probe.content)
    return probe


def test_a_store_that_works_is_left_as_it_was(probe: Probe) -> None:
    assert check_node("node", probe, None).store is None
    assert Files(probe.store).names("doctor") == ["0123.probe"]
    assert all(one.passed for one in about_store(probe.store, {"a": None, "b": None}))


def test_a_directory_of_a_nodes_own_is_no_store(probe: Probe, tmp_path: Path) -> None:
    elsewhere = replace(probe, store=str(tmp_path / "elsewhere"))
    assert "a directory of its own" in str(check_node("node", elsewhere, None).store)
    assert not (tmp_path / "elsewhere").exists()
    stale = replace(probe, content=b"from another driver")
    assert "another content" in str(check_node("node", stale, None).store)
    blocked = replace(probe, store=str(tmp_path / "file"))
    (tmp_path / "file").touch()
    assert "NotADirectoryError" in str(check_node("node", blocked, None).store)
    [fault] = about_store("/results", {"a": None, "b": "PermissionError: no"})
    assert (fault.where, fault.said) == ("b", "/results: PermissionError: no")


def test_a_file_is_known_by_its_length_and_its_ends(tmp_path: Path) -> None:
    table, file = Table(source=f"dir:{tmp_path / 'rows.txt'}"), tmp_path / "rows.txt"
    with pytest.raises(SourceError, match=r"rows\.txt: No such file"):
        glimpse(table)
    seen: set[str] = set()
    for content in (b"", b"a", b"b", bytes(3 << 20), bytes((3 << 20) - 1) + b"b", bytes(1 << 20)):
        file.write_bytes(content)
        seen.add(glimpse(table))
    assert len(seen) == 6
    file.write_bytes(b"a")
    assert glimpse(table) == hashlib.sha256(b"1aa").hexdigest()[:12]


def test_sources_are_compared_and_faults_told_once() -> None:
    def of(sources: dict[str, str], **unreadable: str) -> NodeReport:
        return NodeReport(SAME, {}, None, sources, unreadable)

    # The head runs no units and reads nothing.
    idle = of({})
    [fine] = about_sources({"driver": of({"x": "1"}), "head": idle, "a": of({"x": "1"})})
    assert (fine.passed, fine.said) == (True, "1 are the same everywhere")
    faults = about_sources(
        {"driver": of({"x": "1"}), "a": of({"x": "2"}, y="y: gone"), "b": of({}, y="y: gone")}
    )
    assert [one.passed for one in faults] == [False, False]
    assert (faults[0].where, faults[0].said) == ("a, b", "y: gone")
    assert "x is 1 on driver but 2 on a" in faults[1].said


def test_a_full_disk_is_told_with_its_place() -> None:
    fine = {"/cache": 80_000_000_000}
    [passed] = about_disks({"a": fine, "b": fine})
    assert passed.said == "at least 80 GB free in caches and /tmp"
    [fault] = about_disks({"a": fine, "b": {**fine, "/tmp": 1_000_000_000}})
    assert (fault.where, fault.said) == ("b", "/tmp has 1.0 GB free")


def test_torch_and_ray_must_count_the_same_gpus() -> None:
    [fine] = about_devices({"a": 2, "b": 1}, {"a": ["L4", "L4"], "b": ["T4"]}, {})
    assert (fine.said, bool(fine.advice)) == ("2 × L4, 1 × T4", True)
    [fault] = about_devices({"a": 2}, {"a": ["L4"]}, {})
    assert (fault.passed, fault.said) == (False, "Ray counts 2 GPUs, torch sees 1")
    [busy] = about_devices({"a": 2}, {}, {"a": ""})
    assert "all at work" in busy.said


def test_mps_is_missed_where_its_daemon_is() -> None:
    assert about_mps({"a": None}) == [
        Checked("mps", "cluster", True, "its daemon answers on all nodes with GPUs")
    ]
    [fault] = about_mps({"a": None, "b": "no MPS daemon runs here"})
    assert (fault.where, fault.passed, fault.said) == ("b", False, "no MPS daemon runs here")
    assert "nvidia-cuda-mps-control -d" in fault.advice


def test_the_bandwidth_is_that_of_a_ring() -> None:
    found = Exchange("nccl", 4, 2, 256 << 20, 0.01)
    assert found.bandwidth == pytest.approx(2 * 3 / 4 * (256 << 20) / 0.01)
    assert about_exchange(found).said == (
        "nccl, 4 processes on 2 nodes: 256 MiB in 10.0 ms, 40.27 GB/s"
    )
    assert "GLOO_SOCKET_IFNAME" in about_exchange(ExchangeError("refused")).advice
    assert "NCCL_SOCKET_IFNAME" in about_exchange(ExchangeError("refused"), gpus=True).advice
    assert not about_exchange(TimeoutError()).passed
