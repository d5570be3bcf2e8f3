"""An encoder with a task head, kept in memory between fine-tunes."""

import copy
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
import transformers
from torch import Tensor, nn
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.utils.generic import ModelOutput

from tamt_ray.data.checkpoint import Checkpoint, quiet_transformers
from tamt_ray.data.device import whole_mask
from tamt_ray.data.seeds import derive
from tamt_ray.finetune.vocabulary import Vocabulary
from tamt_ray.masks.mask import Mask
from tamt_ray.masks.matrices import POOLER, prunable_matrices
from tamt_ray.tasks.base import Task
from tamt_ray.tasks.features.examples import Indices
from tamt_ray.values.model import Model

HeadOutputs = Callable[[ModelOutput], Tensor]
"""Takes from the output of an architecture's head what a loss reads."""
_Key = tuple[str, int, HeadOutputs]
_MEAN = "mean"
_STD = 0.02
"""Standard deviation of new weights, as BERT was initialised."""
_TRIAL = 8
"""Tokens of a trial."""


class Network(nn.Module):
    """Maps tokens to what a task's loss reads: [batch, classes], or [batch, tokens, 2] of spans."""

    def __init__(self, body: PreTrainedModel) -> None:
        super().__init__()
        self.body = body

    def inputs(self, inputs: Mapping[str, Tensor], *, padded: bool) -> dict[str, Tensor | None]:
        """Return the inputs of the body; without a mask where no row is padded."""
        mask = whole_mask(inputs["attention_mask"], self.body.config) if padded else None
        return {**inputs, "attention_mask": mask}


class NativeHead(Network):
    """The architecture's own head on the shared body."""

    def __init__(self, body: PreTrainedModel, whole: PreTrainedModel, read: HeadOutputs) -> None:
        """`read` takes from the output what the loss reads."""
        super().__init__(body)
        self.whole = whole
        self.read = read

    def forward(self, inputs: Mapping[str, Tensor], *, padded: bool = True) -> Tensor:
        """Outputs of the head."""
        return self.read(self.whole(**self.inputs(inputs, padded=padded)))


class MeanHead(Network):
    """A linear layer on the mean of the last hidden states over real tokens."""

    def __init__(self, body: PreTrainedModel, config: PreTrainedConfig, labels: int) -> None:
        super().__init__(body)
        own = getattr(config, "classifier_dropout", None)
        general: float = getattr(config, "hidden_dropout_prob", 0.1)
        self.dropout = nn.Dropout(general if own is None else own)
        self.linear = nn.Linear(config.hidden_size, labels)

    def forward(self, inputs: Mapping[str, Tensor], *, padded: bool = True) -> Tensor:
        """Class outputs."""
        hidden: Tensor = self.body(**self.inputs(inputs, padded=padded)).last_hidden_state
        real = inputs["attention_mask"].unsqueeze(-1).to(hidden.dtype)
        return self.linear(self.dropout((hidden * real).sum(dim=1) / real.sum(dim=1)))


class Encoder:
    """θ0 on a device; every network made from it shares its weights, so one is in use at a time."""

    def __init__(self, checkpoint: Checkpoint, device: torch.device) -> None:
        """Raises ValueError where the checkpoint lacks weights of its own architecture."""
        with quiet_transformers():
            loaded: tuple[PreTrainedModel, dict[str, set[str]]] = AutoModel.from_pretrained(
                checkpoint.path,
                dtype=torch.float32,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
        self.body, report = loaded
        lacking = {name for name in report["missing_keys"] if not name.startswith("pooler.")}
        if lacking or report["mismatched_keys"]:
            example = sorted(lacking or report["mismatched_keys"])[0]
            raise ValueError(f"{checkpoint.path}: the weights of {example!r} are missing")
        self.fingerprint = checkpoint.fingerprint
        self._device = device
        self._new = report["missing_keys"]
        self._original = {name: p.detach().clone() for name, p in self.body.named_parameters()}
        self._vocabulary = Vocabulary.find(self.body, self._original)
        self.body.to(device)  # pyright: ignore[reportArgumentType]
        self._networks: dict[_Key, Network] = {}
        self._tried: set[_Key] = set()

    def network(
        self, model: Model, task: Task, seed: int, tokens: Indices | None = None
    ) -> Network:
        """θ0 with a head for the task; whatever is not pre-trained depends on the seed only.

        Given the `tokens` that it will read, in ascending order, it has no other words. Raises
        ValueError for tokens of another vocabulary.
        """
        key = _key(model, task)
        if key not in self._networks:
            self._networks[key] = self._mean(task) if key[0] == _MEAN else self._native(task)
        network = self._networks[key]
        replaced = None
        known = self.body.config.vocab_size
        if tokens is not None and tokens[-1] >= known:
            raise ValueError(f"the tokenizer gives token {tokens[-1]}; the model knows {known}")
        if self._vocabulary is not None:
            self._vocabulary.reset(tokens, self._device)
            replaced = self._vocabulary.parameter
        with torch.no_grad():
            for name, parameter in self.body.named_parameters():
                if name != replaced:
                    parameter.copy_(self._original[name])
        generator = torch.Generator().manual_seed(derive("head", seed))
        inside = {id(module) for module in self.body.modules()}
        _initialise([m for m in network.modules() if id(m) not in inside], generator)
        if self._new:
            _initialise(list(self.body.get_submodule("pooler").modules()), generator)
        return network

    @torch.no_grad()
    def try_out(self, model: Model, task: Task) -> None:
        """Run a network for the task on a few tokens, once for tasks with heads alike. Raises
        ValueError where it does not work."""
        if (key := _key(model, task)) in self._tried:
            return
        ids = torch.arange(_TRIAL, device=self._device)[None] % self.body.config.vocab_size
        network = self.network(model, task, 0).eval()
        try:
            network({"input_ids": ids, "attention_mask": torch.ones_like(ids)})
        except (AttributeError, LookupError, TypeError) as error:
            raise ValueError(
                f"{type(self.body).__name__} does not work with a head for {task.words}: {error}"
            ) from error
        self._tried.add(key)

    def masked(self, mask: Mask) -> tuple[dict[str, nn.Parameter], Mask]:
        """Return the weights of the latest network that a mask covers, by name, and the mask on
        them.

        A mask covers all prunable matrices, or some. Of the word embedding's mask, the rows of the
        network's own words are returned. A mask on a pooler that the network does not use has no
        effect. Raises ValueError for the mask of another model.
        """
        matrices = prunable_matrices(self.body)
        pooler = dict(self.body.named_parameters()).get(POOLER)
        if pooler is not None and not self._new:
            matrices[POOLER] = pooler
        unknown = sorted(mask.keys() - matrices.keys())
        if unknown:
            raise ValueError(
                f"the mask is another model's: {type(self.body).__name__} has no published "
                f"{unknown[0]} that could be pruned"
            )
        mask.check_covers({name: self._original[name] for name in mask})
        here = mask if self._vocabulary is None else self._vocabulary.rows(mask)
        return {name: matrices[name] for name in mask}, here

    def save(self, folder: Path) -> None:
        """Write the current body, without parts that are not pre-trained, for `from_pretrained`."""
        kept = {name: w for name, w in self.body.state_dict().items() if name not in self._new}
        self.body.save_pretrained(folder, state_dict=kept)

    def longest(self) -> int | None:
        """Tokens that the position embeddings allow; None where there is no such limit."""
        positions = getattr(getattr(self.body, "embeddings", None), "position_embeddings", None)
        if not isinstance(positions, nn.Embedding):
            return None
        # RoBERTa counts positions from behind its padding index.
        reserved = 0 if positions.padding_idx is None else positions.padding_idx + 1
        return positions.num_embeddings - reserved

    def _mean(self, task: Task) -> Network:
        return MeanHead(self.body, self.body.config, task.outputs).to(self._device)

    def _native(self, task: Task) -> Network:
        config = copy.deepcopy(self.body.config)
        config.num_labels = task.outputs
        config.return_dict = True
        head = getattr(transformers, task.auto_class)
        try:
            with torch.device("meta"), quiet_transformers():
                whole: PreTrainedModel = head.from_config(config, dtype=torch.float32)
        except ValueError as error:
            raise ValueError(
                f"transformers has no {task.auto_class} for {config.model_type}"
            ) from error
        prefix = whole.base_model_prefix
        if type(getattr(whole, prefix)) is not type(self.body):
            raise ValueError(f"{type(whole).__name__} is not built on {type(self.body).__name__}")
        setattr(whole, prefix, self.body)
        for name, child in whole.named_children():
            if name != prefix:
                child.to_empty(device=self._device)
                if next(child.buffers(), None) is not None:
                    raise ValueError(f"cannot initialise the buffers of {type(whole).__name__}")
        return NativeHead(self.body, whole, task.head_outputs)


def _key(model: Model, task: Task) -> _Key:
    """Return the kind of head that a task has on a model."""
    mean = task.pooled and model.pooling == "mean"
    return _MEAN if mean else task.auto_class, task.outputs, task.head_outputs


def _initialise(modules: list[nn.Module], generator: torch.Generator) -> None:
    """New weights as in BERT: normal with std 0.02, biases zero, LayerNorm the identity."""
    with torch.no_grad():
        for module in modules:
            if isinstance(module, nn.Linear):
                weight = torch.empty(module.weight.shape).normal_(0, _STD, generator=generator)
                module.weight.copy_(weight)
                if module.bias is not None:  # pyright: ignore[reportUnnecessaryComparison]
                    module.bias.zero_()
            elif isinstance(module, nn.LayerNorm):
                module.reset_parameters()
            elif list(module.parameters(recurse=False)):
                raise ValueError(f"cannot initialise a {type(module).__name__} of a task head")
