"""What a unit's config speaks of, made: the model, the text it reads, the settings of its steps."""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor

from tamt_ray.data.blocks import load_blocks, load_paragraphs
from tamt_ray.data.checkpoint import load_checkpoint
from tamt_ray.data.file import read_file
from tamt_ray.masks.file import MaskFileError
from tamt_ray.masks.given import given_mask
from tamt_ray.masks.mask import Mask
from tamt_ray.plan.config import GivenConfig, HeadConfig, ImpConfig, TamtConfig
from tamt_ray.search.engine import Settings
from tamt_ray.search.language_model import LanguageModel
from tamt_ray.search.masking import Stream
from tamt_ray.search.objective import Terms
from tamt_ray.values.model import Model
from tamt_ray.values.optimizer import Optimizer
from tamt_ray.values.training import Training

TERMS: Mapping[str, Terms] = {"tamt_mlm": "mlm", "tamt_kd": "kd", "tamt_mlm_kd": "mlm_kd"}
"""What each method's objective is made of."""

Trained = HeadConfig | ImpConfig | TamtConfig


def language_model(
    described: Model, device: torch.device, head: Mapping[str, Tensor] | None = None
) -> LanguageModel:
    """θ0 with the MLM head it was published with, or with `head`. Raises SourceError."""
    path = load_checkpoint(described.source).path
    return LanguageModel(path, head, device, prune=described.prune, pooler=described.pooler)


def given(config: GivenConfig, weights: Mapping[str, Tensor]) -> tuple[Mask, str]:
    """The mask in the file that covers `weights`, and the sha256 of the file, in hex.

    Raises SourceError or MaskFileError; both name the file.
    """
    data = read_file(config.file)
    try:
        return given_mask(data, weights, config.sparsity), hashlib.sha256(data).hexdigest()
    except MaskFileError as error:
        raise MaskFileError(f"{config.file}: {error}") from error


def settings(config: Trained) -> Settings:
    """How the unit's steps are made, and how many."""
    if isinstance(config, HeadConfig):
        head = config.training
        training = Training(
            batch_size=head.batch_size, micro_batch=head.micro_batch, horizon=head.steps
        )
        return Settings(training, Optimizer(lr=head.lr), head.steps, head.seed)
    return Settings(config.training, config.optimizer, config.steps, config.seed)


def stream(config: Trained) -> Stream:
    """The training text, batch by batch. Raises SourceError."""
    paragraphs = isinstance(config, TamtConfig) and config.distillation.kd_text == "paragraphs"
    text = (load_paragraphs if paragraphs else load_blocks)(
        config.corpus, "train", config.model.source
    )
    given = settings(config)
    first = 0 if isinstance(config, HeadConfig) else config.first
    return Stream(text, given.training.batch_size, given.seed, config.corpus.mlm_probability, first)
