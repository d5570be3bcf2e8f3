"""Done means a record that verifies; whatever is half there counts as not there."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tamt_ray.plan.unit import Unit
from tamt_ray.store.files import seal
from tamt_ray.store.store import Store
from tamt_ray.store.trouble import DamagedError, StoreError, UnwritableError

from .store_cases import CURVE, MASK, failure_of, record_of, unit


def place(root: Path, one: Unit) -> Path:
    return root / "units" / one.kind / one.id


def file_of(root: Path, one: Unit, name: str, data: bytes) -> Path:
    """Where an artifact lies: the first half of its digest is in the file's name."""
    stem, suffix = name.split(".")
    return place(root, one) / f"{stem}.{hashlib.sha256(data).hexdigest()[:16]}.{suffix}"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "results"


@pytest.fixture
def store(root: Path) -> Store:
    return Store(str(root))


def test_a_commit_comes_back_whole(store: Store, root: Path) -> None:
    written = store.commit(record_of(unit()), {"mask.safetensors": MASK, "curve.jsonl": CURVE})
    found = Store(str(root)).record("search", unit().id)
    assert found == written
    assert found is not None
    assert found.model_copy(update={"artifacts": {}}) == record_of(unit())
    assert found.artifacts["mask.safetensors"].sha256 == hashlib.sha256(MASK).hexdigest()
    assert found.artifacts["mask.safetensors"].bytes == 200
    assert store.artifact(found, "mask.safetensors") == MASK
    assert store.artifact(found, "curve.jsonl") == CURVE
    assert set(place(root, unit()).iterdir()) == {
        file_of(root, unit(), "curve.jsonl", CURVE),
        file_of(root, unit(), "mask.safetensors", MASK),
        place(root, unit()) / "record.json",
    }


def test_opening_and_looking_writes_nothing(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "results"))
    assert store.done({unit().id: unit()}) == {}
    assert store.failures({unit().id: unit()}) == {}
    assert store.record("search", unit().id) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("broken", [0, 1, 2])
def test_the_record_comes_last(
    broken: int, store: Store, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever write of a commit fails, there is no record; the next attempt is whole."""
    written: list[str] = []
    write = store.files.write

    def failing(name: str, data: bytes, check: Callable[[], None]) -> None:
        if name.startswith("units/"):
            written.append(name.rsplit("/", 1)[1].split(".")[0])
            if len(written) == broken + 1:
                raise OSError(5, "Input/output error")
        write(name, data, check)

    artifacts = {"mask.safetensors": MASK, "curve.jsonl": CURVE}
    with monkeypatch.context() as patch:
        patch.setattr(store.files, "write", failing)
        with pytest.raises(UnwritableError, match=r"Input/output.*type the same command again"):
            store.commit(record_of(unit()), artifacts)
    order = ["mask", "curve", "record"]
    assert written == order[: broken + 1]
    assert store.record("search", unit().id) is None
    assert store.done({unit().id: unit()}) == {}
    again = store.commit(record_of(unit()), artifacts)
    assert store.done({unit().id: unit()}) == {unit().id: again}
    assert store.artifact(again, "mask.safetensors") == MASK


def test_a_torn_record_is_not_a_record(store: Store, root: Path) -> None:
    store.commit(record_of(unit(1)), {})
    whole = (place(root, unit(1)) / "record.json").read_bytes()
    place(root, unit(2)).mkdir(parents=True)
    (place(root, unit(2)) / ".record.json.ab12.tmp").write_bytes(whole[: len(whole) // 2])
    units = {one.id: one for one in (unit(1), unit(2))}
    assert set(store.done(units)) == {unit(1).id}


@pytest.mark.parametrize("position", [0, 100, 199])
def test_one_flipped_bit_is_noticed(position: int, store: Store, root: Path) -> None:
    record = store.commit(record_of(unit()), {"mask.safetensors": MASK})
    path = file_of(root, unit(), "mask.safetensors", MASK)
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedError) as caught:
        store.artifact(record, "mask.safetensors")
    assert str(path) in str(caught.value)
    assert "tamt verify" in str(caught.value)
    assert [damage.id for damage in store.verify([record])] == [unit().id]


@pytest.mark.parametrize("data", [b"", MASK[:-1], MASK + b"x"])
def test_another_length_is_noticed(data: bytes, store: Store, root: Path) -> None:
    record = store.commit(record_of(unit()), {"mask.safetensors": MASK})
    file_of(root, unit(), "mask.safetensors", MASK).write_bytes(data)
    with pytest.raises(DamagedError, match="does not have the content"):
        store.artifact(record, "mask.safetensors")
    (damage,) = store.scan({unit().id: unit()}).damaged
    assert f"it has {len(data)} bytes, its record says 200" in damage.why


def test_a_missing_artifact_is_named(store: Store, root: Path) -> None:
    record = store.commit(record_of(unit()), {"mask.safetensors": MASK})
    file_of(root, unit(), "mask.safetensors", MASK).unlink()
    with pytest.raises(DamagedError, match=rf"{unit().id}/mask\.\w+\.safetensors: it is missing"):
        store.artifact(record, "mask.safetensors")
    assert store.done({unit().id: unit()}) == {}


@pytest.mark.parametrize("data", [b"", b"{", b"{}", b"\x00\xff", b"[1]"])
def test_a_damaged_record_is_named(data: bytes, store: Store, root: Path) -> None:
    store.commit(record_of(unit()), {})
    path = place(root, unit()) / "record.json"
    path.write_bytes(data)
    with pytest.raises(DamagedError) as caught:
        store.record("search", unit().id)
    assert str(path) in str(caught.value)
    found = store.scan({unit().id: unit()})
    assert found.records == {}
    assert [damage.path for damage in found.damaged] == [str(path.relative_to(root))]


def test_a_damaged_failure_is_named(store: Store, root: Path) -> None:
    store.fail(failure_of(unit()))
    path = place(root, unit()) / "failure.json"
    path.write_bytes(b"{")
    found = store.scan({unit().id: unit()})
    assert found.failures == {}
    assert [damage.path for damage in found.damaged] == [str(path.relative_to(root))]


def test_a_record_under_a_foreign_id_is_refused(store: Store, root: Path) -> None:
    store.commit(record_of(unit(1)), {})
    place(root, unit(2)).mkdir(parents=True)
    os.link(place(root, unit(1)) / "record.json", place(root, unit(2)) / "record.json")
    found = store.scan({unit(2).id: unit(2)})
    assert found.records == {}
    assert [damage.why for damage in found.damaged] == ["it is another unit's"]


def test_a_record_with_another_config_is_refused(store: Store, root: Path) -> None:
    """As if two configs had met under one id: the config beside the result is what counts."""
    store.commit(record_of(unit()), {})
    path = place(root, unit()) / "record.json"
    body = json.loads(path.read_text())
    del body["sha256"]
    body["config"]["sparsity"] = 0.6
    path.write_bytes(seal(json.dumps(body).encode()))
    with pytest.raises(StoreError, match="another config"):
        store.done({unit().id: unit()})


def test_done_subtracts_just_what_is_asked_for(store: Store) -> None:
    for seed in (1, 2, 3):
        store.commit(record_of(unit(seed)), {})
    wanted = {one.id: one for one in (unit(2), unit(3), unit(4))}
    assert set(store.done(wanted)) == {unit(2).id, unit(3).id}
    assert store.done({}) == {}


def test_a_failure_is_remembered_until_the_unit_succeeds(store: Store, root: Path) -> None:
    store.fail(failure_of(unit(1)))
    store.fail(failure_of(unit(2)))
    both = {one.id: one for one in (unit(1), unit(2))}
    assert store.failures(both) == {one.id: failure_of(one) for one in (unit(1), unit(2))}
    assert store.failures({unit(3).id: unit(3)}) == {}
    assert store.done(both) == {}
    store.commit(record_of(unit(1)), {})
    assert set(Store(str(root)).failures(both)) == {unit(2).id}
    assert set(store.done(both)) == {unit(1).id}


def test_the_same_result_written_twice_is_one_result(store: Store) -> None:
    """Two workers may have computed one unit when a node was lost for a while."""
    first = store.commit(record_of(unit()), {"mask.safetensors": MASK})
    other = Store(store.uri)
    again = other.commit(record_of(unit()), {"mask.safetensors": MASK})
    assert first == again
    assert store.done({unit().id: unit()}) == {unit().id: again}
    assert store.artifact(first, "mask.safetensors") == MASK


def test_two_workers_that_write_one_unit_at_once_leave_one_that_verifies(store: Store) -> None:
    """Times differ, so their curves do. However the writes of the two meet, the record that stays
    vouches for files that are there."""
    other = Store(store.uri)
    first = {"mask.safetensors": MASK, "curve.jsonl": b"written first"}
    later = {"mask.safetensors": MASK, "curve.jsonl": b"written later"}
    write = store.files.write

    def interrupted(name: str, data: bytes, check: Callable[[], None]) -> None:
        if name.endswith("record.json"):
            other.commit(record_of(unit()), later)
        write(name, data, check)

    store.files.write = interrupted
    store.commit(record_of(unit()), first)
    found = store.record("search", unit().id)
    assert found is not None
    assert store.artifact(found, "curve.jsonl") == b"written first"
    assert store.verify([found]) == []
    assert store.scan({unit().id: unit()}).damaged == ()


@pytest.mark.parametrize("found", ["2\n", "4\n", "0\n"])
def test_a_store_of_another_format_is_refused_in_one_line(
    found: str, store: Store, root: Path
) -> None:
    """Results of before have other ids: they would lie there unseen, and be computed anew."""
    store.commit(record_of(unit()), {})
    assert (root / "store.json").read_text() == "3\n"
    (root / "store.json").write_text(found)
    with pytest.raises(StoreError, match=f"was written in format {found.strip()}") as caught:
        Store(str(root))
    said = str(caught.value)
    assert "this version reads 3 and gives other ids; name another `store:`" in said
    assert "\n" not in said


@pytest.mark.parametrize("found", ["", "3", "tamt\n", "\0\0"])
def test_a_damaged_mark_of_the_format_says_how_to_mend_it(found: str, store: Store) -> None:
    store.commit(record_of(unit()), {})
    path = Path(store.uri) / "store.json"
    path.write_text(found)
    with pytest.raises(StoreError, match="is damaged") as caught:
        Store(store.uri)
    command = str(caught.value).rpartition("type: ")[2]
    assert command == f"echo 3 > {path}"
    path.write_text("3\n")
    assert set(Store(store.uri).done({unit().id: unit()})) == {unit().id}


def test_the_format_is_said_before_the_first_result(
    store: Store, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []
    monkeypatch.setattr(store.files, "write", lambda name, data, check: names.append(name))
    store.commit(record_of(unit()), {"mask.safetensors": MASK})
    assert names[0] == "store.json"


@pytest.mark.parametrize("name", ["../other/record.json", "/tmp/x", "a/../../x"])
def test_an_artifact_cannot_leave_its_store(name: str, store: Store, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not a path inside"):
        store.commit(record_of(unit()), {name: b"x"})
    assert store.record("search", unit().id) is None


def test_a_place_that_is_no_directory_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(StoreError, match=r"cannot be used"):
        Store(str(file))
    with pytest.raises(StoreError, match=r"cannot be used"):
        Store("nonsense://x")


def test_a_store_by_uri_is_the_store_by_path(store: Store, root: Path) -> None:
    record = store.commit(record_of(unit()), {"mask.safetensors": MASK})
    same = Store(f"file://{root}")
    assert same.done({unit().id: unit()}) == {unit().id: record}
    assert same.artifact(record, "mask.safetensors") == MASK
    same.fail(failure_of(unit(2)))
    assert set(store.failures({unit(2).id: unit(2)})) == {unit(2).id}
