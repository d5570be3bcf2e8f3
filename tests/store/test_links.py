"""Links and pipes in a store: a link to a folder is followed; anything else ends with a sentence,
and what it points to stays as it was."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tamt_ray.plan.unit import Unit
from tamt_ray.store.files import Files
from tamt_ray.store.lease import Lease, Pace
from tamt_ray.store.store import Store
from tamt_ray.store.trouble import StoreError

from .store_cases import MASK, record_of, unit

QUICK = Pace(beat=0.05, patience=0.6)
ONE, OTHER = unit(1), unit(2)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A store that holds the other unit, beside a folder `elsewhere` with a file in it."""
    store = tmp_path / "results"
    Store(str(store)).commit(record_of(OTHER), {"mask.safetensors": MASK})
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "precious").write_text("x")
    return store


def commit(root: Path) -> None:
    with Lease.acquire(Files(str(root)), "sweep", QUICK) as lease:
        Store(str(root), lease.fence).commit(record_of(ONE), {"mask.safetensors": MASK})


def folder(root: Path, one: Unit = ONE) -> Path:
    return root / "units/search" / one.id


@pytest.mark.parametrize("name", ["leases", f"units/search/{ONE.id}"])
def test_a_link_to_a_folder_is_followed(name: str, root: Path) -> None:
    (root / name).symlink_to(root.parent / "elsewhere")
    commit(root)
    found = Store(str(root)).scan({ONE.id: ONE, OTHER.id: OTHER})
    assert found.records.keys() == {ONE.id, OTHER.id}
    assert not found.damaged


def unit_links_to_another(root: Path) -> None:
    folder(root).symlink_to(folder(root, OTHER))


def unit_links_to_nothing(root: Path) -> None:
    folder(root).symlink_to(root / "nowhere")


def unit_links_to_itself(root: Path) -> None:
    folder(root).symlink_to(folder(root))


def leases_link_to_themselves(root: Path) -> None:
    (root / "leases").symlink_to(root / "leases")


def record_links_to_a_file(root: Path) -> None:
    folder(root).mkdir()
    (folder(root) / "record.json").symlink_to(root.parent / "elsewhere/precious")


def record_is_a_pipe(root: Path) -> None:
    folder(root).mkdir()
    os.mkfifo(folder(root) / "record.json")


@pytest.mark.parametrize(
    "plant",
    [unit_links_to_another, unit_links_to_nothing, unit_links_to_itself, leases_link_to_themselves,
     record_links_to_a_file, record_is_a_pipe],
)  # fmt: skip
def test_anything_else_ends_with_a_sentence(plant: Callable[[Path], None], root: Path) -> None:
    plant(root)
    with pytest.raises(StoreError, match=r"the same command again|computes it again"):
        commit(root)
    assert (root.parent / "elsewhere/precious").read_text() == "x"
    assert Store(str(root)).record("search", OTHER.id)
