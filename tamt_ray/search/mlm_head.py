"""The MLM head, from an encoder's last hidden state to its logits, and the pooler's matrix."""

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput, MaskedLMOutput

from tamt_ray.masks.matrices import POOLER, UnsupportedModelError

Decoder = nn.Linear | nn.Embedding
"""The module with the output embedding [vocabulary, hidden]."""


class MlmHead:
    """The head of a masked language model without its body.

    It runs the model's own forward pass from the hidden states on, so it needs no knowledge of how
    an architecture names the parts of its head.
    """

    module: nn.Module
    """The parts with weights: the one that BERT and RoBERTa have, or all of them by name."""
    decoder: Decoder

    def __init__(self, model: PreTrainedModel, embedding: str, frozen: nn.Parameter) -> None:
        """Take the body out of `model` and let the decoder read `frozen` [vocabulary, hidden].

        `embedding` is the name in the body of the word embedding that the decoder is tied to.
        Raises UnsupportedModelError where it is not.
        """
        body: nn.Module = model.base_model
        tied = body.get_parameter(embedding)
        parts = {
            name: part
            for name, part in model.named_children()
            if part is not body and next(part.parameters(), None) is not None
        }
        decoder: Decoder | None = None
        for called, part in parts.items():
            for module in part.modules():
                if isinstance(module, nn.Linear) and module.weight is tied:
                    decoder = module
            for name, weight in part.named_parameters():
                if weight.ndim > 1 and len(tied) in weight.shape and weight is not tied:
                    raise UnsupportedModelError(
                        f"{type(model).__name__} has a decoder matrix of its own "
                        f"({called}.{name}); supported are models whose decoder is tied to the "
                        "word embedding"
                    )
        stand_in = _HandOn()
        if decoder is None:
            # The head borrows the embedding from the body, as DeBERTa's newer one does.
            decoder = nn.Embedding(tied.shape[0], tied.shape[1], device="meta")
            stand_in.place(embedding.removesuffix(".weight"), decoder)
        decoder.weight = frozen
        setattr(model, model.base_model_prefix, stand_in)
        self.decoder = decoder
        self.module = next(iter(parts.values())) if len(parts) == 1 else nn.ModuleDict(parts)
        self._forward: Callable[..., MaskedLMOutput] = model.forward

    def __call__(self, hidden: Tensor) -> Tensor:
        """Return [tokens, vocabulary] for hidden states [tokens, hidden]."""
        logits = self._forward(inputs_embeds=hidden[None], return_dict=True).logits
        assert logits is not None
        return logits[0]


class _HandOn(nn.Module):
    """Stands where the body was and gives on what it is given."""

    def forward(self, *_others: object, inputs_embeds: Tensor, **_named: object) -> BaseModelOutput:
        """Return the hidden states that came in as embeddings."""
        return BaseModelOutput(last_hidden_state=inputs_embeds)  # pyright: ignore

    def place(self, path: str, module: nn.Module) -> None:
        """Put a module where the body had one."""
        *above, last = path.split(".")
        inner: nn.Module = self
        for name in above:
            inner.add_module(name, nn.Module())
            inner = inner.get_submodule(name)
        inner.add_module(last, module)


def read_pooler(path: Path, config: PreTrainedConfig) -> Tensor:
    """`pooler.dense.weight` [hidden, hidden] of a checkpoint, float32 on the CPU.

    Raises UnsupportedModelError where the architecture has none or the checkpoint lacks it.
    """
    with torch.device("meta"):
        body = AutoModel.from_config(config)
    if POOLER not in dict(body.named_parameters()):
        raise UnsupportedModelError(f"{type(body).__name__} has no {POOLER}; set `pooler: false`")
    names = (POOLER, f"{body.base_model_prefix}.{POOLER}")
    for file in sorted(path.glob("*.safetensors")):
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118
                if name in names:
                    return tensors.get_tensor(name).float()
    raise UnsupportedModelError(
        f"the checkpoint has no {POOLER}, as it was published without a trained pooler; "
        "set `pooler: false`"
    )
