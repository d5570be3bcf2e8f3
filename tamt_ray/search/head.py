"""The MLM head of an encoder that was published without one."""

import torch
from torch import Tensor, nn

from tamt_ray.data.history import History
from tamt_ray.data.seeds import derive
from tamt_ray.objectives.mlm import Mlm
from tamt_ray.search.engine import Settings, train
from tamt_ray.search.language_model import LanguageModel
from tamt_ray.search.mlm_corruption import Stream
from tamt_ray.search.process_group import ProcessGroup
from tamt_ray.search.state import Checkpointer, Stateful
from tamt_ray.values.base import OnProgress


def train_head(
    model: LanguageModel,
    stream: Stream,
    settings: Settings,
    group: ProcessGroup,
    progress: OnProgress | None = None,
    *,
    checkpointer: Checkpointer | None = None,
) -> tuple[dict[str, Tensor], History]:
    """Train the head on the frozen dense encoder; return its parameters and the loss curve."""
    head = _Head(model, settings.seed)
    history = train(
        model, [Mlm()], head, stream, settings, group, progress, checkpointer=checkpointer
    )
    weights = model.head_parameters()
    return {name: weight.detach().cpu().clone() for name, weight in weights.items()}, history


class _Head(Stateful):
    """A fresh head under training.

    The transform starts as the identity with a fresh LayerNorm, so that the frozen, tied decoder
    sees the encoder's own hidden states first.
    """

    def __init__(self, model: LanguageModel, seed: int) -> None:
        self._model = model
        generator = torch.Generator().manual_seed(derive(seed, "head"))
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        for name, parameter in model.head_parameters().items():
            parameter.requires_grad_(True)
            with torch.no_grad():
                if parameter.ndim == 2:
                    noise = torch.randn(parameter.shape, generator=generator) * 0.02
                    parameter.copy_(torch.eye(*parameter.shape) + noise)
                else:
                    norm = "norm" in name.lower() and name.endswith("weight")
                    parameter.fill_(1.0 if norm else 0.0)

    def parameters(self) -> list[nn.Parameter]:
        return list(self._model.head_parameters().values())
