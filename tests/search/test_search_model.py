"""Which published models can be searched, and what is taken from them."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AlbertConfig,
    AlbertForMaskedLM,
    AutoModelForMaskedLM,
    DistilBertConfig,
    DistilBertForMaskedLM,
    ElectraConfig,
    ElectraForMaskedLM,
    PreTrainedModel,
)

from tamt_ray.masks.mask import Mask, zero_pruned
from tamt_ray.masks.matrices import UnsupportedModelError
from tamt_ray.search.language_model import LanguageModel

from .conftest import MakeModel

LoadModel = Callable[[Path], LanguageModel]
SMALL = {
    "vocab_size": 40, "hidden_size": 16, "embedding_size": 16, "num_hidden_layers": 2,
    "num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 32,
}  # fmt: skip


def edited(path: Path, target: Path, drop: str) -> Path:
    """A copy of a checkpoint without the tensors whose name holds `drop`."""
    shutil.copytree(path, target)
    tensors = load_file(path / "model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if drop not in name}
    assert len(kept) < len(tensors)
    save_file(kept, target / "model.safetensors", {"format": "pt"})
    return target


def test_six_matrices_a_layer_and_the_embedding_are_masked(encoder: Path, load: LoadModel) -> None:
    model = load(encoder)
    assert model.embedding == "embeddings.word_embeddings.weight"
    layers = {
        f"encoder.layer.{layer}.{name}.weight"
        for layer in (0, 1)
        for name in (
            "attention.self.query", "attention.self.key", "attention.self.value",
            "attention.output.dense", "intermediate.dense", "output.dense",
        )
    }  # fmt: skip
    assert set(model.matrices) == layers | {model.embedding}
    assert set(model.dense) == set(model.matrices)


def test_its_logits_are_the_published_ones(encoder: Path, load: LoadModel) -> None:
    ids = torch.tensor([[2, 5, 6, 7, 8, 3]])
    model = load(encoder).eval()
    expected = AutoModelForMaskedLM.from_pretrained(encoder)(input_ids=ids).logits
    torch.testing.assert_close(model.logits(model.last_hidden(ids)), expected)


def test_a_mask_on_the_embedding_leaves_decoder_and_theta_0_dense(
    encoder: Path, load: LoadModel
) -> None:
    model = load(encoder)
    before = {name: weight.clone() for name, weight in model.dense.items()}
    zero_pruned(model.matrices, Mask.by_magnitude(model.dense, 0.9))
    assert torch.equal(model.decoder.weight, before[model.embedding])
    assert not model.decoder.weight.requires_grad
    assert all(torch.equal(model.dense[name], before[name]) for name in before)


def test_a_published_head_is_recognised(encoder: Path, load: LoadModel, tmp_path: Path) -> None:
    assert load(encoder).has_published_head
    # As some libraries save it: what is tied under both its names.
    shutil.copytree(encoder, tmp_path / "twice")
    tensors = load_file(encoder / "model.safetensors")
    (bias,) = [n for n in tensors if n in ("cls.predictions.bias", "lm_head.bias")]
    (words,) = [n for n in tensors if n.endswith("word_embeddings.weight")]
    decoder = bias.replace("bias", "decoder")
    tensors |= {
        f"{decoder}.bias": tensors[bias].clone(),
        f"{decoder}.weight": tensors[words].clone(),
    }
    save_file(tensors, tmp_path / "twice/model.safetensors", {"format": "pt"})
    assert load(tmp_path / "twice").has_published_head


def test_a_missing_head_or_a_part_of_it_is_noticed(
    make_model: MakeModel, bert: Path, load: LoadModel, tmp_path: Path
) -> None:
    assert not load(make_model("headless")).has_published_head
    assert not load(edited(bert, tmp_path / "part", "transform.dense")).has_published_head


def test_an_encoder_with_a_hole_is_refused(bert: Path, load: LoadModel, tmp_path: Path) -> None:
    """transformers would fill it with random weights."""
    hole = edited(bert, tmp_path / "hole", "layer.1.attention.self.query")
    with pytest.raises(
        UnsupportedModelError, match=r"lacks 2 weights .*layer.1.attention.self.query.bias among"
    ):
        load(hole)


def test_a_decoder_of_its_own_is_refused(make_model: MakeModel, load: LoadModel) -> None:
    with pytest.raises(UnsupportedModelError, match="has a decoder matrix of its own"):
        load(make_model("bert", tie_word_embeddings=False))


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (lambda: AlbertForMaskedLM(AlbertConfig(**SMALL)), "runs 2 layers but owns 1: .* shared"),
        (lambda: ElectraForMaskedLM(ElectraConfig(**SMALL)), r"has \d modules beside its encoder"),
        (
            lambda: DistilBertForMaskedLM(
                DistilBertConfig(vocab_size=40, dim=16, n_layers=2, n_heads=2, hidden_dim=32)
            ),
            r"has \d modules beside its encoder .* one MLM head is expected",
        ),
    ],
    ids=["albert", "electra", "distilbert"],
)
def test_models_built_otherwise_are_refused_with_the_reason(
    model: Callable[[], PreTrainedModel], reason: str, tmp_path: Path
) -> None:
    with torch.random.fork_rng():
        model().save_pretrained(tmp_path)
    with pytest.raises(UnsupportedModelError, match=reason):
        LanguageModel(tmp_path)
