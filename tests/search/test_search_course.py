"""The course of a mask training: its loss on new text, its rate and what is logged of it."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tamt_ray.data.tokens import Blocks
from tamt_ray.objectives.kd import Kd
from tamt_ray.objectives.mlm import Mlm
from tamt_ray.search.evaluate import pretraining_losses
from tamt_ray.search.language_model import LanguageModel
from tamt_ray.search.mlm_corruption import Stream
from tamt_ray.search.process_group import ProcessGroup
from tamt_ray.values.training import Scoring

from .search_probes import same, settings, terms_of, train_mask

LoadModel = Callable[[Path], LanguageModel]
LoadBlocks = Callable[[Path], Blocks]
LR = 0.0037
"""Large enough for scores to cross within six steps, and no divisor of αφ, so that no kept and
pruned scores meet exactly."""


@pytest.mark.parametrize("terms", ["mlm", "kd"])
def test_a_search_lowers_its_own_loss_on_text_it_has_not_seen(
    bert: Path, load: LoadModel, train_blocks: LoadBlocks, validation_blocks: LoadBlocks,
    terms: str,
) -> None:  # fmt: skip
    """From a random mask, so that there is something to find."""
    stream = Stream(train_blocks(bert), 8, 5, 0.15)
    setting = settings(60, 1.5e-3, batch_size=8, micro_batch=8, decay_steps=60)
    found = []
    for steps in (0, 60):
        mask, _ = train_mask(
            load(bert), terms_of(terms), 0.5, Scoring(init="random"), stream,
            dataclasses.replace(setting, steps=steps), ProcessGroup(),
        )  # fmt: skip
        found.append(
            pretraining_losses(
                load(bert), mask, validation_blocks(bert), terms_of(terms), probability=0.15,
                seed=0, batch_size=32, device=torch.device("cpu"),
            )[f"{terms}_loss"]
        )  # fmt: skip
    assert found[1] < 0.85 * found[0]


def test_past_the_horizon_nothing_moves_and_the_logged_rate_falls_linearly_to_it(
    bert: Path, load: LoadModel, train_blocks: LoadBlocks
) -> None:
    found = []
    for steps in (4, 7):
        stream = Stream(train_blocks(bert), 4, 5, 0.15)
        setting = settings(steps, LR, decay_steps=4)
        found.append(
            train_mask(load(bert), terms_of("kd"), 0.7, Scoring(), stream, setting, ProcessGroup())
        )
    assert same(dict(found[0][0]), dict(found[1][0]))
    rates = [point.value for point in found[1][1].points if point.name == "lr"]
    assert rates == pytest.approx([LR, 0.75 * LR, 0.5 * LR, 0.25 * LR, 0, 0, 0])


def test_the_first_the_last_and_every_so_many_steps_are_logged(
    bert: Path, load: LoadModel, train_blocks: LoadBlocks
) -> None:
    stream = Stream(train_blocks(bert), 4, 5, 0.15)
    setting = settings(8, LR, log_every=3)
    _, history = train_mask(
        load(bert), terms_of("mlm_kd"), 0.7, Scoring(), stream, setting, ProcessGroup()
    )
    for name in ("lr", "loss", "mlm_loss", "kd_loss"):
        assert [p.step for p in history.points if p.name == name] == [1, 3, 6, 8]
    values = {(p.step, p.name): p.value for p in history.points}
    for step in (1, 3, 6, 8):
        parts = values[step, "mlm_loss"] + values[step, "kd_loss"]
        assert values[step, "loss"] == pytest.approx(parts, rel=1e-6)


def test_logged_terms_are_without_their_weights_and_the_loss_has_them(
    bert: Path, load: LoadModel, train_blocks: LoadBlocks
) -> None:
    curves: list[dict[tuple[int, str], float]] = []
    for mlm, kd in ((1.0, 1.0), (2.0, 0.25)):
        stream = Stream(train_blocks(bert), 4, 5, 0.15)
        terms = (Mlm(weight=mlm), Kd(weight=kd))
        _, history = train_mask(
            load(bert), terms, 0.7, Scoring(), stream, settings(6, LR), ProcessGroup()
        )
        curves.append({(p.step, p.name): p.value for p in history.points})
        for step in range(1, 7):
            parts = mlm * curves[-1][step, "mlm_loss"] + kd * curves[-1][step, "kd_loss"]
            assert curves[-1][step, "loss"] == pytest.approx(parts, rel=1e-6)
    plain, weighted = curves
    for name in ("mlm_loss", "kd_loss"):
        assert weighted[1, name] == plain[1, name]
        assert weighted[6, name] != plain[6, name]
