"""Contestants compute the same: a step, its gradients, the next scores, φ of every matrix."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks import __main__, reranking
from benchmarks.answer import at_least, at_most
from benchmarks.dense_step import DenseStep
from benchmarks.released_step import ReleasedStep
from benchmarks.search_step import mask_training
from benchmarks.shape import Shape
from tamt_ray.objectives.base import Objective
from tamt_ray.objectives.kd import Kd
from tamt_ray.objectives.mlm import Mlm
from tamt_ray.search.language_model import LanguageModel
from tamt_ray.search.loss import SearchLoss
from tamt_ray.search.mlm_corruption import Corrupted, stack
from tamt_ray.search.tamt import MaskedWeights
from tamt_ray.values.training import Scoring

SHAPE = Shape("toy", layers=1, hidden=12, batch=2, length=16)
HALF = 0.5
"""Of an even number of weights, so that rounding cannot part the contestants."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Without dropout, whose draws differ, and with gradients well above Adam's ε, which the two
    implementations add in different places."""
    changes = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    SHAPE.save(tmp_path, initializer_range=1.0, **changes)
    return tmp_path


@pytest.fixture
def batch() -> Corrupted:
    return stack(SHAPE.stream().batch(0))


def ours(path: Path, term: Objective, batch: Corrupted) -> tuple[float, MaskedWeights]:
    """The loss under the OMP mask, and the scores with their gradients."""
    model = LanguageModel(path)
    weights = MaskedWeights(model, HALF, Scoring(), 0)
    loss, _ = SearchLoss(model, [term])(batch, [term.count(batch)])
    loss.backward()
    weights.before_step()
    return loss.item(), weights


def test_the_released_step_has_our_loss_and_gradients(path: Path, batch: Corrupted) -> None:
    loss, weights = ours(path, Mlm(), batch)
    released = ReleasedStep(path, HALF)
    assert float(released.backward(batch)) == pytest.approx(loss, rel=1e-5)
    assert {f"{name}.weight" for name in released.masked} == set(weights.scores)
    for name, masked in released.masked.items():
        score = weights.scores[f"{name}.weight"]
        assert torch.equal(masked.scores, score)
        torch.testing.assert_close(masked.scores.grad, score.grad, rtol=1e-3, atol=1e-6)


def test_the_released_step_moves_scores_as_ours_does(path: Path, batch: Corrupted) -> None:
    weights, engine = mask_training(path, SHAPE, [Mlm()], HALF)
    released = ReleasedStep(path, HALF)
    before = {name: masked.scores.detach().clone() for name, masked in released.masked.items()}
    released(batch)
    engine.run(until=1)
    for name, masked in released.masked.items():
        score = weights.scores[f"{name}.weight"].detach()
        apart = (masked.scores.detach() - score).abs()
        # Some are near it all the same, once the norm is clipped.
        assert (apart > 1e-6).sum() <= 0.15 * ((score - before[name]).abs() > 1e-6).sum()
        assert ((score - before[name]).abs() > 1e-5).any()


@pytest.mark.parametrize("term", [Mlm(), Kd()], ids=lambda term: term.name)
def test_the_dense_step_is_the_masked_one_at_the_same_weights(
    path: Path, batch: Corrupted, term: Objective
) -> None:
    loss, weights = ours(path, term, batch)
    dense = DenseStep(path, term.name)
    theta = {name: weight.detach().clone() for name, weight in dense.trained.items()}
    with torch.no_grad():
        for name, score in weights.scores.items():
            dense.trained[f"bert.{name}"].mul_(score > 0)
    assert float(dense.backward(batch)) == pytest.approx(loss, rel=1e-5)
    assert len(weights.scores) == 7
    for name, score in weights.scores.items():
        gradient = dense.trained[f"bert.{name}"].grad
        assert gradient is not None
        expected = gradient * theta[f"bert.{name}"]
        torch.testing.assert_close(score.grad, expected, rtol=1e-3, atol=1e-6)
    head = sum(name.startswith("cls.") for name in dense.trained)
    assert head == (5 if term.needs_head else 0)


def test_rankings_agree_step_after_step() -> None:
    scores = reranking.Scores(SHAPE)
    for _ in range(3):
        scores.move()
        assert scores.rank() == [float(phi) for phi in scores.rank_by_kthvalue()]


def test_an_answer_is_one_json_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = [at_most("a / b", 1.1, 1.2, "x"), at_least("c", 4.0, 5, "x", "why")]
    monkeypatch.setattr(reranking, "run", lambda device: iter(answers))
    monkeypatch.setattr("sys.argv", ["benchmarks", "reranking", "--json"])
    assert __main__.main() == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first == {
        "question": "a / b", "measured": 1.1, "target": "<= 1.2 x", "meets": True, "detail": "",
        "unit": "x",
    }  # fmt: skip
    assert (second["meets"], second["detail"]) == (False, "why")
