"""What is refused before anything starts, with the place in the file."""

import json
import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from transformers import AlbertConfig, AlbertForMaskedLM

from tamt_ray.execution.preflight import check
from tamt_ray.execution.rows import PreflightError
from tamt_ray.finetune.model import Encoder, Network
from tamt_ray.plan.expand import expand
from tamt_ray.spec.load import parse_sweep
from tamt_ray.spec.sweep import Sweep
from tamt_ray.tasks.base import Task
from tamt_ray.values.model import Model

SetModel = Callable[..., Sweep]


@pytest.fixture
def with_model(
    toy: dict[str, object], model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> SetModel:
    """The toy sweep with other settings of its model."""
    monkeypatch.setenv("TAMT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TAMT_MIRROR", raising=False)

    def change(**settings: object) -> Sweep:
        models = {"tiny": {"source": f"dir:{model_dir}", **settings}}
        return parse_sweep(yaml.safe_dump({**toy, "models": models}))

    return change


def test_a_sound_sweep_passes(with_model: SetModel, model_dir: Path) -> None:
    assert f"dir:{model_dir}" in check(with_model()).fingerprints
    check(with_model(prune=["*.attention.*"], pooling="mean"))


def test_models_are_tried_in_one_thread_and_heads_alike_once(
    with_model: SetModel, toy: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads that wait for each other cost more than all other checks where cores are busy."""
    tried: list[int] = []
    plain = Encoder.network

    def network(self: Encoder, model: Model, task: Task, seed: int) -> Network:
        tried.append(torch.get_num_threads())
        return plain(self, model, task, seed)

    monkeypatch.setattr(Encoder, "network", network)
    toy["tasks"] = {"words": toy["tasks"]["words"], "again": toy["tasks"]["words"]}
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        check(with_model())
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert tried == [1]


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"prune": ["*.atention.*"]}, r"models.tiny: no matrix is named '\*.atention.\*'; there"),
        (
            {"pooler": True},
            r"tiny: the checkpoint has no pooler.dense.weight, .*; set `pooler: false`",
        ),
    ],
    ids=["pattern", "pooler"],
)
def test_what_the_model_cannot_give_is_refused(
    with_model: SetModel, settings: dict[str, object], complaint: str
) -> None:
    with pytest.raises(PreflightError, match=complaint):
        check(with_model(**settings))


def test_a_model_that_cannot_be_masked_is_refused(
    with_model: SetModel, model_dir: Path, tmp_path: Path
) -> None:
    for file in model_dir.glob("tokenizer*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    with torch.random.fork_rng():
        AlbertForMaskedLM(
            AlbertConfig(
                vocab_size=48, hidden_size=16, embedding_size=16, num_hidden_layers=2,
                num_attention_heads=2, intermediate_size=32, max_position_embeddings=32,
            )
        ).save_pretrained(tmp_path)  # fmt: skip
    with pytest.raises(PreflightError, match=r"models.tiny: AlbertModel .* shared between layers"):
        check(with_model(source=f"dir:{tmp_path}"))


def test_a_task_that_has_no_working_head_is_refused(
    with_model: SetModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_inputs: object, **_named: object) -> None:
        raise IndexError("tuple index out of range")

    monkeypatch.setattr("transformers.BertForSequenceClassification.forward", broken)
    with pytest.raises(PreflightError, match=r"models.tiny: BertModel does not work with a head"):
        check(with_model())
    check(with_model(pooling="mean"))


Change = Callable[[dict[str, Any], Path], None]
"""Spoils a sweep, as the mapping of its file, or the files in its folder."""


def rows(part: str = "train", **spoilt: Callable[[int], object]) -> Change:
    """Write 40 rows with a value of its own for each number in the columns given."""

    def change(_sweep: dict[str, Any], folder: Path) -> None:
        plain: list[dict[str, object]] = [{"text": "good a", "label": n % 2} for n in range(40)]
        lines = (
            json.dumps({**row, **{name: value(n) for name, value in spoilt.items()}})
            for n, row in enumerate(plain)
        )
        (folder / f"{part}.jsonl").write_text("\n".join(lines) + "\n")

    return change


def task(**settings: object) -> Change:
    return lambda sweep, _folder: sweep["tasks"]["words"].update(settings)


def corpus(**settings: object) -> Change:
    return lambda sweep, _folder: sweep["corpus"].update(settings)


def file(name: str, content: str) -> Change:
    return lambda _sweep, folder: void((folder / name).write_text(content))


def both(*changes: Change) -> Change:
    return lambda sweep, folder: void([change(sweep, folder) for change in changes])


def void(_value: object) -> None:
    """Return nothing."""


def weights(change: Callable[[str, torch.Tensor], torch.Tensor]) -> Change:
    def spoil(_sweep: dict[str, Any], folder: Path) -> None:
        path = folder / "model" / "model.safetensors"
        changed = {name: change(name, w).contiguous() for name, w in load_file(path).items()}
        save_file(changed, path, {"format": "pt"})

    return spoil


def fewer_words(sweep: dict[str, Any], folder: Path) -> None:
    path = folder / "model" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "vocab_size": 20}))
    weights(lambda _name, w: w[:20] if len(w) == 48 else w)(sweep, folder)


def third(value: object) -> Callable[[int], object]:
    """Return the number's parity, but `value` in row 3."""
    return lambda number: value if number == 3 else number % 2


# Common mistakes are in tests/cli/test_mistakes.py.
BROKEN: list[tuple[Change, str]] = [
    (rows(label=third(float("nan"))), "row 3: nan in the label column 'label' is not a number"),
    (rows(label=third(2)), "row 3: label 2 .* none of the classes 0 to 1; set `classes: 3`"),
    (rows(label=third(2**63)), r"train.jsonl\):4: column 'label' cannot be read"),
    (rows(label=third(-2)), "row 3: label -2 .*; set `cut` or choose another split"),
    (both(task(classes=["neg", "pos"]), rows(label=lambda n: ("neg", "poss")[n % 2])),
     r"row 1: label 'poss' .* none of `classes`; did you mean `pos`\?"),
    (rows(label=lambda n: [n % 2]), "row 0: .* is a list; .* multi-label data are not read"),
    (both(task(kind="regression"), rows("validation", label=lambda _: 1.5)),
     "validation.jsonl: every label in column 'label' is 1.5"),
    (rows(text=lambda n: "good" if n != 3 else None),
     "row 3: None in the text column 'text' is not text"),
    (rows(text=lambda _: ["a"]), r"row 0: \['a'\] in the text column 'text' is not text"),
    (rows(text=lambda _: " "), "train.jsonl: every text in column 'text' is empty"),
    (task(cut={"above": 5, "below": -5}), "no row is left to learn from"),
    (corpus(block_size=4096), "reads 128 tokens at most; set `corpus.block_size: 128`"),
    (file("validation.txt", ""), "corpus: .*validation.txt: .* does not fill one block"),
    (file("model/tokenizer.json", "{"), "models.tiny: .* the tokenizer cannot be loaded"),
    (fewer_words, "the tokenizer gives '##t' the id 47, the embedding has 20 rows"),
    (weights(lambda name, w: w / 0 if "query.weight" in name else w),
     "models.tiny: .*query.weight holds weights that are NaN or infinite"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "complaint"), BROKEN, ids=map(str, count()))
def test_data_and_models_that_do_not_fit_are_refused(
    toy: dict[str, Any], model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    change: Change, complaint: str,
) -> None:  # fmt: skip
    with pytest.raises(PreflightError, match=complaint):
        spoilt(toy, model_dir, tmp_path, monkeypatch, change)


@pytest.mark.parametrize(
    "change",
    [
        both(task(classes=["neg", "pos"]), rows(label=lambda n: ("neg", "pos")[n % 2]),
             rows("validation", label=lambda n: ("pos", "neg")[n % 2])),
        rows(text=lambda n: "a " * 500_000 if n < 2 else "b"),
    ],
    ids=["classes with names", "two rows of a million characters"],
)  # fmt: skip
def test_data_that_fit_pass(
    toy: dict[str, Any], model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    change: Change,
) -> None:  # fmt: skip
    spoilt(toy, model_dir, tmp_path, monkeypatch, change)


def spoilt(
    toy: dict[str, Any], model_dir: Path, folder: Path, patch: pytest.MonkeyPatch, change: Change
) -> None:
    """Check the sweep after the change."""
    patch.setenv("TAMT_CACHE", str(folder / "cache"))
    patch.delenv("TAMT_MIRROR", raising=False)
    shutil.copytree(model_dir, folder / "model")
    toy["models"] = {"tiny": {"source": f"dir:{folder / 'model'}"}}
    change(toy, folder)
    sweep = parse_sweep(yaml.safe_dump(toy))
    plan = expand(sweep)
    check(sweep, plan.files, plan.texts)


def test_a_pattern_that_the_model_cannot_have_is_refused(with_model: SetModel) -> None:
    sweep = with_model(prune=["*layer*"])

    def patterned(pattern: str) -> Sweep:
        method = sweep.methods[0].model_copy(update={"pattern": pattern})
        return sweep.model_copy(update={"methods": (method,)})

    check(patterned("2:4"))
    for pattern, complaint in (
        ("5x1", "pattern 5x1 does not divide encoder.layer.0"),
        ("heads:4", "the model has 2 attention heads per layer, not 4"),
    ):
        with pytest.raises(PreflightError, match=complaint) as caught:
            check(patterned(pattern))
        assert caught.value.at == ("methods", 0, "pattern")
