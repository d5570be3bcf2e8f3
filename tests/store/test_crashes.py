"""Half-written work is never read as whole, wherever the power goes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tamt_ray.store.files import BrokenSealError, seal, unseal
from tamt_ray.store.store import Store

from .store_cases import MASK, failure_of, record_of, unit

CRASHER = Path(__file__).with_name("store_crasher.py")
UNITS = {one.id: one for one in (unit(1), unit(2))}


def test_a_kill_at_every_step_of_a_commit(tmp_path: Path) -> None:
    """One unit is new, the other is there already and computed once more. After each kill the
    store holds the old or the new result of each and nothing in between; the next commit is
    whole."""
    before = Store(str(tmp_path / "before"))
    old = before.commit(record_of(unit(1)), {"mask.safetensors": MASK, "curve.jsonl": b"old"})
    subprocess.run(
        [sys.executable, CRASHER, str(tmp_path)], check=True, timeout=120,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )  # fmt: skip
    roots = [path for path in tmp_path.iterdir() if path.name != "before"]
    assert len(roots) > 30, "every file has a dozen steps"
    seen: set[tuple[bool, bool]] = set()
    for root in sorted(roots, key=lambda path: int(path.name)):
        store = Store(str(root))
        found = store.scan(UNITS)
        assert found.damaged == (), root
        assert store.verify(found.records.values()) == [], root
        mine = found.records[unit(1).id]
        assert store.artifact(mine, "curve.jsonl") in {b"old", b"later"}
        seen.add((unit(2).id in found.records, mine == old))
        again = store.commit(record_of(unit(2)), {"mask.safetensors": MASK})
        assert Store(str(root)).done(UNITS)[unit(2).id] == again
        assert store.verify([again]) == []
    assert seen == {(False, True), (True, True), (True, False)}


def test_no_part_of_a_sealed_file_passes_for_the_whole() -> None:
    whole = seal(b'{"a":1,"b":[2,3]}')
    assert unseal(whole) == b'{"a":1,"b":[2,3]}'
    for length in range(len(whole)):
        with pytest.raises(BrokenSealError):
            unseal(whole[:length])
    for position in range(len(whole)):
        for bit in (1, 32, 128):
            flipped = bytearray(whole)
            flipped[position] ^= bit
            with pytest.raises(BrokenSealError):
                unseal(bytes(flipped))
    with pytest.raises(BrokenSealError):
        unseal(whole + b" ")


@pytest.mark.parametrize("keep", [0, 1, 0.3, 0.9, -1])
@pytest.mark.parametrize("kind", ["record", "mask", "curve", "failure"])
def test_truncated_files_are_found_by_looking(kind: str, keep: float, tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.commit(record_of(unit(1)), {"mask.safetensors": MASK, "curve.jsonl": b"[1,2,3]\n"})
    store.fail(failure_of(unit(2)))
    (path,) = tmp_path.rglob(f"{kind}.*")
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if 0 < keep < 1 else int(keep)])
    found = store.scan(UNITS)
    assert [damage.path for damage in found.damaged] == [str(path.relative_to(tmp_path))]
    assert len(found.records) == (kind == "failure")
    assert len(found.failures) == (kind != "failure")


def test_one_flipped_byte_of_a_record_is_no_other_number(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.commit(record_of(unit(1)), {})
    (path,) = tmp_path.rglob("record.json")
    assert b'"zeros":50.0' in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(b'"zeros":50.0', b'"zeros":51.0'))
    found = store.scan(UNITS)
    assert (found.records, [damage.id for damage in found.damaged]) == ({}, [unit(1).id])
