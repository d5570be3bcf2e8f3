"""No step of a search has the host wait for a GPU: steps run on Torch's meta device."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tamt_ray.data.tokens import Tokens
from tamt_ray.masks.mask import Mask
from tamt_ray.search import language_model
from tamt_ray.search.curvature import curvature
from tamt_ray.search.engine import Engine, train
from tamt_ray.search.head import train_head
from tamt_ray.search.language_model import LanguageModel
from tamt_ray.search.mlm_corruption import Stream, stack
from tamt_ray.search.tamt import MaskedWeights
from tamt_ray.search.team import ProcessGroup
from tamt_ray.values.training import Scoring
from tests.conftest import NoWaiting

from .search_probes import masked_weights, settings, terms_of, train_level

LoadText = Callable[[Path], Tokens]
EXACT = Scoring.model_validate({"init": "random"})
"""The first mask by magnitude is no part of a step."""
RELEASED = Scoring.model_validate(
    {"init": "random", "comparison": "above", "rerank_every": 2, "rerank_early": True}
)
DRIFTING = Scoring.model_validate({"init": "random", "rerank_every": 2, "ranking": "magnitude"})
BERT_ADAM = {"bias_correction": False, "clip_per": "tensor"}


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The steps that were done, where a training would look at its losses."""
    found: list[int] = []
    monkeypatch.setattr(Engine, "_log", lambda engine, *words: found.append(engine.step))
    monkeypatch.setattr(Engine, "_check_recent", lambda engine: engine._recent.clear())
    return found


@pytest.fixture
def model(meta: torch.device, noisy: Path, monkeypatch: pytest.MonkeyPatch) -> LanguageModel:
    """A model without values; making one would try it out."""
    loaded, lacking = language_model._load(noisy)
    torch.nn.Module.to(loaded, meta)
    loaded.tie_weights()  # The move parted them.
    monkeypatch.setattr(language_model, "_load", lambda path: (loaded, lacking))
    monkeypatch.setattr(LanguageModel, "_try_out", lambda *words: None)
    return LanguageModel(noisy, device=meta)


@pytest.mark.parametrize(
    ("terms", "scoring", "documents"),
    [
        ("mlm", EXACT, False),
        ("kd", EXACT, True),
        ("mlm_kd", DRIFTING, True),
        ("kd", RELEASED, True),
    ],
)
def test_mask_training(
    model: LanguageModel, steps: list[int], noisy: Path, meta: torch.device,
    train_blocks: LoadText, train_documents: LoadText,
    terms: str, scoring: Scoring, *, documents: bool,
) -> None:  # fmt: skip
    text = (train_documents if documents else train_blocks)(noisy)
    objective = terms_of(terms)
    weights = masked_weights(model, objective, 0.7, scoring, 1)
    setting = settings(3, 1e-3, **(BERT_ADAM if scoring is RELEASED else {}))
    with NoWaiting():
        train(model, objective, weights, Stream(text, 4, 5, 0.15), setting, ProcessGroup(meta))
    assert steps == [1, 2, 3]


@pytest.mark.parametrize("pattern", ["2:4", "4x4"])
def test_mask_training_under_a_pattern(
    model: LanguageModel, steps: list[int], noisy: Path, meta: torch.device, train_blocks: LoadText,
    pattern: str,
) -> None:  # fmt: skip
    weights = MaskedWeights(model, 0.5, EXACT, 1, pattern)
    stream = Stream(train_blocks(noisy), 4, 5, 0.15)
    with NoWaiting():
        train(model, terms_of("kd"), weights, stream, settings(3, 1e-3), ProcessGroup(meta))
    assert steps == [1, 2, 3]


def test_training_of_a_head(
    model: LanguageModel, steps: list[int], noisy: Path, meta: torch.device, train_blocks: LoadText
) -> None:
    stream = Stream(train_blocks(noisy), 4, 5, 0.15)
    with pytest.raises(NotImplementedError, match="Cannot copy out of meta tensor"):
        train_head(model, stream, settings(3, 1e-3), ProcessGroup(meta))  # The head, at the end.
    assert steps == [1, 2, 3]


def test_training_of_a_level(
    model: LanguageModel, steps: list[int], noisy: Path, meta: torch.device, train_blocks: LoadText
) -> None:
    stream = Stream(train_blocks(noisy), 4, 5, 0.15)
    below = Mask.at_random(model.dense, 0.5, 1)
    with pytest.raises(NotImplementedError, match="Cannot copy out of meta tensor"):
        train_level(
            model, below, 0.6, stream, settings(3, 1e-3), ProcessGroup(meta)
        )  # Its weights.
    assert steps == [1, 2, 3]


def test_a_look_at_a_loss_would_be_seen(
    model: LanguageModel, noisy: Path, meta: torch.device, train_blocks: LoadText
) -> None:
    objective, stream = terms_of("mlm"), Stream(train_blocks(noisy), 4, 5, 0.15)
    weights = masked_weights(model, objective, 0.7, EXACT, 1)
    with pytest.raises(NotImplementedError, match="Cannot copy out of meta tensor"):
        train(model, objective, weights, stream, settings(3, 1e-3), ProcessGroup(meta))


def test_the_curvature_of_the_start(
    model: LanguageModel, noisy: Path, meta: torch.device, train_documents: LoadText
) -> None:
    stream = Stream(train_documents(noisy), 4, 5, 0.0)
    with NoWaiting():
        curvature(model, (stack(stream.batch(step)).to(meta) for step in range(2)), "float32", 1)
