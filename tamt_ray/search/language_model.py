"""A masked language model taken apart: body, head and a decoder that keeps the dense embedding."""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForMaskedLM, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput
from transformers.utils import logging as transformers_logging

from tamt_ray.data.device import send, whole_mask
from tamt_ray.data.tokens import Special
from tamt_ray.masks.mask import Mask
from tamt_ray.masks.matrices import POOLER, UnsupportedModelError, prunable_matrices
from tamt_ray.search.mlm_head import MlmHead, read_pooler

Reads = Set[str]
"""Outputs of a forward pass beside the last layer's: `states`, `attentions`."""

_TRIAL = 8
"""Tokens of the trial that every model passes when it is loaded."""


@dataclass(frozen=True)
class BodyOutputs:
    """Outputs of the body; those that were not asked for are empty.

    `last` [batch, length, hidden]: the last layer's. `states`: every layer's, the embedding's left
    out; the last is `last`, so behind the final norm where the body has one. `attentions`: every
    layer's maps, [batch, heads, length, length] each.
    """

    last: Tensor
    states: tuple[Tensor, ...] = ()
    attentions: tuple[Tensor, ...] = ()


class LanguageModel(nn.Module):
    """θ0 with its MLM head.

    `matrices` are the body's own prunable weights, by name. `dense` holds the frozen values of all
    masked matrices: theirs, and the pooler's where it is masked too. The pooler takes no part in
    any objective, so it has no trained weight here.
    The decoder is untied: it reads a frozen copy of the word embedding, so that a mask on the input
    embedding leaves it dense.
    """

    def __init__(
        self,
        path: Path,
        head: Mapping[str, Tensor] | None = None,
        device: torch.device | None = None,
        *,
        prune: tuple[str, ...] = ("*",),
        pooler: bool = False,
    ) -> None:
        """`head` replaces the published MLM head; `prune` are patterns of `prunable_matrices`.

        Raises UnsupportedModelError, also where weights of the encoder are not all there, or where
        a trial on a few tokens shows that the parts are not the model; ValueError for a pattern
        that names nothing or a head of another model.
        """
        super().__init__()
        model, lacking = _load(path)
        nn.Module.to(model, device or torch.device("cpu"))
        trial = torch.arange(_TRIAL, device=model.device)[None] % model.config.vocab_size
        expected = _logits(model, trial)
        self.body: nn.Module = model.base_model
        self.config = model.config
        self.matrices = prunable_matrices(self.body, prune)
        self.dense = {name: weight.detach().clone() for name, weight in self.matrices.items()}
        words = self.body.get_input_embeddings().weight  # pyright: ignore
        self.embedding = next(name for name, w in self.body.named_parameters() if w is words)
        frozen = self.dense.get(self.embedding)
        if frozen is None:
            frozen = words.detach().clone()
        mlm = MlmHead(model, self.embedding, nn.Parameter(frozen, requires_grad=False))
        self.head = mlm.module
        self.decoder = mlm.decoder
        self._logits_of = mlm
        self._try_out(trial, expected, model.config.num_hidden_layers)
        if pooler:
            self.dense[POOLER] = read_pooler(path, model.config).to(model.device)
        self.has_published_head = not lacking
        if head is not None:
            self.load_head(head)

    def check_reads(self, special: Special) -> None:
        """Raises ValueError for tokens of another vocabulary.

        On a GPU such a token kills the process, with an error long after.
        """
        known = self.decoder.weight.shape[0]
        if special.vocabulary > known:
            raise ValueError(f"the tokenizer has {special.vocabulary} tokens; the model {known}")

    def check_heads(self, heads: int | None) -> None:
        """Raises ValueError for another number of attention heads than the model has."""
        ours = self.config.num_attention_heads
        if heads not in {None, ours}:
            raise ValueError(f"the model has {ours} attention heads per layer, not {heads}")

    def head_parameters(self) -> dict[str, nn.Parameter]:
        """Return the head's trained parameters: transform, LayerNorm and output bias."""
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

    @torch.no_grad()
    def prune(self, mask: Mask) -> None:
        """Set pruned weights to zero. Raises ValueError for a mask that does not cover `dense`."""
        mask.check_covers(self.dense)
        for name, weight in self.matrices.items():
            weight.mul_(send(mask[name], weight.device))

    def prepare(self, reads: Reads) -> None:
        """Make the body able to give these outputs: fused kernels keep no attention maps."""
        if "attentions" in reads:
            self.body.set_attn_implementation("eager")  # pyright: ignore

    def outputs(
        self,
        ids: Tensor,
        attention_mask: Tensor | None = None,
        reads: Reads = frozenset(),
        *,
        segments: Tensor | None = None,
    ) -> BodyOutputs:
        """Run the body; where `attention_mask` [batch, length] is 0 stands padding.

        `segments` alike, 0 or 1, is left out for a model that tells no segments apart.
        """
        return _outputs(self.body(**self._inputs(ids, attention_mask, reads, segments)))

    def logits(self, hidden: Tensor) -> Tensor:
        """Return [tokens, vocabulary] for hidden states [tokens, hidden]."""
        return self._logits_of(hidden)

    @torch.no_grad()
    def teacher_outputs(
        self,
        ids: Tensor,
        attention_mask: Tensor | None = None,
        reads: Reads = frozenset(),
        *,
        segments: Tensor | None = None,
        dropout: bool = False,
    ) -> BodyOutputs:
        """Run the dense model, read from the frozen weights.

        In eval mode, or in train mode with `dropout`, which draws from torch's generator.
        """
        dense = {name: self.dense[name] for name in self.matrices}
        inputs = self._inputs(ids, attention_mask, reads, segments)
        training = self.body.training
        self.body.train(dropout)
        try:
            return _outputs(torch.func.functional_call(self.body, dense, (), inputs))
        finally:
            self.body.train(training)

    def _inputs(
        self, ids: Tensor, real: Tensor | None, reads: Reads, segments: Tensor | None
    ) -> dict[str, Tensor | bool | None]:
        mask = None if real is None else whole_mask(real, self.config)
        found: dict[str, Tensor | bool | None] = {"input_ids": ids, "attention_mask": mask}
        if segments is not None and getattr(self.config, "type_vocab_size", 0) > 1:
            found["token_type_ids"] = segments
        if "states" in reads:
            found["output_hidden_states"] = True
        if "attentions" in reads:
            found["output_attentions"] = True
        return found

    @torch.enable_grad()
    def _try_out(self, ids: Tensor, expected: Tensor, layers: int) -> None:
        """Refuse a model that body and head do not reproduce, or a matrix that gets no gradient.

        `expected` [1, tokens, vocabulary] are the logits of the whole model.
        """
        kind = type(self.body).__name__
        try:
            states = self.outputs(ids, reads={"states"}).states
            logits = self.logits(states[-1][0])
        except (AttributeError, TypeError) as error:
            raise UnsupportedModelError(f"{kind} cannot be taken apart: {error}") from error
        if len(states) != layers:
            raise UnsupportedModelError(f"{kind} shows {len(states)} states of {layers} layers")
        if not torch.allclose(logits, expected[0], rtol=1e-3, atol=1e-4):
            raise UnsupportedModelError(
                f"the logits of {kind} are not made of its last hidden state alone"
            )
        gradients = torch.autograd.grad(
            logits.sum(), list(self.matrices.values()), allow_unused=True
        )
        unreached = [
            name
            for name, got in zip(self.matrices, gradients, strict=True)
            if got is None  # pyright: ignore[reportUnnecessaryComparison]
        ]
        if unreached:
            raise UnsupportedModelError(
                f"no gradient reaches {len(unreached)} matrices of {kind}, {unreached[0]} among "
                "them, so no search can rank them; leave them out with `prune`"
            )


def _load(path: Path) -> tuple[PreTrainedModel, set[str]]:
    """Return the whole model in eval mode, and which weights the checkpoint lacks, none of its
    encoder."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        model, info = AutoModelForMaskedLM.from_pretrained(
            path, dtype=torch.float32, use_safetensors=True, local_files_only=True,
            trust_remote_code=False, output_loading_info=True,
        )  # fmt: skip
    except (OSError, ValueError):
        raise
    except Exception as error:
        raise UnsupportedModelError(
            f"config.json and weights make no model: {_mismatch(path) or _one_line(error)}"
        ) from error
    assert isinstance(model, PreTrainedModel)
    for name, weight in model.named_parameters():
        # A sum is finite only where all of it is, and takes no memory.
        if not weight.detach().sum().isfinite():
            raise UnsupportedModelError(f"{name} holds weights that are NaN or infinite")
    prefix = f"{model.base_model_prefix}."
    body = [key for key in info["missing_keys"] if key.startswith(prefix)]
    if body:
        raise UnsupportedModelError(
            f"the checkpoint lacks {len(body)} weights of the encoder, {min(body)} among them"
        )
    return model, set(info["missing_keys"])


def _outputs(output: BaseModelOutput) -> BodyOutputs:
    assert output.last_hidden_state is not None
    states = (output.hidden_states or ())[1:]
    return BodyOutputs(
        states[-1] if states else output.last_hidden_state, states, output.attentions or ()
    )


def _mismatch(path: Path) -> str | None:
    """Return the first weight that has another shape than config.json gives it."""
    try:
        with torch.device("meta"):
            model = AutoModelForMaskedLM.from_config(
                AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
            )
    except Exception:  # noqa: BLE001 - whatever it is, it is what was raised before
        return None
    wanted = {name: list(weight.shape) for name, weight in model.state_dict().items()}
    for file in sorted(path.glob("*.safetensors")):
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118
                shape = tensors.get_slice(name).get_shape()
                if wanted.get(name, shape) != shape:
                    return f"{name} is {shape} in {file.name} and {wanted[name]} by config.json"
    return None


def _logits(model: PreTrainedModel, ids: Tensor) -> Tensor:
    """Return [1, tokens, vocabulary]. Raises UnsupportedModelError where the model cannot compute
    them."""
    try:
        with torch.no_grad():
            return model(input_ids=ids).logits
    except (RuntimeError, ArithmeticError, TypeError, IndexError) as error:
        raise UnsupportedModelError(
            f"{type(model).__name__} fails on {_TRIAL} tokens: {_one_line(error)}"
        ) from error


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
