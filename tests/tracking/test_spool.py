"""The spool: what was appended is there after a crash, what was acknowledged is not."""

from itertools import accumulate
from pathlib import Path
from typing import IO

import pytest

from tamt_ray.tracking.spool import Spool, UnitFailed, UnitLanded

A = UnitLanded("a" * 64, "search")
B, C = UnitLanded("b" * 64, "finetune"), UnitLanded("c" * 64, "finetune")


def left(directory: Path) -> list[object]:
    return [entry.event for entry in Spool(directory).pending]


def test_events_survive_in_order(tmp_path: Path) -> None:
    failed = UnitFailed("d" * 64, "finetune", "ValueError: no", "Traceback …", 2, 12.5)
    spool = Spool(tmp_path)
    for event in (A, failed, B):
        spool.append(event)
    assert left(tmp_path) == [A, failed, B]


def test_acknowledged_events_are_gone_wherever_they_stood(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    entries = spool.append(A, B, C)
    spool.acknowledge(entries[1])
    assert left(tmp_path) == [A, C]


def test_an_acknowledgement_counts_over_a_restart(tmp_path: Path) -> None:
    Spool(tmp_path).append(A)
    second = Spool(tmp_path)
    second.append(B)
    second.acknowledge(second.pending[0])
    assert left(tmp_path) == [B]


@pytest.mark.parametrize("cut", [1, 10, 40, 80])
def test_a_torn_last_line_is_left_out(tmp_path: Path, cut: int) -> None:
    spool = Spool(tmp_path)
    for event in (A, B):
        spool.append(event)
    file = tmp_path / "events.jsonl"
    file.write_bytes(file.read_bytes()[:-cut])
    assert left(tmp_path) == [A]


def test_a_torn_line_does_not_spoil_the_next(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append(A)
    with (tmp_path / "events.jsonl").open("ab") as file:
        file.write(b'\n{"number": 7, "is": "lan\xc3')
    spool.append(B)
    assert left(tmp_path) == [A, B]


def test_one_flipped_byte_costs_an_event_or_two_and_stops_nobody(tmp_path: Path) -> None:
    """The damaged one, and another whose number it now bears; the store still has what they
    told."""
    spool = Spool(tmp_path)
    summary = spool.summary({"table.csv": b"1"}, {}, 1.0)
    for event in (A, B, summary, C):
        spool.append(event)
    file = tmp_path / "events.jsonl"
    whole = file.read_bytes()
    lines = whole.split(b"\n")
    for number, others in ((2, {A, C}), (3, {A, B, C})):
        start = sum(len(line) + 1 for line in lines[:number])
        for position in range(start, start + len(lines[number])):
            data = bytearray(whole)
            data[position] ^= 1
            directory = tmp_path / f"{position}"
            (directory / summary.digest).mkdir(parents=True)
            (directory / "events.jsonl").write_bytes(data)
            found = {e.event for e in Spool(directory).pending if isinstance(e.event, UnitLanded)}
            assert len(others - found) <= 1


@pytest.mark.parametrize("keep", [0, 1, 50, 123, 124, 125, 200, 250, 10_000])
def test_a_truncated_file_keeps_its_whole_lines(tmp_path: Path, keep: int) -> None:
    spool = Spool(tmp_path)
    for event in (A, B, C):
        spool.append(event)
    file = tmp_path / "events.jsonl"
    data = file.read_bytes()
    ends = list(accumulate(len(b"\n" + line) for line in data.split(b"\n")[1:]))
    assert ends[-1] == len(data)
    assert ends[0] == 124, "the lengths above lie around the end of a line"
    file.write_bytes(data[:keep])
    assert left(tmp_path) == [e for e, end in zip((A, B, C), ends, strict=True) if end <= keep]


def test_a_short_write_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A nearly full disk takes a part and says how much; the rest raises once it is full."""
    whole = Path.open

    class Short:
        def __init__(self, stream: IO[bytes]) -> None:
            self._stream = stream

        def __enter__(self) -> "Short":
            return self

        def __exit__(self, *_: object) -> None:
            self._stream.close()

        def fileno(self) -> int:
            return self._stream.fileno()

        def write(self, data: memoryview) -> int:
            return self._stream.write(data[:7])

    spool = Spool(tmp_path)
    monkeypatch.setattr(Path, "open", lambda path, *how, **more: Short(whole(path, *how, **more)))
    spool.append(A)
    monkeypatch.undo()
    assert left(tmp_path) == [A]


def test_the_file_does_not_grow_with_what_is_done(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    for event in [A, B, C] * 50:
        spool.acknowledge(*spool.append(event))
    assert left(tmp_path) == []
    assert (tmp_path / "events.jsonl").stat().st_size == 0


def test_summary_files_live_as_long_as_their_event(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    summary = spool.summary({"report.html": b"<p>", "figures/a.png": b"png"}, {"x": 1.0}, 5.0)
    spool.append(summary)
    again = Spool(tmp_path)
    assert [entry.event for entry in again.pending] == [summary]
    assert (again.files(summary) / "figures/a.png").read_bytes() == b"png"
    again.acknowledge(again.pending[0])
    assert not again.files(summary).exists()


def test_summary_files_without_an_event_are_removed(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    orphan = spool.summary({"report.html": b"<p>"}, {}, 5.0)
    assert not Spool(tmp_path).files(orphan).exists()


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil"])
def test_summary_files_stay_inside(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="not a path inside"):
        Spool(tmp_path / "spool").summary({name: b""}, {}, 5.0)
