"""The MLM head of an encoder that was published without one."""

import torch
from torch import Tensor

from tamt_ray.data.history import History
from tamt_ray.data.seeds import derive
from tamt_ray.search.engine import Engine, Progress, Settings
from tamt_ray.search.language_model import LanguageModel
from tamt_ray.search.masking import Stream
from tamt_ray.search.objective import Objective
from tamt_ray.search.state import Keeper
from tamt_ray.search.team import Team


def train_head(
    model: LanguageModel,
    stream: Stream,
    settings: Settings,
    team: Team,
    progress: Progress | None = None,
    *,
    keeper: Keeper | None = None,
) -> tuple[dict[str, Tensor], History]:
    """Parameters of the head trained on the frozen dense encoder, and the loss curve.

    The transform starts as the identity with a fresh LayerNorm, so that the frozen, tied decoder
    sees the encoder's own hidden states first.
    """
    generator = torch.Generator().manual_seed(derive(settings.seed, "head"))
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for name, parameter in model.head_parameters().items():
        parameter.requires_grad_(True)
        with torch.no_grad():
            if parameter.ndim == 2:
                noise = torch.randn(parameter.shape, generator=generator) * 0.02
                parameter.copy_(torch.eye(*parameter.shape) + noise)
            else:
                parameter.fill_(1.0 if "norm" in name.lower() and name.endswith("weight") else 0.0)
    parameters = list(model.head_parameters().values())
    engine = Engine(Objective(model, "mlm"), parameters, stream, settings, team, keeper)
    engine.run(progress=progress)
    return {
        name: parameter.detach().cpu().clone()
        for name, parameter in model.head_parameters().items()
    }, engine.history
