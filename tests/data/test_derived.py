"""What is kept in the cache is what was made, or is made again."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from tamt_ray.data import derived as room
from tamt_ray.data.derived import derived


def kept(cache: Path) -> Path:
    (path,) = (cache / "numbers").glob("*.safetensors")
    return path


@pytest.mark.parametrize("harm", ["cut", "flip", "empty"])
def test_damage_is_made_good(harm: str, cache: Path) -> None:
    """Never what was not written: a file that is cut off, changed by one bit or empty."""
    made = {"ids": torch.arange(1000, dtype=torch.int32)}
    derived("numbers", ("a",), lambda: made)
    path = kept(cache)
    data = bytearray(path.read_bytes())
    if harm == "flip":
        data[-17] ^= 4
    path.write_bytes({"cut": data[:-100], "flip": data, "empty": b""}[harm])
    found = derived("numbers", ("a",), lambda: made)
    assert torch.equal(found["ids"], made["ids"])
    assert torch.equal(derived("numbers", ("a",), dict)["ids"], made["ids"]), "and kept again"


def test_the_memory_is_the_files(cache: Path) -> None:
    """Nothing is copied, and what is written to it by mistake nobody else reads."""
    found = derived("numbers", ("a",), lambda: {"ids": torch.zeros(1_000_000, dtype=torch.int32)})
    assert str(kept(cache)) in Path("/proc/self/maps").read_text()
    found["ids"][0] = 7
    room._verified.cache_clear()
    assert int(derived("numbers", ("a",), dict)["ids"][0]) == 0


def test_of_many_that_need_it_one_makes_it() -> None:
    made: list[int] = []

    def make() -> dict[str, torch.Tensor]:
        made.append(threading.get_ident())
        time.sleep(0.1)
        return {"ids": torch.arange(10)}

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: derived("numbers", ("a",), make), range(8)))
    assert len(made) == 1
    assert all(torch.equal(each["ids"], torch.arange(10)) for each in found)
