"""The MLM head of an encoder that was published without one."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tamt_ray.data.tokens import Blocks
from tamt_ray.search.evaluate import pretraining_losses
from tamt_ray.search.head import train_head
from tamt_ray.search.language_model import LanguageModel
from tamt_ray.search.mlm_corruption import Stream
from tamt_ray.search.process_group import ProcessGroup

from .conftest import MakeModel
from .search_probes import same, settings, state, terms_of

LoadModel = Callable[[Path], LanguageModel]
LoadBlocks = Callable[[Path], Blocks]


@pytest.fixture(scope="module")
def headless(make_model: MakeModel) -> Path:
    """An encoder alone."""
    return make_model("headless", dropout=0.1)


def mlm_loss(model: LanguageModel, blocks: Blocks) -> float:
    return pretraining_losses(
        model, None, blocks, terms_of("mlm"), probability=0.15, seed=0, batch_size=64,
        device=torch.device("cpu"),
    )["mlm_loss"]  # fmt: skip


def test_a_trained_head_predicts_better_on_a_frozen_encoder(
    headless: Path, load: LoadModel, train_blocks: LoadBlocks, validation_blocks: LoadBlocks
) -> None:
    torch.manual_seed(0)  # transformers fills in the missing head from here.
    model = load(headless)
    assert not model.has_published_head
    before = state(model)
    untrained = mlm_loss(model, validation_blocks(headless))
    stream = Stream(train_blocks(headless), 16, 1, 0.15)
    setting = settings(80, 3e-2, batch_size=16, micro_batch=16, decay_steps=80)
    head, history = train_head(model, stream, setting, ProcessGroup())
    after = state(model)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {f"head.{name}" for name in head}
    assert torch.equal(model.decoder.weight, before[f"body.{model.embedding}"])
    losses = [point.value for point in history.points if point.name == "mlm_loss"]
    assert len(losses) == 80
    assert sum(losses[-10:]) / 10 < sum(losses[:10]) / 10 - 0.5
    trained = mlm_loss(model, validation_blocks(headless))
    assert trained < min(untrained, losses[0]) - 0.5
    # The head serves another copy of the encoder, as later units load it.
    again = load(headless)
    again.load_head(head)
    assert mlm_loss(again, validation_blocks(headless)) == trained


def test_a_seed_gives_the_same_head(
    headless: Path, load: LoadModel, train_blocks: LoadBlocks
) -> None:
    heads = []
    for number, seed in enumerate((1, 1, 2)):
        torch.manual_seed(number)  # transformers fills in the missing head from here.
        stream = Stream(train_blocks(headless), 4, 1, 0.15)
        heads.append(train_head(load(headless), stream, settings(2, 1e-3, seed), ProcessGroup())[0])
    assert same(heads[0], heads[1])
    assert not same(heads[0], heads[2])


def test_the_head_starts_by_handing_the_hidden_states_on(
    headless: Path, load: LoadModel, train_blocks: LoadBlocks
) -> None:
    stream = Stream(train_blocks(headless), 4, 1, 0.15)
    head, _ = train_head(load(headless), stream, settings(0, 1e-3), ProcessGroup())
    dense = head["predictions.transform.dense.weight"]
    assert float((dense - torch.eye(16)).abs().max()) < 0.1
    assert head["predictions.transform.LayerNorm.weight"].tolist() == [1.0] * 16
    for name in ("bias", "transform.dense.bias", "transform.LayerNorm.bias"):
        assert torch.count_nonzero(head[f"predictions.{name}"]) == 0


def test_another_models_head_is_refused(bert: Path, roberta: Path, load: LoadModel) -> None:
    model = load(bert)
    head = {name: p.detach().clone() for name, p in load(roberta).head_parameters().items()}
    before = state(model)
    with pytest.raises(ValueError, match=r"the head has .*layer_norm.*the model needs"):
        model.load_head(head)
    assert same(state(model), before)
