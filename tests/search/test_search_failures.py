"""A loss that is no number ends the search with the step at which it first was none."""

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tamt_ray.data.history import NonFiniteLossError
from tamt_ray.data.tokens import Blocks
from tamt_ray.masks.mask import Mask
from tamt_ray.search.language_model import LanguageModel
from tamt_ray.search.mlm_corruption import Stream
from tamt_ray.search.process_group import ProcessGroup
from tamt_ray.values.training import Scoring

from .search_probes import Watching, settings, terms_of, train_level, train_mask

LoadModel = Callable[[Path], LanguageModel]
LoadBlocks = Callable[[Path], Blocks]


@pytest.mark.parametrize("bad", [1, 9, 10, 13])
@pytest.mark.parametrize("terms", ["kd", "mlm_kd"])
def test_the_first_bad_step_is_named_at_most_ten_steps_later(
    noisy: Path, load: LoadModel, train_blocks: LoadBlocks, terms: str, bad: int
) -> None:
    model = load(noisy)
    drawn: list[int] = []

    def poison(step: int) -> None:
        drawn.append(step)
        if step == bad - 1:
            with torch.no_grad():
                model.body.embeddings.LayerNorm.bias[0] = float("nan")  # pyright: ignore

    stream = Watching(train_blocks(noisy), 2, 5, 0.15, look=poison)
    reports: list[int] = []
    setting = settings(40, 1e-3, batch_size=2, log_every=50)
    with pytest.raises(NonFiniteLossError, match=f"nan at step {bad}$") as caught:
        train_mask(
            model,
            terms_of(terms),
            0.5,
            Scoring(),
            stream,
            setting,
            ProcessGroup(),
            lambda n, _: reports.append(n),
        )
    assert caught.value.step == bad
    assert bad <= len(drawn) < bad + 10
    assert all(report < bad for report in reports)
    # It travels between processes.
    copy = pickle.loads(pickle.dumps(caught.value))  # noqa: S301
    assert (copy.step, str(copy)) == (bad, str(caught.value))


def test_a_bad_last_step_is_found_though_no_tenth(
    noisy: Path, load: LoadModel, train_blocks: LoadBlocks
) -> None:
    model = load(noisy)

    def poison(step: int) -> None:
        if step == 2:
            model.head_parameters()["predictions.bias"].data[0] = float("inf")

    stream = Watching(train_blocks(noisy), 2, 5, 0.15, look=poison)
    with pytest.raises(NonFiniteLossError) as caught:
        train_mask(
            model, terms_of("mlm"), 0.5, Scoring(), stream, settings(3, 1e-3), ProcessGroup()
        )
    assert caught.value.step == 3


def test_weights_that_overflow_end_imp(
    bert: Path, load: LoadModel, train_blocks: LoadBlocks
) -> None:
    model = load(bert)
    below = Mask.by_magnitude(model.dense, 0.1)
    stream = Stream(train_blocks(bert), 4, 5, 0.15)
    with pytest.raises(NonFiniteLossError) as caught:
        train_level(model, below, 0.3, stream, settings(4, 1e38), ProcessGroup())
    # The first loss is θ0's and finite; one step of that size is enough.
    assert caught.value.step == 2
