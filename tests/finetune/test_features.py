"""Features kept on the disk equal those made anew."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tamt_ray.data.cache import cache_dir
from tamt_ray.finetune import finetuner as module
from tamt_ray.finetune.finetuner import Finetuned, Finetuner
from tamt_ray.tasks.base import Task
from tamt_ray.tasks.features.passages import Passages
from tamt_ray.tasks.features.sentences import Sentences
from tamt_ray.values.model import Model

Rows = list[dict[str, object]]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAMT_CACHE", str(tmp_path / "cache"))


def curves(outcome: Finetuned) -> list[tuple[int, str, float]]:
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
    for examples in (Passages, Sentences):
        monkeypatch.setattr(examples, "read", None)
    outcomes.append(Finetuner(torch.device("cpu")).run(native, task, 1, None))
    first, *others = outcomes
    for other in others:
        assert other.metrics == first.metrics
        assert other.sources == first.sources
        assert curves(other) == curves(first)
