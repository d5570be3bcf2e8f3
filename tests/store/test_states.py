"""A cut-off search goes on from its newest sound state, and from nothing else."""

from pathlib import Path

import pytest

from tamt_ray.store.files import Files
from tamt_ray.store.states import States


@pytest.fixture
def states(tmp_path: Path) -> States:
    return States(Files(str(tmp_path)), "a" * 64)


def folder(tmp_path: Path) -> Path:
    return tmp_path / "states" / ("a" * 64)


def held(tmp_path: Path) -> list[int]:
    return sorted(int(path.name[:10]) for path in folder(tmp_path).iterdir())


def test_the_newest_within_the_limit(states: States) -> None:
    assert states.newest(100) is None
    states.keep(10, b"ten")
    states.keep(20, b"twenty")
    newest, earlier = states.newest(100), states.newest(19)
    assert newest is not None
    assert earlier is not None
    assert states.read(newest) == b"twenty"
    assert states.read(earlier) == b"ten"
    assert states.newest(9) is None


def test_one_spare_is_kept_and_later_ones_stay(states: States, tmp_path: Path) -> None:
    for step in (10, 20, 50, 30, 40):
        states.keep(step, b"%d" % step)
    assert held(tmp_path) == [30, 40, 50]


@pytest.mark.parametrize("length", [0, 1, 3, 5])
def test_a_truncated_one_is_passed_over_and_removed(
    states: States, tmp_path: Path, length: int
) -> None:
    states.keep(10, b"ten")
    states.keep(20, b"twenty")
    damaged = max(folder(tmp_path).iterdir())
    damaged.write_bytes(b"twenty"[:length])
    name = states.newest(100)
    assert name is not None
    assert states.read(name) == b"ten"
    assert held(tmp_path) == [10]


def test_a_flipped_bit_is_seen(states: States, tmp_path: Path) -> None:
    states.keep(10, b"ten")
    next(folder(tmp_path).iterdir()).write_bytes(b"tem")
    assert states.newest(100) is None


def test_litter_of_a_crash_is_no_state(states: States, tmp_path: Path) -> None:
    states.keep(10, b"ten")
    (folder(tmp_path) / ".0000000020-x.safetensors.1.tmp").write_bytes(b"half")
    name = states.newest(100)
    assert name is not None
    assert name.startswith("0000000010")


def test_clearing(states: States, tmp_path: Path) -> None:
    for step in (10, 20):
        states.keep(step, b"x")
    states.clear()
    assert held(tmp_path) == []
    states.clear()
