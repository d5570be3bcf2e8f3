"""Which matrices of an encoder can be pruned, found in its module structure."""

from torch import nn


class UnsupportedModelError(ValueError):
    """No prunable matrices can be told apart in this model; the message says why."""


def prunable_matrices(body: nn.Module) -> dict[str, nn.Parameter]:
    """The weights that a mask covers, by name within `body` (PAPER §1).

    The word embedding [vocabulary, hidden] and every linear layer [out, in] of the Transformer
    layers; never biases, LayerNorm, position or token-type embeddings, nor the pooler. `body` is
    the encoder without any head. Raises UnsupportedModelError.
    """
    layers = _transformer_layers(body)
    chosen = {id(module.weight) for module in layers.modules() if isinstance(module, nn.Linear)}
    embedding = getattr(body, "get_input_embeddings", lambda: None)()
    if not isinstance(embedding, nn.Embedding):
        raise UnsupportedModelError(f"{type(body).__name__} has no word embedding matrix")
    chosen.add(id(embedding.weight))
    matrices = {
        name: parameter for name, parameter in body.named_parameters() if id(parameter) in chosen
    }
    if len(matrices) != len(chosen):
        raise UnsupportedModelError(f"{type(body).__name__} shares matrices between layers")
    return matrices


def _transformer_layers(body: nn.Module) -> nn.ModuleList:
    """The longest list of equal modules that hold linear layers."""
    candidates = [
        module
        for module in body.modules()
        if isinstance(module, nn.ModuleList)
        and len({type(child) for child in module}) == 1
        and any(isinstance(inner, nn.Linear) for inner in module.modules())
    ]
    if not candidates:
        raise UnsupportedModelError(
            f"{type(body).__name__} has no list of Transformer layers with linear weights; "
            "supported are BERT, RoBERTa and encoders built like them"
        )
    layers = max(candidates, key=len)
    expected = getattr(getattr(body, "config", None), "num_hidden_layers", len(layers))
    if len(layers) != expected:
        raise UnsupportedModelError(
            f"{type(body).__name__} runs {expected} layers but owns {len(layers)}: "
            "matrices shared between layers cannot be masked one by one"
        )
    return layers
