"""The training loop that every trained search shares."""

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tamt_ray.data.device import autocast, matrix_products
from tamt_ray.data.graphs import Recorder, graph_recorder
from tamt_ray.data.history import History, check_finite
from tamt_ray.data.phases import phase
from tamt_ray.data.seeds import derive
from tamt_ray.objectives.base import Objective
from tamt_ray.search.graphs import GraphedPasses
from tamt_ray.search.language_model import LanguageModel
from tamt_ray.search.loss import SearchLoss
from tamt_ray.search.mlm_corruption import Corrupted, Stream, stack
from tamt_ray.search.optimizer import clip_gradients, make_optimizer, set_rates
from tamt_ray.search.process_group import ProcessGroup
from tamt_ray.search.state import Checkpointer, Stateful, TrainingState
from tamt_ray.values.base import OnProgress
from tamt_ray.values.training import Optimizer, Training

_STEPS_BETWEEN_CHECKS = 10
"""Each check makes a GPU wait for the host. A CPU has nothing to wait for: it checks every step."""


@dataclass(frozen=True)
class Settings:
    """One search's own numbers beside the shared `Training`."""

    training: Training
    optimizer: Optimizer
    steps: int
    seed: int


class Engine:
    """An optimiser with a linear schedule over a stream of blocks.

    The global batch is computed in micro-batches of `training.micro_batch` blocks, dealt out to
    the workers in turn. Data, corruption and dropout are drawn for (seed, step, micro-batch), so
    neither the number of workers nor an interruption changes what is computed.
    """

    def __init__(
        self,
        loss: SearchLoss,
        inner: Stateful,
        stream: Stream,
        settings: Settings,
        group: ProcessGroup,
        checkpointer: Checkpointer | None = None,
        record: Recorder | None = None,
    ) -> None:
        """`inner` trains; `checkpointer` saves the states from which an interrupted training
        resumes. With `record`, micro-batches are replayed (`search.graphs`); one worker only, as
        graphs hold no all-reduce."""
        self.step = 0
        loss.model.check_reads(stream.text.special)
        self.history = History()
        self._checkpointer = checkpointer
        self._counts = loss.counts
        self._weights = {term.curve: term.weight for term in loss.terms}
        self._inner = inner
        if settings.training.compile:
            # Dropout draws what it draws without it.
            loss.model.body.compile(options={"fallback_random": True})
        self._graphs: GraphedPasses | None = None
        if record:
            assert group.size == 1
            precision = settings.training.precision
            self._graphs = GraphedPasses(loss.model, loss.reads, record, precision)
            loss.forward_pass = self._graphs.forward
        self._loss = group.wrap(
            loss,
            short=settings.training.gradients == "bfloat16",
            unreached=not any(term.reaches_all for term in loss.terms),
        )
        self._stream = stream
        self._settings = settings
        self._group = group
        self._check_every = 1 if group.device.type == "cpu" else _STEPS_BETWEEN_CHECKS
        self._parameters = list(inner.parameters())
        # A GPU sums in any order, so that what each worker computed for itself may differ.
        group.share(self._held())
        head = loss.model.head_parameters().values()
        self._optimizer = make_optimizer(self._parameters, settings.optimizer, head)
        self._recent: list[tuple[int, Tensor]] = []

    def run(self, progress: OnProgress | None = None, *, until: int | None = None) -> None:
        """Train to the last step or to `until`, from where a kept state left off.

        A state is saved only right after a check, so that every saved state was checked.

        Raises NonFiniteLossError with the step, and RanksDifferError.
        """
        training, optimizer = self._settings.training, self._settings.optimizer
        steps = until or self._settings.steps
        self._take_up()
        self._loss.train()
        begun = time.perf_counter() - self.history.seconds
        while self.step < steps:
            share = max(0.0, 1 - self.step / training.decay_steps)
            set_rates(self._optimizer, share)
            with phase("data"):
                blocks = self._stream.batch(self.step)
            with phase("forward and backward"), matrix_products(training.precision):
                terms = self._backward(blocks)
            with phase("gradients of what trains"):
                self._inner.before_step()
            with phase("clipping"):
                clip_gradients(self._parameters, optimizer)
            with phase("optimiser"):
                self._optimizer.step()
            with phase("re-ranking and masks"):
                self._inner.after_step()
            self.step += 1
            loss = torch.stack([v * self._weights[name] for name, v in terms.items()]).sum()
            self._recent.append((self.step, loss))
            last = self.step == steps
            if last or self.step == 1 or self.step % training.log_every == 0:
                self._log(optimizer.lr * share, {"loss": loss, **terms})
            if last or self.step % self._check_every == 0:
                self._check()
                if progress:
                    progress(self.step, steps)
                self.history.seconds = time.perf_counter() - begun
                checkpointer = self._checkpointer if self._group.rank == 0 else None
                if checkpointer and checkpointer.due(last=last):
                    checkpointer.keep(self.state())
                    # A process that is to leave does so now, and not after further steps.
                    checkpointer.due(last=last)

    def state(self) -> TrainingState:
        """Return the training state; its tensors are copies."""
        tensors = {
            name: value.detach().cpu().clone() for name, value in self._inner.state().items()
        }
        for number, parameter in enumerate(self._parameters):
            tensors[f"value.{number}"] = parameter.detach().cpu().clone()
            for name, value in self._optimizer.state[parameter].items():
                tensors[f"{name}.{number}"] = value.detach().cpu().clone()
        return TrainingState(self.step, self.history.seconds, tensors, tuple(self.history.points))

    @torch.no_grad()
    def restore(self, state: TrainingState) -> None:
        """Go on from `state`."""
        self.step, self.history.seconds = state.step, state.seconds
        every = self._settings.training.log_every
        # A shorter training logs its own last step, which is no milestone of this one.
        self.history.points = [p for p in state.points if p.step == 1 or p.step % every == 0]
        for number, parameter in enumerate(self._parameters):
            parameter.copy_(state.tensors[f"value.{number}"])
            self._optimizer.state[parameter] = {
                name: state.tensors[f"{name}.{number}"].to(parameter.device, copy=True)
                for name in ("step", "exp_avg", "exp_avg_sq")
            }
        self._inner.load_state({name: state.tensors[name] for name in self._inner.state()})

    def _take_up(self) -> None:
        """Restore the newest kept state; all workers the same one."""
        if self._checkpointer is None:
            return
        name = self._group.agree(self._checkpointer.newest() if self._group.rank == 0 else None)
        if name is not None:
            self.restore(self._checkpointer.read(name))

    def _backward(self, blocks: list[Corrupted]) -> dict[str, Tensor]:
        """Leave the gradient of the global batch in the parameters; return its loss terms."""
        size = self._settings.training.micro_batch
        micro_batches = [blocks[start : start + size] for start in range(0, len(blocks), size)]
        counts = [sum(each) for each in zip(*map(self._counts, blocks), strict=True)]
        precision, device = self._settings.training.precision, self._group.device
        mine = range(self._group.rank, len(micro_batches), self._group.size)
        totals: dict[str, Tensor] = {}
        # Scores hold the last gradients too, which must not be there beside the new ones.
        self._optimizer.zero_grad(set_to_none=True)
        self._loss.zero_grad(set_to_none=True)
        for number in mine:
            last = number + self._group.size >= len(micro_batches)
            drawn = derive(self._settings.seed, "dropout", self._stream.first + self.step, number)
            batch = stack(micro_batches[number]).to(self._group.device)
            if self._graphs:
                self._graphs.prepare(batch)
            torch.manual_seed(drawn)
            with contextlib.nullcontext() if last else _unsynchronised(self._loss):
                with autocast(precision, device):
                    loss, terms = self._loss(batch, counts)
                # DDP averages over workers; the loss is a share of a sum.
                (loss * self._group.size).backward()
            if self._graphs:
                self._graphs.backward()
            for name, value in terms.items():
                totals[name] = totals[name] + value if name in totals else value
        names = sorted(totals)
        summed = self._group.sum(torch.stack([totals[name] for name in names]))
        return dict(zip(names, summed, strict=True))

    def _log(self, rate: float, losses: Mapping[str, Tensor]) -> None:
        read = dict(zip(losses, torch.stack(list(losses.values())).tolist(), strict=True))
        self.history.log(self.step, lr=rate, **read, **self._inner.figures())

    def _check(self) -> None:
        """Check the losses since the last check, and that all workers hold the same values."""
        for step, loss in self._read_recent():
            check_finite(loss, step)
        trained = [p for p in self._loss.parameters() if p.requires_grad]
        self._group.check_same([*trained, *self._held()], self.step)

    def _held(self) -> list[Tensor]:
        """Return the tensors on the device that a state holds, but for the optimiser's."""
        held = [*self._parameters, *self._inner.state().values()]
        return [each for each in held if each.device.type == self._group.device.type]

    def _read_recent(self) -> list[tuple[int, float]]:
        """Return and forget the losses since the last check; one copy from the device."""
        steps, losses = zip(*self._recent, strict=True)
        self._recent.clear()
        return list(zip(steps, torch.stack(losses).tolist(), strict=True))


def train(
    model: LanguageModel,
    terms: Sequence[Objective],
    inner: Stateful,
    stream: Stream,
    settings: Settings,
    group: ProcessGroup,
    progress: OnProgress | None = None,
    *,
    checkpointer: Checkpointer | None = None,
    graphs: bool = False,
) -> History:
    """Train `inner` on the sum of `terms` to its last step; return the curves. `graphs`: replay
    micro-batches as CUDA graphs, where there can be any.

    Raises NonFiniteLossError with the step, and RanksDifferError.
    """
    loss = SearchLoss(model, terms)
    record = graph_recorder(group.device, model.config, "search") if graphs else None
    engine = Engine(loss, inner, stream, settings, group, checkpointer, record)
    engine.run(progress)
    return engine.history


def _unsynchronised(module: nn.Module) -> contextlib.AbstractContextManager[object]:
    """Return the context without an all-reduce, for all but the last micro-batch."""
    if isinstance(module, DistributedDataParallel):
        return module.no_sync()
    return contextlib.nullcontext()
