"""What is damaged is set aside, and just what depends on it is computed again."""

from pathlib import Path

import pytest

from tamt_ray.plan.unit import Cell, Unit, parse_config
from tamt_ray.store.files import seal
from tamt_ray.store.record import Artifact, Record
from tamt_ray.store.store import Store

from .store_cases import MASK, failure_of, record_of, unit

OTHER = MASK[::-1]


def evaluation(of: Unit) -> Unit:
    config = {
        "kind": "pretrain_eval", "objectives": ["mlm", "kd"],
        "model": {"source": "dir:m"}, "mask": of.id,
        "text": {"table": {"source": "dir:t.txt"}}, "evaluation": {},
    }  # fmt: skip
    return Unit(parse_config(config), Cell("mini"))


SEARCH, CHILD = unit(1), evaluation(unit(1))
OTHER_SEARCH, OTHER_CHILD = unit(2), evaluation(unit(2))
UNITS = {one.id: one for one in (SEARCH, OTHER_SEARCH, CHILD, OTHER_CHILD)}


def child_of(search: Record, child: Unit) -> Record:
    digest = search.artifacts["mask.safetensors"].sha256
    return record_of(child).model_copy(update={"inputs": {f"{search.id}/mask.safetensors": digest}})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two masks, and an evaluation of each."""
    store = Store(str(tmp_path / "results"))
    for search, child in ((SEARCH, CHILD), (OTHER_SEARCH, OTHER_CHILD)):
        record = store.commit(record_of(search), {"mask.safetensors": MASK})
        store.commit(child_of(record, child), {})
    return store


def flip(store: Store, one: Unit) -> bytes:
    """One byte of a mask, its length as before; returns what is there now."""
    (path,) = Path(store.uri, "units/search", one.id).glob("mask.*")
    data = bytearray(path.read_bytes())
    data[77] ^= 4
    path.write_bytes(data)
    return bytes(data)


def test_a_flipped_byte_is_set_aside_with_a_note_and_the_same_mask_again_keeps_the_rest(
    store: Store,
) -> None:
    bad = flip(store, SEARCH)
    found = store.scan(UNITS)
    assert len(found.records) == 4, "sizes are right, so that only reading tells"
    (damage,) = store.verify(found.records.values())
    assert damage.id == SEARCH.id
    where = Path(store.set_aside(damage))
    assert where.is_relative_to(Path(store.uri, "quarantine/search", SEARCH.id))
    (kept,) = where.glob("mask.*")
    assert kept.read_bytes() == bad
    assert (where / "record.json").is_file()
    assert "it does not have the content" in (where / "why.txt").read_text()

    left = store.scan(UNITS)
    assert set(left.records) == UNITS.keys() - {SEARCH.id}, "what was computed from it stays"
    assert left.damaged == ()
    store.commit(record_of(SEARCH), {"mask.safetensors": MASK})
    assert store.scan(UNITS).records.keys() == UNITS.keys()
    assert store.verify(store.done(UNITS).values()) == []


def test_another_mask_in_its_place_outdates_just_what_was_computed_from_it(store: Store) -> None:
    flip(store, SEARCH)
    (damage,) = store.verify(store.done(UNITS).values())
    store.set_aside(damage)
    renewed = store.commit(record_of(SEARCH), {"mask.safetensors": OTHER})
    found = store.scan(UNITS)
    assert set(found.records) == {SEARCH.id, OTHER_SEARCH.id, OTHER_CHILD.id}
    (outdated,) = found.damaged
    assert outdated.id == CHILD.id
    assert str(SEARCH) in outdated.why
    store.set_aside(outdated)
    assert store.scan(UNITS).damaged == ()
    store.commit(child_of(renewed, CHILD), {})
    assert store.scan(UNITS).records.keys() == UNITS.keys()


def test_a_damaged_note_of_a_failure_costs_no_result(store: Store) -> None:
    """A worker may die between its record and the removal of the old note."""
    store.fail(failure_of(SEARCH))
    store.fail(failure_of(unit(3)))
    units = {**UNITS, unit(3).id: unit(3)}
    for path in Path(store.uri).rglob("failure.json"):
        path.write_bytes(path.read_bytes()[:50])
    found = store.scan(units)
    assert [damage.id for damage in found.damaged] == [unit(3).id]
    store.set_aside(found.damaged[0])
    left = store.scan(units)
    assert (left.failures, left.damaged) == ({}, ())
    assert left.records.keys() == UNITS.keys()


def test_a_crash_while_setting_aside_leaves_nothing_that_is_trusted(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    flip(store, SEARCH)
    (damage,) = store.verify(store.done(UNITS).values())
    move, moves = store.files.move, list[str]()

    def once(name: str, to: str) -> None:
        moves.append(name)
        if len(moves) == 2:
            raise KeyboardInterrupt
        move(name, to)

    with monkeypatch.context() as patch:
        patch.setattr(store.files, "move", once)
        with pytest.raises(KeyboardInterrupt):
            store.set_aside(damage)
    assert SEARCH.id not in store.scan(UNITS).records
    again = store.commit(record_of(SEARCH), {"mask.safetensors": MASK})
    assert store.verify([again]) == [], "the damaged file was replaced"


@pytest.mark.parametrize(
    "hostile",
    [
        {"../../../secret": "0" * 64},
        {"/etc/passwd": "0" * 64},
        {"a/../../b": "0" * 64},
        {".hidden": "0" * 64},
        {"mask.safetensors": "../../../secret/" + "0" * 48},
    ],
)
def test_a_record_cannot_choose_a_file_outside_its_unit(
    store: Store, hostile: dict[str, str]
) -> None:
    """Whoever can write into a store can seal a record, too."""
    one = Artifact(sha256="0" * 64, bytes=1)
    named = {name: one.model_copy(update={"sha256": sha}) for name, sha in hostile.items()}
    record = record_of(SEARCH).model_copy(update={"artifacts": named})
    path = Path(store.uri, "units/search", SEARCH.id, "record.json")
    path.write_bytes(seal(record.model_dump_json().encode()))
    found = store.scan(UNITS)
    assert SEARCH.id not in found.records
    assert SEARCH.id in {damage.id for damage in found.damaged}
