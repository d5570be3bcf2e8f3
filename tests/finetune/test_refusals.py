"""Fine-tunes that cannot be done, and words on why."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tamt_ray.data.cache import SourceError
from tamt_ray.data.history import NonFiniteLossError
from tamt_ray.finetune.finetuner import Finetuned, Finetuner
from tamt_ray.tasks.base import Task
from tamt_ray.values.model import Model

CPU = torch.device("cpu")
Rows = Callable[[int, int], list[dict[str, object]]]
WriteTask = Callable[..., Task]


def curves(outcome: Finetuned) -> list[tuple[int, str, float]]:
    """The history without its clock."""
    return [(point.step, point.name, point.value) for point in outcome.history.points]


def test_divergence_names_its_step(finetuner: Finetuner, native: Model, toy: Task) -> None:
    with pytest.raises(NonFiniteLossError) as raised:
        finetuner.run(native, toy.model_copy(update={"lr": 1e36}), 1, None)
    # Step 1 still sees θ0.
    assert 2 <= raised.value.step <= 16
    # The one that failed leaves nothing behind.
    again = finetuner.run(native, toy, 1, None)
    assert curves(again) == curves(Finetuner(CPU).run(native, toy, 1, None))


@pytest.mark.parametrize(
    ("rows", "settings", "complaint"),
    [
        (
            [{"text": "a", "label": 2}],
            {},
            "row 0: label 2 in column 'label' is none of the classes",
        ),
        ([{"text": "a", "label": 0.5}], {}, "row 0: label 0.5"),
        ([{"text": "a", "label": 1}, {"text": "b", "label": -1}], {}, "row 1: label -1"),
        ([{"text": "a", "label": -1}] * 2, {}, "every label in column 'label' is -1.*hidden"),
        (
            [{"text": "a", "label": 0}, {"text": "b", "label": None}],
            {},
            "row 1: None .*not a number",
        ),
        ([{"text": "a", "label": "yes"}], {}, "row 0: 'yes' in the label column"),
        ([{"text": None, "label": 1}], {}, "row 0: None in the text column 'text' is not text"),
        ([{"text": "a", "label": 3}], {"cut": {"above": 4, "below": 2}}, "no row is left"),
        ([{"text": " ".join("a" * 200), "label": 1}], {"max_length": 150}, "128 tokens at most"),
    ],
)
def test_bad_rows_are_refused(
    finetuner: Finetuner, native: Model, write_task: WriteTask,
    rows: list[dict[str, object]], settings: dict[str, object], complaint: str,
) -> None:  # fmt: skip
    task = write_task("classification", rows, rows, **settings)
    with pytest.raises(ValueError, match=complaint) as raised:
        finetuner.run(native, task, 1, None)
    if "max_length" not in settings:
        assert task.train.source in str(raised.value)


def test_a_missing_column_is_named(
    finetuner: Finetuner, native: Model, write_task: WriteTask
) -> None:
    task = write_task("classification", [{"words": "a", "label": 1}], [], text=["text"])
    with pytest.raises(SourceError, match=re.escape(task.train.source) + ".*no column 'text'"):
        finetuner.run(native, task, 1, None)


def test_a_checkpoint_without_some_of_its_weights_is_refused(
    model_dir: Path, tmp_path: Path, toy: Task
) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    broken = tmp_path / "broken"
    shutil.copytree(model_dir, broken)
    weights = load_file(broken / "model.safetensors")
    del weights["bert.encoder.layer.1.output.dense.weight"]
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"encoder\.layer\.1\.output\.dense\.weight"):
        Finetuner(CPU).run(Model(source=f"dir:{broken}"), toy, 1, None)
