"""Contracts of a whole fine-tune."""

import statistics
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from sklearn.metrics import accuracy_score

from tamt_ray.data.table import load_rows
from tamt_ray.finetune import finetuner as finetuner_module
from tamt_ray.finetune import loop
from tamt_ray.finetune.finetuner import Finetuned, Finetuner
from tamt_ray.finetune.loop import collate
from tamt_ray.finetune.model import Encoder
from tamt_ray.masks.mask import Mask, apply_mask
from tamt_ray.masks.matrices import prunable_matrices
from tamt_ray.tasks.base import Task
from tamt_ray.tasks.features.examples import Batch, Indices, PackedSequences
from tamt_ray.tasks.predictions import from_parquet
from tamt_ray.tasks.scores import led_by
from tamt_ray.values.model import Model

LETTERS = "abcdefghijklmnopqrst"
CPU = torch.device("cpu")
Rows = Callable[[int, int], list[dict[str, object]]]
WriteTask = Callable[..., Task]


@pytest.fixture
def matrices(model_dir: Path) -> dict[str, torch.Tensor]:
    """θ0, read without the code under test."""
    from transformers import AutoModel

    return {
        n: p.detach() for n, p in prunable_matrices(AutoModel.from_pretrained(model_dir)).items()
    }


def curves(outcome: Finetuned) -> list[tuple[int, str, float]]:
    """The history without its clock."""
    return [(point.step, point.name, point.value) for point in outcome.history.points]


def scores(outcome: Finetuned, task: Task) -> dict[str, float]:
    """Return the metrics with the task's own in the lead."""
    return led_by(task.metric, outcome.metrics)


def test_a_toy_task_is_learned(
    finetuner: Finetuner, model: Model, write_task: WriteTask, sentiment: Rows
) -> None:
    rows = sentiment(320, 1), sentiment(100, 2)
    task = write_task("classification", *rows, batch_size=16, epochs=4)
    outcome = finetuner.run(model, task, 1, None)
    found = scores(outcome, task)
    assert found["best"] > 0.95
    assert found["steps"] == 80
    assert found["examples"] == 320
    names = ("accuracy", "f1", "matthews")
    others = {"steps", "examples", "pruned_nonzero", *(f"baseline/{name}" for name in names)}
    assert set(found) == {"best", "last", "best_step", "optimism", *names, *others}
    assert set(outcome.metrics) == {
        *others, *(f"last/{name}" for name in names),
        *(f"best/{leader}/{name}" for leader in names for name in ("step", *names)),
        *(f"half/{leader}/{name}" for leader in names for name in ("step_1", "step_2", *names)),
    }  # fmt: skip
    share = statistics.fmean(int(str(row["label"])) for row in rows[1])
    assert found["baseline/accuracy"] == pytest.approx(max(share, 1 - share))
    losses = [value for _, name, value in curves(outcome) if name == "loss"]
    assert losses[-1] < 0.3 < losses[0]


def test_a_number_is_learned(
    finetuner: Finetuner, model: Model, write_task: WriteTask, sentiment: Rows
) -> None:
    train, dev = (
        [{**row, "label": str(2 * float(str(row["label"])) - 1)} for row in sentiment(*which)]
        for which in ((320, 1), (100, 2))
    )
    task = write_task("regression", train, dev, batch_size=16)
    found = scores(finetuner.run(model, task, 1, None), task)
    assert found["pearson"] > 0.9
    assert found["spearman"] > 0.8


def test_a_span_is_found(
    finetuner: Finetuner, native: Model, write_task: WriteTask, lookup: Rows
) -> None:
    task = write_task(
        "spans", lookup(200, 1), lookup(60, 2),
        max_length=64, doc_stride=24, max_query=8, epochs=2, batch_size=8,
    )  # fmt: skip
    found = scores(finetuner.run(native, task, 1, None), task)
    assert found["best"] == found["f1"] >= found["exact_match"]
    assert found["exact_match"] > 0.9
    assert found["examples"] == 200
    # A passage of more than a window is read in several, so there are more steps than questions.
    assert found["steps"] > 2 * -(-200 // 8)


def test_evaluations_come_every_few_steps_and_last(
    finetuner: Finetuner, native: Model, write_task: WriteTask, sentiment: Rows
) -> None:
    task = write_task(
        "classification", sentiment(60, 1), sentiment(30, 2), sentiment(20, 3),
        epochs=2, batch_size=8, eval_every=7,
    )  # fmt: skip
    calls: list[tuple[int, int]] = []
    outcome = finetuner.run(native, task, 1, None, lambda step, steps: calls.append((step, steps)))
    second = {step: value for step, name, value in curves(outcome) if name == "accuracy_2"}
    for leader in ("accuracy", "f1"):
        curve = [(step, value) for step, name, value in curves(outcome) if name == leader]
        assert [step for step, _ in curve] == [7, 14, 16]
        found = led_by(leader, outcome.metrics)
        best = max(value for _, value in curve)
        assert found["best"] == best
        assert found["best_step"] == next(step for step, value in curve if value == best)
        assert found["last"] == curve[-1][1]
        assert found["accuracy_2"] == second[int(found["best_step"])]
    assert calls[-1] == (16, 16)
    rates = [value for _, name, value in curves(outcome) if name == "lr"]
    # Linear decay without warm-up: the last of 16 steps has 1/16 of the rate.
    assert rates[-1] == pytest.approx(task.lr / 16)
    assert outcome.sources[task.train.source] == load_rows(task.train).fingerprint
    assert len(outcome.sources) == 4


def test_the_kept_predictions_give_the_scores_again(
    finetuner: Finetuner, native: Model, write_task: WriteTask, sentiment: Rows, lookup: Rows
) -> None:
    short = {"epochs": 2, "batch_size": 8, "eval_every": 6}
    windows = {"max_length": 64, "doc_stride": 24, "max_query": 8}
    cases: list[tuple[Task, Callable[[pl.DataFrame], float]]] = [
        (
            write_task("classification", sentiment(60, 1), sentiment(31, 2), **short),
            lambda rows: float(accuracy_score(rows["gold"], rows["predicted"])),
        ),
        (
            write_task("regression", sentiment(60, 1), sentiment(31, 2), **short),
            lambda rows: float(np.corrcoef(rows["gold"], rows["predicted"])[0, 1]),
        ),
        (
            write_task("spans", lookup(40, 1), lookup(21, 2), **windows, **short),
            lambda rows: statistics.fmean(rows["f1"]),
        ),
    ]
    for task, score in cases:
        outcome = finetuner.run(native, task, 1, None)
        table = from_parquet(outcome.predictions)
        curve = {step: value for step, name, value in curves(outcome) if name == task.metric}
        assert list(curve) == table["step"].unique().sort().to_list()
        for step, value in curve.items():
            assert score(table.filter(pl.col("step") == step)) == pytest.approx(value, abs=1e-6)
        ways = []
        for half in (1, 2):
            step = outcome.metrics[f"half/{task.metric}/step_{half}"]
            other = table.filter(pl.col("half") != half)
            on_other = {s: score(other.filter(pl.col("step") == s)) for s in curve}
            assert on_other[int(step)] == pytest.approx(max(on_other.values()), abs=1e-6)
            ways.append(score(table.filter((pl.col("half") == half) & (pl.col("step") == step))))
        honest = outcome.metrics[f"half/{task.metric}/{task.metric}"]
        assert statistics.fmean(ways) == pytest.approx(honest, abs=1e-6)


def test_a_mask_of_ones_changes_nothing(
    finetuner: Finetuner, model: Model, toy: Task, matrices: dict[str, torch.Tensor]
) -> None:
    ones = Mask({name: torch.ones_like(m, dtype=torch.bool) for name, m in matrices.items()})
    dense, masked = (Finetuner(CPU).run(model, toy, 1, mask) for mask in (None, ones))
    assert dense.metrics == masked.metrics
    assert curves(dense) == curves(masked)


def test_pruned_weights_stay_zero_and_kept_ones_move(
    finetuner: Finetuner, model: Model, toy: Task, matrices: dict[str, torch.Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    encoders: list[Encoder] = []
    build = Encoder.network

    def spy(self: Encoder, *arguments: object) -> object:
        encoders.append(self)
        return build(self, *arguments)

    monkeypatch.setattr(Encoder, "network", spy)
    mask = Mask.by_magnitude(matrices, 0.5)
    decayed = toy.model_copy(update={"weight_decay": 0.1})
    outcome = finetuner.run(model, decayed, 1, mask)
    assert outcome.metrics["pruned_nonzero"] == 0
    trained, rows = encoders[0].masked(mask)
    for name, keep in rows.items():
        assert not trained[name][~keep].any(), name
    layers = [name for name in mask if "embeddings" not in name]
    assert len(layers) == 12
    for name in layers:
        moved = trained[name] != matrices[name]
        assert moved[mask[name]].float().mean() > 0.99, name
    assert curves(outcome) != curves(finetuner.run(model, decayed, 1, None))


def test_precision_changes_a_fine_tune_by_rounding_only(
    finetuner: Finetuner, model: Model, toy: Task, matrices: dict[str, torch.Tensor]
) -> None:
    """TF32 exists on GPUs only: on a CPU its curves are those of float32 to the bit."""
    found = {}
    mask = Mask.by_magnitude(matrices, 0.5)
    for precision in ("float32", "tf32", "bfloat16"):
        outcome = finetuner.run(model, toy.model_copy(update={"precision": precision}), 1, mask)
        assert outcome.metrics["pruned_nonzero"] == 0
        found[precision] = curves(outcome)
    assert found["tf32"] == found["float32"]
    assert found["bfloat16"] != found["float32"]
    first = [next(value for _, name, value in curve if name == "loss") for curve in found.values()]
    assert first[2] == pytest.approx(first[0], rel=0.02)
    assert torch.get_float32_matmul_precision() == "highest"


def test_a_moved_pruned_weight_is_an_error(
    finetuner: Finetuner, native: Model, toy: Task, matrices: dict[str, torch.Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("tamt_ray.finetune.finetuner.KeptZero", lambda *_: None)
    with pytest.raises(RuntimeError, match="pruned weights are not zero"):
        finetuner.run(native, toy, 1, Mask.by_magnitude(matrices, 0.5))


def test_gradients_cleared_at_once_train_as_those_cleared_one_by_one(
    native: Model, toy: Task, matrices: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Hooked:
        def __init__(self, weights: dict[str, torch.nn.Parameter], mask: Mask) -> None:
            apply_mask(weights, mask)

        def clear_gradients(self) -> None:
            pass

    mask = Mask.by_magnitude(matrices, 0.5)
    at_once = Finetuner(CPU).run(native, toy, 1, mask)
    monkeypatch.setattr(finetuner_module, "KeptZero", Hooked)
    hooked = Finetuner(CPU).run(native, toy, 1, mask)
    assert curves(at_once) == curves(hooked)
    assert at_once.predictions == hooked.predictions


def test_how_much_a_fine_tune_takes_at_most_is_seen_on_the_longest_rows(
    native: Model, write_task: WriteTask, sentiment: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One long row among many short ones is trained on and evaluated, with all words there are."""
    rows, long = sentiment(80, 1), " ".join("abcdefghij" * 5)
    task = write_task(
        "classification", [*rows, {**rows[0], "text": long}], rows, epochs=1, batch_size=4
    )
    shapes: list[tuple[int, ...]] = []

    def seen(sequences: PackedSequences, rows: Indices, device: torch.device) -> Batch:
        found = collate(sequences, rows, device)
        shapes.append(tuple(found.inputs["input_ids"].shape))
        return found

    monkeypatch.setattr(loop, "collate", seen)
    monkeypatch.setattr(finetuner_module, "tokens_of", lambda _: pytest.fail("some words only"))
    Finetuner(CPU, longest=16).run(native, task, 1, None)
    assert 5 <= len(shapes) <= 10, "16 rows by characters, and 16 by words"
    assert (4, 52) in shapes[:8]
    longest = sorted((len(str(row["text"]).split()) for row in rows), reverse=True)
    assert next(shape for shape in shapes if shape[0] == 16) == (16, longest[0] + 2)


def test_a_reused_finetuner_gives_what_a_fresh_one_gives(
    model: Model, native: Model, toy: Task, write_task: WriteTask, sentiment: Rows, lookup: Rows,
    matrices: dict[str, torch.Tensor],
) -> None:  # fmt: skip
    other = write_task(
        "regression", sentiment(50, 5), sentiment(20, 6), epochs=1, max_train=30, batch_size=8
    )
    spans = write_task(
        "spans", lookup(20, 7), lookup(10, 8), max_length=32, doc_stride=8, max_query=8, epochs=1
    )
    mask = Mask.at_random(matrices, 0.3, 1)
    calls = [
        (model, toy, 1, mask),
        (model, other, 2, None),
        (native, spans, 1, mask),
        (model, toy, 2, None),
        (model, toy, 1, mask),
        (model, other, 1, mask),
        (model, other, 2, None),
    ]
    used = Finetuner(CPU)
    torch.manual_seed(1)
    reused = [used.run(*call) for call in calls]
    torch.manual_seed(2)
    for call, outcome in zip(calls, reused, strict=True):
        torch.rand(3)
        fresh = Finetuner(CPU).run(*call)
        assert fresh.metrics == outcome.metrics
        assert curves(fresh) == curves(outcome)
        assert fresh.sources == outcome.sources
    assert curves(reused[0]) != curves(reused[3])


def test_the_callers_randomness_is_left_alone(
    finetuner: Finetuner, native: Model, toy: Task
) -> None:
    torch.manual_seed(5)
    expected = torch.rand(4)
    torch.manual_seed(5)
    finetuner.run(native, toy, 1, None)
    assert torch.equal(torch.rand(4), expected)


@pytest.mark.parametrize("kind", ["native", "mean", "spans"])
def test_roberta_has_its_own_heads(
    roberta_dir: Path, write_task: WriteTask, sentiment: Rows, lookup: Rows, kind: str
) -> None:
    """No segments, a head without a pooler, positions counted from behind the padding."""
    source = f"dir:{roberta_dir}"
    if kind == "spans":
        task = write_task("spans", lookup(200, 1), lookup(40, 2), max_length=40, doc_stride=16,
                          max_query=8, epochs=2, batch_size=8)  # fmt: skip
        model = Model(source=source)
    else:
        task = write_task("classification", sentiment(320, 1), sentiment(60, 2), batch_size=16)
        model = Model(source=source, pooling="mean" if kind == "mean" else "native")
    finetuner = Finetuner(CPU)
    assert scores(finetuner.run(model, task, 1, None), task)["best"] > 0.9
    long = [{"text": " ".join("a" * 79), "label": 1}]
    with pytest.raises(ValueError, match="80 tokens at most"):
        finetuner.run(model, write_task("classification", long, long), 1, None)
