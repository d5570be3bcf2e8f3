"""Which published models can be searched, and what is taken from them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForMaskedLM,
    BertConfig,
    BertForPreTraining,
    DistilBertConfig,
    DistilBertForMaskedLM,
)

from tamt_ray.masks.mask import Mask, pruned_nonzero
from tamt_ray.masks.matrices import UnsupportedModelError
from tamt_ray.search.language_model import LanguageModel

from .conftest import BERT, SIZES, MakeModel, fill, save_tokenizer
from .search_probes import states, teacher_states

LoadModel = Callable[[Path], LanguageModel]


@pytest.fixture
def with_pooler(tmp_path: Path) -> Path:
    """Published as BERT was: MLM head, next-sentence head and pooler."""
    path = tmp_path / "with_pooler"
    with torch.random.fork_rng():
        model = BertForPreTraining(BertConfig(**SIZES, max_position_embeddings=32))
    fill(model, 0)
    model.save_pretrained(path)
    save_tokenizer(path, BERT)
    return path


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
    torch.testing.assert_close(model.logits(model.outputs(ids).last), expected)


def test_a_mask_on_the_embedding_leaves_decoder_and_theta_0_dense(
    encoder: Path, load: LoadModel
) -> None:
    model = load(encoder)
    before = {name: weight.clone() for name, weight in model.dense.items()}
    model.prune(Mask.by_magnitude(model.dense, 0.9))
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


def test_a_pooler_is_masked_by_its_own_weights_and_has_none_to_train(
    with_pooler: Path, tmp_path: Path
) -> None:
    (published,) = [
        tensor
        for name, tensor in load_file(with_pooler / "model.safetensors").items()
        if name.endswith("pooler.dense.weight")
    ]
    model = LanguageModel(with_pooler, pooler=True)
    assert model.dense.keys() - model.matrices.keys() == {"pooler.dense.weight"}
    assert torch.equal(model.dense["pooler.dense.weight"], published)
    assert model.has_published_head
    mask = Mask.by_magnitude(model.dense, 0.5)
    assert int((~mask["pooler.dense.weight"]).sum()) == 128
    model.prune(mask)
    assert pruned_nonzero(model.matrices, Mask({name: mask[name] for name in model.matrices})) == 0
    ids = torch.tensor([[2, 5, 6, 7, 8, 3]])
    model.eval()
    for ours, theirs in zip(
        teacher_states(model, ids), states(LanguageModel(with_pooler).eval(), ids), strict=True
    ):
        torch.testing.assert_close(ours, theirs)
    # In pieces, as large models are published.
    sharded = BertForPreTraining.from_pretrained(with_pooler)
    sharded.save_pretrained(tmp_path, max_shard_size="8KB")
    assert not (tmp_path / "model.safetensors").exists()
    again = LanguageModel(tmp_path, pooler=True)
    assert torch.equal(again.dense["pooler.dense.weight"], published)


def test_a_mask_must_cover_the_pooler_if_and_only_if_it_is_masked(with_pooler: Path) -> None:
    plain, pooled = LanguageModel(with_pooler), LanguageModel(with_pooler, pooler=True)
    with pytest.raises(ValueError, match=r"another model's: pooler.dense.weight"):
        plain.prune(Mask.by_magnitude(pooled.dense, 0.5))
    with pytest.raises(ValueError, match=r"another model's: pooler.dense.weight"):
        pooled.prune(Mask.by_magnitude(plain.dense, 0.5))


def test_a_pooler_that_is_not_there_is_refused(bert: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UnsupportedModelError, match=r"without a trained pooler; set `pooler: false`"
    ):
        LanguageModel(bert, pooler=True)
    settings = {"vocab_size": 40, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32}
    with torch.random.fork_rng():
        DistilBertForMaskedLM(DistilBertConfig(**settings)).save_pretrained(tmp_path)
    with pytest.raises(UnsupportedModelError, match=r"DistilBertModel has no pooler.dense.weight"):
        LanguageModel(tmp_path, pooler=True)


def test_only_the_matrices_that_patterns_name_are_masked(encoder: Path, load: LoadModel) -> None:
    whole = load(encoder)
    model = LanguageModel(encoder, prune=("encoder.layer.1.*", "*.query.weight"))
    assert len(model.dense) == 7
    assert model.dense.keys() == model.matrices.keys()
    # The embedding is not masked, and still not shared with the decoder.
    assert model.embedding == whole.embedding
    assert model.embedding not in model.dense
    assert model.decoder.weight is not model.body.get_parameter(model.embedding)
    assert torch.equal(model.decoder.weight, whole.decoder.weight)
    model.prune(Mask.by_magnitude(model.dense, 0.9))
    for name, weight in whole.matrices.items():
        same = torch.equal(weight, model.body.get_parameter(name))
        assert same == (name not in model.dense), name
    ids = torch.tensor([[2, 5, 6, 7, 8, 3]])
    for ours, theirs in zip(
        teacher_states(model.eval(), ids), states(whole.eval(), ids), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


def test_a_teacher_drops_out_when_asked_and_only_then(noisy: Path, load: LoadModel) -> None:
    ids = torch.tensor([[2, 5, 6, 7, 8, 3]])
    model = load(noisy).train()
    torch.manual_seed(1)
    sure, again = teacher_states(model, ids), teacher_states(model, ids)
    noisy_states = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        noisy_states.append(teacher_states(model, ids, dropout=True)[-1])
    assert torch.equal(sure[-1], again[-1])
    assert not torch.allclose(sure[-1], noisy_states[0])
    assert torch.equal(noisy_states[0], noisy_states[1])
    assert not torch.allclose(noisy_states[0], noisy_states[2])
    assert model.body.training
    teacher_states(model.eval(), ids, dropout=True)
    assert not model.body.training


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"hidden_size": 64}, r"\[\d+\] in model.safetensors and \[64\] by config.json"),
        ({"vocab_size": 10**12}, r"in model.safetensors and \[1000000000000"),
        ({"hidden_size": "32"}, "make no model: .*hidden_size"),
        ({"num_attention_heads": 0}, "make no model: ZeroDivisionError"),
        ({"hidden_act": "nope"}, "make no model: KeyError"),
        ({"num_attention_heads": -1}, "fails on 8 tokens"),
    ],
)
def test_a_config_that_does_not_fit_its_weights_is_refused(
    encoder: Path, tmp_path: Path, change: dict[str, object], reason: str
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(encoder, broken)
    config = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(UnsupportedModelError, match=reason):
        LanguageModel(broken)


@pytest.mark.parametrize("how", ["flat", "NaN", "infinite"])
def test_weights_that_are_none_are_refused_by_name(encoder: Path, tmp_path: Path, how: str) -> None:
    """One NaN is enough, where no trial meets it."""
    broken = tmp_path / "broken"
    shutil.copytree(encoder, broken)
    tensors = load_file(broken / "model.safetensors")
    name = next(name for name in tensors if name.endswith("word_embeddings.weight"))
    if how == "flat":
        tensors[name] = tensors[name].reshape(-1)
    else:
        tensors[name][-1, -1] = float({"NaN": "nan", "infinite": "inf"}[how])
    save_file(tensors, broken / "model.safetensors", {"format": "pt"})
    with pytest.raises(UnsupportedModelError, match=r"word_embeddings\.weight"):
        LanguageModel(broken)


def test_segments_reach_a_model_that_tells_them_apart_and_no_other(
    make_model: MakeModel, load: LoadModel
) -> None:
    ids = torch.tensor([[2, 5, 6, 3, 8, 3]])
    segments = torch.tensor([[0, 0, 0, 0, 1, 1]])
    for types in (2, 1):
        path = make_model("bert", type_vocab_size=types)
        model = load(path).eval()
        found = model.outputs(ids, reads={"states"}, segments=segments).states
        taught = model.teacher_outputs(ids, reads={"states"}, segments=segments).states
        published = AutoModelForMaskedLM.from_pretrained(path).eval()
        given = {"token_type_ids": segments} if types == 2 else {}
        expected = published(input_ids=ids, output_hidden_states=True, **given).hidden_states[1:]
        for mine, teacher, theirs in zip(found, taught, expected, strict=True):
            torch.testing.assert_close(mine, theirs)
            torch.testing.assert_close(teacher, theirs)
        assert torch.equal(found[0], model.outputs(ids, reads={"states"}).states[0]) == (types == 1)
