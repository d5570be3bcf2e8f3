"""A masked language model taken apart: body, head and a decoder that keeps the dense embedding."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import AutoModelForMaskedLM, PreTrainedModel
from transformers.utils import logging as transformers_logging

from tamt_ray.masks.matrices import UnsupportedModelError, prunable_matrices


class LanguageModel(nn.Module):
    """θ0 with its MLM head. `matrices` are the body's own prunable weights, by name.

    The decoder is untied: it reads `dense`, the frozen embedding of θ0, so that a mask on the
    input embedding leaves it dense (PAPER §1).
    """

    def __init__(
        self,
        path: Path,
        head: Mapping[str, Tensor] | None = None,
        device: torch.device | None = None,
    ) -> None:
        """`head` replaces the published MLM head.

        Raises UnsupportedModelError, also where the encoder's own weights are not all there.
        """
        super().__init__()
        transformers_logging.set_verbosity_error()
        transformers_logging.disable_progress_bar()
        model, info = AutoModelForMaskedLM.from_pretrained(
            path, dtype=torch.float32, use_safetensors=True, local_files_only=True,
            trust_remote_code=False, output_loading_info=True,
        )  # fmt: skip
        assert isinstance(model, PreTrainedModel)
        prefix = f"{model.base_model_prefix}."
        body = [key for key in info["missing_keys"] if key.startswith(prefix)]
        if body:
            raise UnsupportedModelError(
                f"the checkpoint lacks {len(body)} weights of the encoder, {min(body)} among them"
            )
        nn.Module.to(model, device or torch.device("cpu"))
        self.body: nn.Module = model.base_model
        self.matrices = prunable_matrices(self.body)
        self.dense = {name: weight.detach().clone() for name, weight in self.matrices.items()}
        self.head = _head_of(model)
        decoder = model.get_output_embeddings()
        assert isinstance(decoder, nn.Linear)
        embedding = self.body.get_input_embeddings().weight  # pyright: ignore
        self.embedding = next(name for name, w in self.matrices.items() if w is embedding)
        if decoder.weight is not embedding:
            raise UnsupportedModelError(
                f"{type(model).__name__} has a decoder matrix of its own; supported are models "
                "whose decoder is tied to the word embedding"
            )
        decoder.weight = nn.Parameter(self.dense[self.embedding], requires_grad=False)
        self.decoder = decoder
        self.has_published_head = not info["missing_keys"]
        if head is not None:
            self.load_head(head)

    def head_parameters(self) -> dict[str, nn.Parameter]:
        """What trains in the head: transform, LayerNorm and the output bias; not the decoder."""
        return {
            name: parameter
            for name, parameter in self.head.named_parameters()
            if parameter is not self.decoder.weight
        }

    def load_head(self, head: Mapping[str, Tensor]) -> None:
        """Replace the head's own parameters. Raises ValueError if it is another model's."""
        ours = self.head_parameters()
        if ours.keys() != head.keys():
            raise ValueError(f"the head has {sorted(head)}, the model needs {sorted(ours)}")
        with torch.no_grad():
            for name, parameter in ours.items():
                parameter.copy_(head[name])

    def hidden_states(self, ids: Tensor) -> tuple[Tensor, ...]:
        """Output of every layer, [batch, length, hidden] each; the embedding's is left out."""
        return self.body(input_ids=ids, output_hidden_states=True).hidden_states[1:]

    def last_hidden(self, ids: Tensor) -> Tensor:
        """Output of the last layer, [batch, length, hidden]."""
        return self.body(input_ids=ids).last_hidden_state

    def logits(self, hidden: Tensor) -> Tensor:
        """[tokens, vocabulary] for hidden states [tokens, hidden]."""
        return self.head(hidden)

    @torch.no_grad()
    def teacher_states(self, ids: Tensor) -> tuple[Tensor, ...]:
        """`hidden_states` of the dense model in eval mode, read from the frozen weights."""
        training = self.body.training
        self.body.eval()
        try:
            output = torch.func.functional_call(
                self.body, self.dense, (), {"input_ids": ids, "output_hidden_states": True}
            )
        finally:
            self.body.train(training)
        return output.hidden_states[1:]


def _head_of(model: PreTrainedModel) -> nn.Module:
    """The one module beside the body that turns hidden states into logits."""
    heads = [child for child in model.children() if child is not model.base_model]
    if len(heads) != 1:
        raise UnsupportedModelError(
            f"{type(model).__name__} has {len(heads)} modules beside its encoder where one MLM "
            "head is expected; supported are BERT, RoBERTa and models built like them"
        )
    return heads[0]
