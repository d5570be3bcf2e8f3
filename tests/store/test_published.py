"""Records without their files: numbers count, files are made again, and other ones are refused."""

from pathlib import Path

import pytest

from tamt_ray.store.store import DamagedError, Store, StoreError

from .store_cases import CURVE, MASK, record_of, unit

FILES = {"mask.safetensors": MASK, "history.parquet": CURVE}


@pytest.fixture
def published(tmp_path: Path) -> Store:
    """A store of one record alone."""
    whole, bare = Store(str(tmp_path / "whole")), Store(str(tmp_path / "bare"))
    record = whole.commit(record_of(unit()), FILES)
    whole.publish([record], bare)
    return Store(bare.uri)


def test_a_published_record_is_whole_without_its_files(published: Store) -> None:
    files = [path.name for path in Path(published.uri).rglob("*") if path.is_file()]
    assert sorted(files) == ["record.json", "store.json"]
    found = published.scan({unit().id: unit()})
    (record,) = found.records.values()
    assert (record.bare, record.metrics, found.damaged) == (True, record_of(unit()).metrics, ())
    assert not published.verify([record])
    with pytest.raises(DamagedError, match="it was not published"):
        published.artifact(record, "mask.safetensors")


def test_the_same_mask_again_makes_the_record_an_ordinary_one(published: Store) -> None:
    # Curves hold times of the clock, and may differ.
    again = {**FILES, "history.parquet": CURVE + CURVE}
    record = published.commit(record_of(unit()), again)
    assert not record.bare
    assert published.artifact(record, "mask.safetensors") == MASK


@pytest.mark.parametrize("files", [{**FILES, "mask.safetensors": MASK[::-1]}, {}])
def test_another_mask_is_refused_and_nothing_is_written(
    published: Store, files: dict[str, bytes]
) -> None:
    with pytest.raises(StoreError, match="came out with other bits"):
        published.commit(record_of(unit()), files)
    (record,) = published.scan({unit().id: unit()}).records.values()
    assert record.bare
    assert not list(Path(published.uri).rglob("mask*"))
