"""Prunable matrices of an encoder, found in its module structure."""

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

from torch import nn

POOLER = "pooler.dense.weight"
"""Name of the pooler's matrix within an encoder that has one."""


class UnsupportedModelError(ValueError):
    """No prunable matrices are found in this model; the message has the reason."""


def prunable_matrices(body: nn.Module, patterns: Iterable[str] = ("*",)) -> dict[str, nn.Parameter]:
    """Return the weights that a mask covers, by name within `body`.

    The word embedding [vocabulary, hidden] and every linear layer [out, in] of the Transformer
    layers, as far as a glob pattern names them; never biases, LayerNorm, position, relative or
    token-type embeddings, nor the pooler, nor what stands beside the layers (the projection of
    ELECTRA's embeddings, the convolution of some DeBERTa). A matrix that computes several things
    at once (ModernBERT's `Wqkv`, DeBERTa's `in_proj`) is one matrix: its weights are ranked
    together. `body` is the encoder without any head.

    Raises UnsupportedModelError where a mask would miss weights of a layer or two layers share
    them, and ValueError for a pattern that names nothing.
    """
    layers = _transformer_layers(body)
    chosen = _layer_matrices(body, layers)
    embedding = getattr(body, "get_input_embeddings", lambda: None)()
    if not isinstance(embedding, nn.Embedding):
        raise UnsupportedModelError(f"{type(body).__name__} has no word embedding matrix")
    chosen.add(id(embedding.weight))
    named = [
        (name, parameter)
        for name, parameter in body.named_parameters(remove_duplicate=False)
        if id(parameter) in chosen
    ]
    if len(named) != len(chosen):
        raise UnsupportedModelError(
            f"{type(body).__name__} shares matrices between layers: "
            "they cannot be masked one by one"
        )
    return _matching(dict(named), tuple(patterns))


def _layer_matrices(body: nn.Module, layers: nn.ModuleList) -> set[int]:
    """Identities of the layers' linear weights, which must be all that a layer multiplies with."""
    found: set[int] = set()
    for name, module in layers.named_modules():
        for own, parameter in module.named_parameters(recurse=False):
            if isinstance(module, nn.Linear) and own == "weight":
                found.add(id(parameter))
            elif parameter.ndim > 1 and not isinstance(module, nn.Embedding):
                raise UnsupportedModelError(
                    f"{name}.{own} in the layers of {type(body).__name__} belongs to a "
                    f"{type(module).__name__}; only linear layers can be masked"
                )
    return found


def _matching(
    matrices: dict[str, nn.Parameter], patterns: tuple[str, ...]
) -> dict[str, nn.Parameter]:
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in matrices):
            # One line for all layers, itself a pattern that can be used.
            known = dict.fromkeys(re.sub(r"\.\d+\.", ".*.", name) for name in matrices)
            raise ValueError(f"no matrix is named {pattern!r}; there are {', '.join(known)}")
    return {
        name: matrix
        for name, matrix in matrices.items()
        if any(fnmatchcase(name, pattern) for pattern in patterns)
    }


def _transformer_layers(body: nn.Module) -> nn.ModuleList:
    """Return the one list of layers of one class."""
    lists = [
        (name, module)
        for name, module in body.named_modules()
        if isinstance(module, nn.ModuleList)
        and any(isinstance(inner, nn.Linear) for inner in module.modules())
    ]
    # Lists inside a layer are the layer's own affair.
    outer = [
        (name, module)
        for name, module in lists
        if not any(name.startswith(f"{other}.") for other, _ in lists)
    ]
    if not outer:
        raise UnsupportedModelError(
            f"{type(body).__name__} has no list of Transformer layers with linear weights; "
            "supported are BERT, RoBERTa and encoders built like them"
        )
    if len(outer) > 1:
        raise UnsupportedModelError(
            f"{type(body).__name__} has {len(outer)} lists of layers "
            f"({', '.join(name for name, _ in outer)}); supported are encoders with one"
        )
    name, layers = outer[0]
    if len({type(layer) for layer in layers}) != 1:
        raise UnsupportedModelError(f"{type(body).__name__} has unlike layers in {name}")
    expected = getattr(getattr(body, "config", None), "num_hidden_layers", len(layers))
    if len(layers) != expected:
        raise UnsupportedModelError(
            f"{type(body).__name__} runs {expected} layers but owns {len(layers)}: "
            "matrices shared between layers cannot be masked one by one"
        )
    return layers
