"""The pooler's matrix, which masked language models are loaded without."""

from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor
from transformers import AutoModel, PreTrainedConfig

from tamt_ray.masks.matrices import POOLER, UnsupportedModelError


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
