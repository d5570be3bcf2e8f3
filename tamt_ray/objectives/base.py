"""The contract of a loss term, and the terms that a sweep file may name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from tamt_ray.values.base import Frozen, Positive
from tamt_ray.values.plugin import Registry, literal_values
from tamt_ray.values.text import Corruption

if TYPE_CHECKING:
    from torch import Tensor

Reading = Literal["states", "attentions"]


class Outputs(Protocol):
    """Outputs of one forward pass of the model's body over a micro-batch."""

    @property
    def last(self) -> Tensor:
        """Output of the last layer, [batch, length, hidden]."""
        ...

    @property
    def states(self) -> tuple[Tensor, ...]:
        """Output of every layer, [batch, length, hidden] each; of terms that read `states`."""
        ...

    @property
    def attentions(self) -> tuple[Tensor, ...]:
        """Attention maps of every layer, [batch, heads, length, length] each; of terms that read
        `attentions`."""
        ...


class Sequences(Protocol):
    """Sequences of tokens as a training step or an evaluation reads them."""

    @property
    def ids(self) -> Tensor:
        """Corrupted token ids, [batch, length]."""
        ...

    @property
    def chosen(self) -> Tensor:
        """True where a token is to be predicted, bool [batch, length]."""
        ...

    @property
    def places(self) -> Tensor:
        """The chosen tokens, counted through the whole batch, int64 [chosen tokens]: what to index
        with, since flags have the host wait for a GPU."""
        ...

    @property
    def labels(self) -> Tensor:
        """The chosen tokens before their corruption, [chosen tokens]."""
        ...

    @property
    def real(self) -> Tensor | None:
        """False on padding, bool [batch, length]; None where there can be none."""
        ...


class Step(Protocol):
    """All that a loss term sees of one micro-batch."""

    @property
    def batch(self) -> Sequences:
        """The sequences."""
        ...

    @property
    def student(self) -> Outputs:
        """Outputs of the subnetwork, with gradients."""
        ...

    def teacher(self, *, dropout: bool = False) -> Outputs:
        """Outputs of the dense model on the same sequences, without gradients."""
        ...

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the head's logits [tokens, vocabulary] of hidden states [tokens, hidden]."""
        ...


class Objective(Frozen, ABC):
    """An item of a method's `objective`: one loss term, `name` or a mapping with settings.

    A subclass has a field `objective: Literal["name"] = "name"`.
    """

    version: ClassVar[int] = 1
    """Raised by hand whenever the code changes a loss; part of the identity where it is not 1."""
    needs_head: ClassVar[bool] = False
    """True for a term that reads logits. A model published without a head then has one trained
    first, and text is corrupted; terms that predict nothing are trained and evaluated on clean
    text."""
    reads: ClassVar[frozenset[Reading]] = frozenset()
    """Outputs of the forward pass that it reads beside the last layer's."""
    distils: ClassVar[bool] = False
    """True for a term that compares with the dense model: one more forward pass; 0 for θ0."""
    reaches_all: ClassVar[bool] = True
    """True for a term that gives every prunable weight a gradient; weights without one keep their
    first scores, unless another term reaches them."""

    weight: Positive = 1.0
    """Factor of this term in the sum that is minimised; logged losses are without it."""

    @property
    def name(self) -> str:
        """The term's name, as in a sweep file."""
        tag: Any = vars(self)["objective"]
        return tag

    @property
    def curve(self) -> str:
        """Name of its loss in curves, tables and records."""
        return f"{self.name}_loss"

    def count(self, batch: Sequences) -> int:
        """Return over how many things of a batch the loss is a mean: by default its tokens."""
        return batch.ids.numel() if batch.real is None else int(batch.real.sum())

    @abstractmethod
    def loss(self, step: Step) -> Tensor:
        """Return the loss of a micro-batch summed over what `count` counts, a scalar."""


def widened(values: Tensor) -> Tensor:
    """Return values of a short type in float32: losses are small differences of them."""
    return values.float() if values.element_size() < 4 else values


def curves(terms: Sequence[Objective]) -> tuple[str, ...]:
    """Return the names of the losses of several terms."""
    return tuple(term.curve for term in terms)


def passes(terms: Sequence[Objective]) -> int:
    """Return the forward passes of the dense model that a training step on these terms takes."""
    return int(any(term.distils for term in terms))


def needs_head(terms: Sequence[Objective]) -> bool:
    """Return whether one of several terms reads logits."""
    return any(term.needs_head for term in terms)


def corruption_for(terms: Sequence[Objective]) -> Corruption:
    """Return what a training on these terms reads: clean text, unless one of them predicts tokens;
    then all share the corrupted text."""
    return "mlm" if needs_head(terms) else "none"


def apart(terms: Sequence[Objective]) -> tuple[tuple[Objective, ...], tuple[Objective, ...]]:
    """Return the terms that are evaluated on corrupted text, and those on clean text."""
    return (
        tuple(term for term in terms if term.needs_head),
        tuple(term for term in terms if not term.needs_head),
    )


OBJECTIVES: Registry[Objective] = Registry(
    "tamt_ray.objectives", "tamt_ray.objectives", Objective,
    lambda kind: literal_values(kind, "objective"),
)  # fmt: skip
