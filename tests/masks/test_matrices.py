"""Which matrices are found, and the structures that are refused."""

import pytest
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from tamt_ray.masks.matrices import UnsupportedModelError, prunable_matrices

SMALL = {
    "vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 32, "max_position_embeddings": 32,
}  # fmt: skip


class Toy(nn.Module):
    """A word embedding, a list of layers, and perhaps something beside them."""

    def __init__(self, *layers: nn.Module, **others: nn.Module) -> None:
        super().__init__()
        self.words = nn.Embedding(6, 4)
        self.layers = nn.ModuleList(layers)
        for name, module in others.items():
            self.add_module(name, module)

    def get_input_embeddings(self) -> nn.Embedding:
        return self.words


class Bare(nn.Module):
    """A layer with a matrix that is no linear layer's."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)
        self.mix = nn.Parameter(torch.eye(4))

    def forward(self, hidden: Tensor) -> Tensor:
        return self.inner(hidden) @ self.mix


class Mixed(nn.Module):
    """A layer with a relative position embedding, a norm, and a list of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.relative = nn.Embedding(8, 2)
        self.norm = nn.LayerNorm(4)
        self.parts = nn.ModuleList([nn.Linear(4, 8), nn.Linear(8, 4), nn.Linear(4, 4)])


def test_linear_layers_of_the_list_and_the_words_are_found() -> None:
    body = Toy(Mixed(), Mixed(), projection=nn.Linear(4, 4), pooler=nn.Linear(4, 4))
    parts = [f"layers.{layer}.parts.{part}.weight" for layer in (0, 1) for part in (0, 1, 2)]
    found = prunable_matrices(body)
    assert list(found) == ["words.weight", *parts]
    assert found["layers.1.parts.0.weight"] is body.get_parameter("layers.1.parts.0.weight")


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        (("words*",), ["words.weight"]),
        (("*.1.parts.[12].*",), ["layers.1.parts.1.weight", "layers.1.parts.2.weight"]),
        (("layers.0.parts.0.weight", "w*"), ["words.weight", "layers.0.parts.0.weight"]),
    ],
)
def test_patterns_choose_by_name(patterns: tuple[str, ...], names: list[str]) -> None:
    assert list(prunable_matrices(Toy(Mixed(), Mixed()), patterns)) == names


def test_a_pattern_without_a_match_is_an_error_that_names_what_there_is() -> None:
    body = BertModel(BertConfig(**SMALL))
    with pytest.raises(ValueError, match="no matrix is named 'pooler") as raised:
        prunable_matrices(body, ("*.query.weight", "pooler*"))
    assert "encoder.layer.*.attention.self.query.weight" in str(raised.value)
    assert "embeddings.word_embeddings.weight" in str(raised.value)
    assert str(raised.value).count("query") == 1
    # What it lists can be used as it stands.
    listed = "encoder.layer.*.attention.self.query.weight"
    assert len(prunable_matrices(body, (listed,))) == 2
    # Names are as case-sensitive as they are everywhere.
    with pytest.raises(ValueError, match="no matrix is named"):
        prunable_matrices(body, ("*.QUERY.weight",))


def test_weights_that_a_mask_would_miss_are_refused() -> None:
    with pytest.raises(UnsupportedModelError, match=r"0\.mix in the layers of Toy .* a Bare; only"):
        prunable_matrices(Toy(Bare(), Bare()))
    convolution = nn.Sequential(nn.Linear(4, 4), nn.Conv1d(4, 4, 3))
    with pytest.raises(UnsupportedModelError, match=r"0\.1\.weight .* belongs to a Conv1d"):
        prunable_matrices(Toy(convolution))


def test_shared_and_unlike_layers_are_refused() -> None:
    layer = nn.Linear(4, 4)
    with pytest.raises(UnsupportedModelError, match="shares matrices between layers"):
        prunable_matrices(Toy(layer, layer))
    other = nn.Linear(4, 4)
    other.weight = layer.weight
    with pytest.raises(UnsupportedModelError, match="shares matrices between layers"):
        prunable_matrices(Toy(layer, other))
    with pytest.raises(UnsupportedModelError, match="unlike layers in layers"):
        prunable_matrices(Toy(nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4))))


def test_a_second_list_of_layers_is_refused() -> None:
    body = Toy(nn.Linear(4, 4), others=nn.ModuleList([nn.Linear(4, 4)]))
    with pytest.raises(UnsupportedModelError, match=r"2 lists of layers \(layers, others\)"):
        prunable_matrices(body)
