"""Micro-batches of a search as CUDA graphs: where they are small, the host is the bottleneck.

A shape of micro-batch has a graph for the encoder's forward pass, one for each forward pass of the
dense model that the loss terms ask for, and one for the encoder's backward pass. It adds to
gradients that stay in one place. The loss terms between them, head included, are the objectives'
own code and run as ever. Never run on a GPU.
"""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tamt_ray.data.device import autocast
from tamt_ray.data.graphs import Recorder, Work
from tamt_ray.search.language_model import BodyOutputs, LanguageModel, Reads
from tamt_ray.search.loss import ForwardPass
from tamt_ray.search.mlm_corruption import Corrupted
from tamt_ray.values.training import Precision

_Shape = tuple[tuple[int, ...] | None, ...]
"""Shapes of token ids, real tokens and segments of a micro-batch."""
_Places = list[tuple[int, bool]]
"""Address of each weight, and whether it trains."""


@dataclass(frozen=True)
class _Seen:
    """The reads of the loss terms in a micro-batch."""

    used: tuple[bool, ...]
    """Whether each output of the encoder got a gradient."""
    teachers: tuple[bool, ...]
    """Forward passes of the dense model: with dropout or without."""


@dataclass(frozen=True)
class _Recorded:
    """The graphs of a shape, and the memory they read and write."""

    inputs: tuple[Tensor | None, ...]
    weights: _Places
    seen: _Seen
    forward: Work
    student: BodyOutputs
    teachers: dict[bool, tuple[Work, BodyOutputs]]
    gradients: list[Tensor]
    """Those of the outputs that get one."""
    backward: Work


class _ReplayedPass(ForwardPass):
    """A micro-batch whose forward passes are replayed, the dense model's when it is asked for."""

    def __init__(
        self, model: LanguageModel, batch: Corrupted, reads: Reads, recorded: _Recorded
    ) -> None:
        recorded.forward()
        self._recorded = recorded
        super().__init__(model, batch, reads, recorded.student)

    def teacher(self, *, dropout: bool = False) -> BodyOutputs:
        if dropout not in self._teachers and dropout in self._recorded.teachers:
            replay, self._teachers[dropout] = self._recorded.teachers[dropout]
            replay()
        return super().teacher(dropout=dropout)


class GraphedPasses:
    """The encoder's passes over micro-batches, replayed from the second one of a shape on.

    The first one loads what libraries need and shows what the loss terms read. It is cut in the
    same way: terms read outputs that are leaves of autograd, and the gradients of these are passed
    on to the encoder afterwards. What is added up, and in which order, stays the same.
    """

    def __init__(
        self, model: LanguageModel, reads: Reads, record: Recorder, precision: Precision
    ) -> None:
        self._model, self._reads = model, reads
        self._precision: Precision = precision
        self._record_work: Recorder | None = record
        self._weights = [*model.body.parameters(), *model.dense.values()]
        self._seen: dict[_Shape, _Seen] = {}
        self._recorded: dict[_Shape, _Recorded] = {}
        self._gradients: dict[nn.Parameter, Tensor] = {}
        """Where graphs add up the gradients of the encoder's weights."""
        self._shape: _Shape = ()
        self._outputs: list[Tensor] = []
        self._step: ForwardPass | None = None

    def prepare(self, batch: Corrupted) -> None:
        """Record the graphs for a micro-batch, outside of autocast, unless they are there.

        Raises AcceleratorError where that fails, or where graphs no longer fit: the process must
        end, and another attempt goes without.
        """
        shape = tuple(None if part is None else tuple(part.shape) for part in _inputs(batch))
        self._shape = shape
        if shape in self._recorded and self._recorded[shape].weights != self._places():
            raise _unfit("a weight has moved")
        if self._record_work is None or shape in self._recorded or shape not in self._seen:
            return
        try:
            self._recorded[shape] = self._record(self._record_work, batch, self._seen[shape])
        except torch.OutOfMemoryError:
            # The micro-batches themselves may fit.
            warnings.warn("out of memory: this search goes on without CUDA graphs", stacklevel=2)
            self._record_work = None
            self._recorded.clear()
            self._gradients.clear()

    def forward(self, batch: Corrupted) -> ForwardPass:
        """Return the micro-batch that was prepared, as loss terms see it."""
        recorded = self._recorded.get(self._shape)
        if recorded is None:
            step = ForwardPass(self._model, batch, self._reads)
        else:
            for still, values in zip(recorded.inputs, _inputs(batch), strict=True):
                if still is not None and values is not None:
                    still.copy_(values)
            step = _ReplayedPass(self._model, batch, self._reads, recorded)
        self._outputs = _each(step.student)
        step.student = _leaves(step.student)
        self._step = step
        return step

    def backward(self) -> None:
        """Pass the gradients of the outputs on to the encoder's weights."""
        assert self._step is not None
        found = [leaf.grad for leaf in _each(self._step.student)]
        used = tuple(gradient is not None for gradient in found)
        gradients = [gradient for gradient in found if gradient is not None]
        recorded = self._recorded.get(self._shape)
        if recorded is None:
            reached = [o for o, wanted in zip(self._outputs, used, strict=True) if wanted]
            if reached:
                torch.autograd.backward(reached, gradients)
            if self._record_work:
                self._seen[self._shape] = _Seen(used, tuple(self._step._teachers))
                for weight in self._model.body.parameters():
                    if weight.grad is not None:
                        self._gradients.setdefault(weight, weight.grad)
        else:
            if used != recorded.seen.used:
                raise _unfit("the loss terms read other outputs")
            self._add_in_place()
            for still, gradient in zip(recorded.gradients, gradients, strict=True):
                still.copy_(gradient)
            recorded.backward()
        # Nothing of this pass may live on in a recording: autograd's nodes know their stream.
        self._outputs, self._step = [], None

    def _record(self, record: Recorder, given: Corrupted, seen: _Seen) -> _Recorded:
        inputs = tuple(part if part is None else part.clone() for part in _inputs(given))
        ids, real, segments = inputs
        assert ids is not None
        device = ids.device
        made: list[BodyOutputs] = []

        def forward() -> None:
            with autocast(self._precision, device):
                made.append(self._model.outputs(ids, real, self._reads, segments=segments))

        replay_forward = record(forward)
        student = made.pop()

        def teach(dropout: bool) -> tuple[Work, BodyOutputs]:
            def work() -> None:
                with autocast(self._precision, device):
                    made.append(
                        self._model.teacher_outputs(
                            ids, real, self._reads, segments=segments, dropout=dropout
                        )
                    )

            return record(work), made.pop()

        # While the backward pass is still to come, so that they leave alone what it reads.
        teachers = {dropout: teach(dropout) for dropout in seen.teachers}
        outputs = [o for o, wanted in zip(_each(student), seen.used, strict=True) if wanted]
        gradients = [torch.zeros_like(output) for output in outputs]
        self._add_in_place()

        def backward() -> None:
            if outputs:
                torch.autograd.backward(outputs, gradients)

        replay_backward = record(backward)
        return _Recorded(
            inputs, self._places(), seen, replay_forward, _leaves(student), teachers, gradients,
            replay_backward,
        )  # fmt: skip

    def _places(self) -> _Places:
        return [(weight.data_ptr(), weight.requires_grad) for weight in self._weights]

    def _add_in_place(self) -> None:
        """Make autograd add to the gradients that stay in one place; move present ones there."""
        fresh: list[Tensor] = []
        for weight, gradient in self._gradients.items():
            if weight.grad is None:
                fresh.append(gradient)
            elif weight.grad is not gradient:
                gradient.copy_(weight.grad)
            weight.grad = gradient
        if fresh:
            # −0 is what can be added to any number, 0 and −0 too, and leaves its bits as they are.
            torch._foreach_zero_(fresh)  # pyright: ignore[reportPrivateImportUsage]
            torch._foreach_neg_(fresh)  # pyright: ignore[reportPrivateImportUsage]


def _unfit(reason: str) -> torch.AcceleratorError:
    return torch.AcceleratorError(
        f"CUDA error: a micro-batch is unlike the recorded one of its shape: {reason}"
    )


def _inputs(batch: Corrupted) -> tuple[Tensor | None, ...]:
    return batch.ids, batch.real, batch.segments


def _each(outputs: BodyOutputs) -> list[Tensor]:
    """Return each output once: the last layer's may be among the states."""
    every: Iterable[Tensor] = (outputs.last, *outputs.states, *outputs.attentions)
    return list({id(output): output for output in every}.values())


def _leaves(outputs: BodyOutputs) -> BodyOutputs:
    """Return the same values, cut off from what they were computed from."""
    cut = {id(o): o.detach().requires_grad_(o.requires_grad) for o in _each(outputs)}
    states, attentions = (
        tuple(cut[id(output)] for output in part) for part in (outputs.states, outputs.attentions)
    )
    return BodyOutputs(cut[id(outputs.last)], states, attentions)
