"""Features kept on the disk equal those made anew."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from tamt_ray.data.cache import cache_dir
from tamt_ray.finetune import finetuner as module
from tamt_ray.finetune.features import mapped
from tamt_ray.finetune.finetuner import Finetuner, Outcome
from tamt_ray.spec.model import Model
from tamt_ray.spec.task import Task

Rows = list[dict[str, object]]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAMT_CACHE", str(tmp_path / "cache"))


def curves(outcome: Outcome) -> list[tuple[int, str, float]]:
    """The history without its clock."""
    return [(point.step, point.name, point.value) for point in outcome.history.points]


def files() -> list[Path]:
    return sorted((cache_dir() / "features").glob("*.safetensors"))


@pytest.mark.parametrize("kind", ["classification", "spans"])
def test_kept_features_give_the_same_results(
    kind: str,
    native: Model,
    write_task: Callable[..., Task],
    sentiment: Callable[[int, int], Rows],
    lookup: Callable[[int, int], Rows],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Made anew, made and kept, and read from the disk: bit for bit the same fine-tune."""
    rows = lookup if kind == "spans" else sentiment
    settings = (
        {"max_length": 40, "max_query": 4, "doc_stride": 20} if kind == "spans" else {"epochs": 1}
    )
    task = write_task(kind, rows(40, 0), rows(20, 1), max_train=30, **settings)
    outcomes = [Finetuner(torch.device("cpu")).run(native, task, 1, None)]
    assert not files()
    monkeypatch.setattr(module, "_WORTH_KEEPING", 10)
    outcomes.append(Finetuner(torch.device("cpu")).run(native, task, 1, None))
    assert len(files()) == 2
    for name in ("passages", "sentences"):
        monkeypatch.setattr(module, name, None)
    outcomes.append(Finetuner(torch.device("cpu")).run(native, task, 1, None))
    first, *others = outcomes
    for other in others:
        assert other.metrics == first.metrics
        assert other.sources == first.sources
        assert curves(other) == curves(first)


@pytest.mark.parametrize("harm", ["cut", "flip", "empty"])
def test_damage_is_made_good(harm: str) -> None:
    """Never what was not written: a file that is cut off, changed by one bit or empty."""
    made = {"ids": torch.arange(1000, dtype=torch.int32)}
    mapped(("a",), lambda: made)
    (path,) = files()
    data = bytearray(path.read_bytes())
    if harm == "flip":
        data[-17] ^= 4
    path.write_bytes({"cut": data[:-100], "flip": data, "empty": b""}[harm])
    found = mapped(("a",), lambda: made)
    assert torch.equal(found["ids"], made["ids"])
    assert torch.equal(mapped(("a",), dict)["ids"], made["ids"]), "and kept again"


def test_the_memory_is_the_files() -> None:
    """Nothing is copied, and what one process writes no other one sees."""
    found = mapped(("a",), lambda: {"ids": torch.zeros(1_000_000, dtype=torch.int32)})
    (path,) = files()
    assert str(path) in Path("/proc/self/maps").read_text()
    found["ids"][0] = 7
    assert int(mapped(("a",), dict)["ids"][0]) == 0


def test_of_many_that_need_it_one_makes_it() -> None:
    made: list[int] = []

    def make() -> dict[str, torch.Tensor]:
        made.append(threading.get_ident())
        time.sleep(0.1)
        return {"ids": torch.arange(10)}

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: mapped(("a",), make), range(8)))
    assert len(made) == 1
    assert all(torch.equal(each["ids"], torch.arange(10)) for each in found)
