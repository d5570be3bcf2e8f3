"""What is refused before anything starts, with the place in the file."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AlbertConfig, AlbertForMaskedLM

from tamt_ray.execution.preflight import PreflightError, check
from tamt_ray.spec.load import parse_sweep
from tamt_ray.spec.sweep import Sweep

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
    assert f"dir:{model_dir}" in check(with_model())
    check(with_model(prune=["*.attention.*"], pooling="mean"))


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
