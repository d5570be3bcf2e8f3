"""No step of a search has the host wait for a GPU: steps run on Torch's meta device."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from tamt_ray.data.tokens import Tokens
from tamt_ray.execution.worker.bench import UnitBench
from tamt_ray.masks.mask import Mask
from tamt_ray.methods.fisher import FisherSearch
from tamt_ray.methods.one_shot import CalibratedSearch
from tamt_ray.methods.wanda import WandaSearch
from tamt_ray.search import evaluate, language_model
from tamt_ray.search.curvature import curvature
from tamt_ray.search.engine import Engine, train
from tamt_ray.search.evaluate import pretraining_losses
from tamt_ray.search.head import train_head
from tamt_ray.search.language_model import LanguageModel, Reads
from tamt_ray.search.loss import ForwardPass, SearchLoss
from tamt_ray.search.mlm_corruption import Corrupted, Stream, stack
from tamt_ray.search.movement import MovedWeights
from tamt_ray.search.process_group import ProcessGroup
from tamt_ray.search.tamt import MaskedWeights
from tamt_ray.values.model import Model
from tamt_ray.values.text import Corpus
from tamt_ray.values.training import Scoring
from tests.conftest import NoWaiting
from tests.tape import Counted

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
    monkeypatch.setattr(Engine, "_read_recent", lambda _: [])
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


@pytest.mark.parametrize(("terms", "documents"), [("mlm_kd", False), ("kd", True)])
def test_mask_training_in_recorded_micro_batches(
    model: LanguageModel, steps: list[int], noisy: Path, meta: torch.device,
    train_blocks: LoadText, train_documents: LoadText, terms: str, *, documents: bool,
) -> None:  # fmt: skip
    text = (train_documents if documents else train_blocks)(noisy)
    objective = terms_of(terms)
    weights = masked_weights(model, objective, 0.7, EXACT, 1)

    def once(work: Callable[[], None]) -> Callable[[], None]:
        work()
        return lambda: None

    record = Counted(once)
    loss, stream = SearchLoss(model, objective), Stream(text, 4, 5, 0.15)
    setting = settings(3, 1e-3)
    with NoWaiting():
        Engine(loss, weights, stream, setting, ProcessGroup(meta), record=record).run()
    assert steps == [1, 2, 3]
    assert record.replays > 0


@pytest.fixture
def random_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Masks that need no value of a weight, where a search begins with one by magnitude."""
    monkeypatch.setattr(
        Mask, "by_magnitude", lambda weights, sparsity: Mask.at_random(weights, sparsity, 1)
    )


@pytest.mark.parametrize("pattern", ["2:4", "4x4", "heads:2"])
def test_mask_training_under_a_pattern(
    model: LanguageModel, steps: list[int], noisy: Path, meta: torch.device, train_blocks: LoadText,
    pattern: str,
) -> None:  # fmt: skip
    if pattern == "heads:2":
        for name in [name for name in model.matrices if "layer" not in name]:
            del model.matrices[name], model.dense[name]
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


@pytest.mark.parametrize("pattern", ["unstructured", "2:4"])
def test_movement(
    model: LanguageModel, steps: list[int], noisy: Path, meta: torch.device, train_blocks: LoadText,
    random_starts: None, pattern: str,
) -> None:  # fmt: skip
    weights = MovedWeights(model, 0.5, 2, pattern)
    stream = Stream(train_blocks(noisy), 4, 5, 0.15)
    with NoWaiting():
        train(model, terms_of("mlm"), weights, stream, settings(3, 1e-3), ProcessGroup(meta))
    assert steps == [1, 2, 3]


@pytest.mark.parametrize("kind", [FisherSearch, WandaSearch])
def test_calibration(
    model: LanguageModel, noisy: Path, corpus: Corpus, meta: torch.device,
    monkeypatch: pytest.MonkeyPatch, kind: type[CalibratedSearch],
) -> None:  # fmt: skip
    """All batches are computed before a value is read."""
    batches: list[int] = []
    bench = UnitBench(
        Model(source=f"dir:{noisy}"), ProcessGroup(meta), lambda *_: b"",
        lambda number, _: batches.append(number),
    )  # fmt: skip
    monkeypatch.setattr(UnitBench, "model", lambda *_: model)
    search = kind(
        model=bench._model, sparsity=0.5, text=corpus.training(), batches=3, batch_size=2, seed=4
    )
    reads = pytest.raises(NotImplementedError, match="Cannot copy out of meta tensor")
    with NoWaiting(), reads if kind is WandaSearch else nullcontext():
        search.scores(bench)
    assert batches == [1, 2, 3]


@pytest.mark.parametrize("documents", [False, True])
def test_evaluation(
    model: LanguageModel, noisy: Path, meta: torch.device, monkeypatch: pytest.MonkeyPatch,
    validation_blocks: LoadText, train_documents: LoadText, *, documents: bool,
) -> None:  # fmt: skip
    """All batches of corrupted text are computed before a loss is read; so are those of clean."""
    text = (train_documents if documents else validation_blocks)(noisy)
    drawn: list[int] = []

    class Watched(ForwardPass):
        def __init__(self, model: LanguageModel, batch: Corrupted, reads: Reads) -> None:
            drawn.append(len(batch.ids))
            super().__init__(model, batch, reads)

    monkeypatch.setattr(evaluate, "ForwardPass", Watched)
    for terms in ("mlm", "kd"):
        drawn.clear()
        reads = pytest.raises(NotImplementedError, match="Cannot copy out of meta tensor")
        with NoWaiting(), reads:
            pretraining_losses(
                model, Mask.at_random(model.dense, 0.5, 1), text, terms_of(terms),
                probability=0.15, seed=1, batch_size=4, device=meta,
            )  # fmt: skip
        assert sum(drawn) == len(text)


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
