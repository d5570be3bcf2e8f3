"""A search: the unit that finds one mask, what the system offers it, and what it returns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from tamt_ray.objectives.base import Objective
from tamt_ray.values.base import Fraction
from tamt_ray.values.config import Config, Lane
from tamt_ray.values.identity import identity
from tamt_ray.values.model import ModelSize
from tamt_ray.values.pattern import UNSTRUCTURED, Pattern
from tamt_ray.values.text import Text
from tamt_ray.values.training import Optimizer, Training

if TYPE_CHECKING:
    from torch import Tensor

    from tamt_ray.data.history import History
    from tamt_ray.data.tokens import Tokens
    from tamt_ray.masks.mask import Mask
    from tamt_ray.search.language_model import LanguageModel
    from tamt_ray.search.mlm_corruption import Corrupted
    from tamt_ray.search.state import Stateful


class Search(Config, ABC):
    """One mask to find: just the fields that decide it.

    A subclass has a field `method: Literal["name"] = "name"`. Nothing in this class assumes that
    anything is trained.
    """

    length: ClassVar[str | None] = None
    """Name of the field that holds the number of steps, where a longer search passes through the
    result of a shorter one that is alike in all else, so that one goes on from the other."""
    kind: Literal["search"] = "search"
    sparsity: Fraction
    pattern: Pattern = UNSTRUCTURED

    @property
    def label(self) -> str:
        """Name of its class in identities and records."""
        tag: Any = vars(self)["method"]
        return tag

    @property
    def below(self) -> str | None:
        """Id of the search that this one continues, whose iterations and time count as its own."""
        return None

    @property
    def iterations(self) -> int | None:
        """Optimiser steps behind the mask, those `below` included; None if unknown."""
        return 0

    @property
    def own_steps(self) -> int:
        """Optimiser steps of this unit alone."""
        return 0

    @property
    def travel(self) -> float | None:
        """Way that a score can go in its training, in thresholds; None where no score is trained
        towards a threshold."""
        return None

    @property
    def weight_bytes(self) -> float:
        """Bytes for each weight that its artifacts take beside the mask."""
        return 0.0

    @property
    def trajectory(self) -> str | None:
        """Id shared by the searches that differ in their `length` alone; None without a length."""
        if self.length is None:
            return None
        return identity(self.model_copy(update={self.length: 1}))

    @abstractmethod
    def find(self, bench: Bench) -> Found:
        """Compute the mask, by (fields of this value, content of the sources) alone.

        All workers of a gang call it together and return the same. This is the only function of a
        method that may import torch.
        """


class TrainedSearch(Search):
    """A search that trains on text in a gang."""

    lane: ClassVar[Lane] = "gang"
    text: Text
    training: Training
    optimizer: Optimizer
    seed: int
    steps: int
    head: str | None = None
    """Unit that trained the output head; None where the model has its own or none is read."""
    workers: int | None = None
    """Workers of a gang that sends rounded gradients: there they decide the result; else None."""

    @property
    def parents(self) -> tuple[str, ...]:
        return tuple(parent for parent in (self.below, self.head) if parent)

    @property
    def iterations(self) -> int:
        return self.steps

    @property
    def own_steps(self) -> int:
        return self.steps

    def step_operations(self, size: ModelSize, passes: int = 0, *, head: bool = True) -> float:
        """Return the operations of all steps, with so many forward passes of a dense model;
        `head`: whether tokens are predicted."""
        tokens = self.steps * self.training.batch_size * self.text.block_size
        predicted = tokens * self.text.mlm_probability if head else 0.0
        return 3 * size.forward(tokens, predicted) + passes * size.forward(tokens)


class Bench(Protocol):
    """All that a method sees of the system. What is read is recorded by itself."""

    @property
    def progress(self) -> Callable[[int, int], None]:
        """Takes the steps done and the steps in all; a unit without progress counts as hung."""
        ...

    def model(self, head: str | None = None) -> LanguageModel:
        """Return a fresh θ0 on the device, with the head that the unit `head` trained.

        Its `matrices` are the prunable weights by name, its `dense` their frozen values.
        """
        ...

    def text(self, text: Text) -> Tokens:
        """Return the sequences of a text for the model's tokenizer."""
        ...

    def batches(self, text: Text, size: int, count: int, seed: int) -> Iterator[Corrupted]:
        """Yield `count` batches of `size` corrupted sequences on the device, for a method that
        looks at text without training: the data that a search of this seed begins with."""
        ...

    def file(self, source: str) -> bytes:
        """Return the content of a single file."""
        ...

    def mask(self, unit: str) -> Mask:
        """Return the mask of a parent."""
        ...

    def tensors(self, unit: str, name: str) -> dict[str, Tensor]:
        """Return the safetensors artifact `name` of a parent."""
        ...

    def train(
        self,
        search: TrainedSearch,
        model: LanguageModel,
        objective: Sequence[Objective],
        inner: Stateful,
        *,
        first: int = 0,
    ) -> History:
        """Train over the workers of the gang, on `search`'s text and settings, to its last step.

        States are kept and found again by themselves. `first`: steps taken by the searches below,
        where the data go on.
        """
        ...


@dataclass(frozen=True)
class Found:
    """A mask and what came with it."""

    mask: Mask
    history: History | None = None
    """Curves of a training."""
    artifacts: Mapping[str, bytes] = field(default_factory=dict)
    """Further files by name."""
