"""A search cut off after any step and taken up again is the search that was never cut off."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from tamt_ray.data.history import History
from tamt_ray.data.tokens import Blocks, Documents
from tamt_ray.masks.mask import Mask
from tamt_ray.objectives.base import Objective
from tamt_ray.search.head import train_head
from tamt_ray.search.language_model import LanguageModel
from tamt_ray.search.mlm_corruption import Stream
from tamt_ray.search.process_group import ProcessGroup
from tamt_ray.search.state import TrainingState, state_from_bytes
from tamt_ray.values.training import Scoring

from .search_probes import settings, terms_of, train_level, train_mask

LoadModel = Callable[[Path], LanguageModel]
STEPS = 6
LR = 0.0037


class CutOffError(Exception):
    """The end of a worker."""


@dataclass
class MemoryCheckpointer:
    """Keeps states as bytes; cuts the search off after the step `cut`, once its state is kept."""

    cut: int | None = None
    kept: dict[int, bytes] = field(default_factory=dict)
    step: int = 0

    def newest(self) -> str | None:
        return str(max(self.kept)) if self.kept else None

    def read(self, name: str) -> TrainingState:
        self.step = int(name)
        return state_from_bytes(self.kept[int(name)])

    def due(self, *, last: bool) -> bool:
        self.step += 1
        return last or self.step == self.cut

    def keep(self, state: TrainingState) -> None:
        assert state.step == self.step
        self.kept[state.step] = state.to_bytes()
        if state.step == self.cut:
            raise CutOffError


Search = Callable[[MemoryCheckpointer, int], tuple[Mask | None, History]]
"""Runs a search of so many steps; its states are saved."""

TAMT: dict[str, tuple[tuple[Objective, ...], Scoring]] = {
    "tamt_mlm": (terms_of("mlm"), Scoring()),
    "tamt_kd": (terms_of("kd"), Scoring(init="random", ranking="magnitude")),
    "tamt_mlm_kd": (terms_of("mlm_kd"), Scoring()),
    "drifting": (terms_of("mlm"), Scoring(comparison="above", rerank_every=4)),
    "drifting_kd": (
        terms_of("kd", pads=True, teacher_dropout=True),
        Scoring(comparison="above", rerank_every=3, rerank_early=True),
    ),
    "drifting_at_least": (terms_of("mlm"), Scoring(rerank_every=4)),
}
METHODS = [*TAMT, "imp", "head"]


@pytest.fixture
def search(
    noisy: Path,
    load: LoadModel,
    train_blocks: Callable[[Path], Blocks],
    train_documents: Callable[[Path], Documents],
    request: pytest.FixtureRequest,
) -> Search:
    """The search named by the test's `method`, on a model with dropout."""
    method: str = request.getfixturevalue("method")

    def run(saved: MemoryCheckpointer, steps: int) -> tuple[Mask | None, History]:
        model = load(noisy)
        released = method == "drifting_kd"
        text = train_documents(noisy) if released else train_blocks(noisy)
        stream, group = Stream(text, 4, 1, 0.15), ProcessGroup()
        setting = settings(
            steps, LR, bias_correction=not released, weight_decay=0.01 if released else 0.0
        )
        if method == "imp":
            below = Mask.by_magnitude(model.dense, 0.4)
            mask, history, _ = train_level(
                model, below, 0.5, stream, setting, group, checkpointer=saved
            )
            return mask, history
        if method == "head":
            return None, train_head(model, stream, setting, group, checkpointer=saved)[1]
        terms, scoring = TAMT[method]
        return train_mask(model, terms, 0.5, scoring, stream, setting, group, checkpointer=saved)

    return run


def end(saved: MemoryCheckpointer, step: int) -> dict[str, torch.Tensor]:
    return dict(state_from_bytes(saved.kept[step]).tensors)


def curves(history: History) -> list[tuple[int, str, float]]:
    return [(point.step, point.name, point.value) for point in history.points]


@pytest.mark.parametrize("method", METHODS)
def test_cut_after_every_step(method: str, search: Search) -> None:
    """Bit for bit: values, moments, thresholds, mask and curves."""
    undisturbed = MemoryCheckpointer()
    mask, history = search(undisturbed, STEPS)
    expected = end(undisturbed, STEPS)
    for step in range(1, STEPS):
        saved = MemoryCheckpointer(cut=step)
        with pytest.raises(CutOffError):
            search(saved, STEPS)
        assert list(saved.kept) == [step]
        again, went_on = search(saved, STEPS)
        found = end(saved, STEPS)
        assert found.keys() == expected.keys()
        for name, tensor in expected.items():
            assert torch.equal(found[name], tensor), (step, name)
        assert (again is None) == (mask is None)
        if mask is not None and again is not None:
            assert all(torch.equal(again[name], mask[name]) for name in mask)
        assert curves(went_on) == curves(history)


@pytest.mark.parametrize("method", ["tamt_mlm", "tamt_kd", "drifting"])
def test_a_longer_search_goes_on_from_a_finished_one(method: str, search: Search) -> None:
    """A checkpoint is a search of its own: the same mask as that of a search that ends there."""
    whole = MemoryCheckpointer()
    longer, history = search(whole, STEPS)
    saved = MemoryCheckpointer()
    search(saved, 3)
    again, went_on = search(saved, STEPS)
    assert longer is not None
    assert again is not None
    assert all(torch.equal(again[name], longer[name]) for name in longer)
    assert curves(went_on) == curves(history)


def test_seconds_add_up(
    noisy: Path, load: LoadModel, train_blocks: Callable[[Path], Blocks]
) -> None:
    saved = MemoryCheckpointer(cut=2)
    stream = Stream(train_blocks(noisy), 4, 1, 0.15)
    with pytest.raises(CutOffError):
        train_mask(load(noisy), terms_of("mlm"), 0.5, Scoring(), stream, settings(3, LR),
                   ProcessGroup(), checkpointer=saved)  # fmt: skip
    before = state_from_bytes(saved.kept[2])
    saved.kept[2] = TrainingState(
        before.step, before.seconds + 1000, before.tensors, before.points
    ).to_bytes()
    _, history = train_mask(
        load(noisy),
        terms_of("mlm"),
        0.5,
        Scoring(),
        stream,
        settings(3, LR),
        ProcessGroup(),
        checkpointer=saved,
    )
    assert 1000 < history.seconds < 1100
