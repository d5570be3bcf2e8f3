"""The training loop that every trained search shares."""

import contextlib
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tamt_ray.data.history import History, check_finite
from tamt_ray.data.phases import phase
from tamt_ray.data.seeds import derive
from tamt_ray.search.masking import Corrupted, Stream, join
from tamt_ray.search.objective import Objective
from tamt_ray.search.optimizer import clip_gradients, make_optimizer
from tamt_ray.search.state import Keeper, TrainingState
from tamt_ray.search.team import Team
from tamt_ray.values.optimizer import Optimizer
from tamt_ray.values.training import Training

Progress = Callable[[int, int], None]


class Inner(Protocol):
    """What belongs to a training beside its parameters and their optimiser."""

    def state(self) -> Mapping[str, Tensor]:
        """Tensors by name, whose names never change."""
        ...

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from the tensors and the freshly restored parameters."""
        ...


_CHECK_EVERY = 10
"""Steps between two looks at the loss; each look makes a GPU wait."""


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
        objective: Objective,
        parameters: Iterable[nn.Parameter],
        stream: Stream,
        settings: Settings,
        team: Team,
        keeper: Keeper | None = None,
        inner: Inner | None = None,
    ) -> None:
        """`keeper` holds the states of a training that may be cut off and go on; `inner` is what
        the callbacks of `run` keep beside the parameters."""
        self.step = 0
        self.history = History()
        self._keeper = keeper
        self._inner = inner
        self._tokens = objective.tokens
        if settings.training.compile:
            # Dropout draws what it draws without it.
            objective.model.body.compile(options={"fallback_random": True})
        self._objective = team.wrap(objective, short=settings.training.gradients == "bfloat16")
        self._stream = stream
        self._settings = settings
        self._team = team
        self._parameters = list(parameters)
        self._optimizer = make_optimizer(self._parameters, settings.optimizer)
        self._recent: list[tuple[int, Tensor]] = []

    def run(
        self,
        before_step: Callable[[], None] = lambda: None,
        after_step: Callable[[], None] = lambda: None,
        progress: Progress | None = None,
        figures: Callable[[], dict[str, float]] = dict,
        *,
        until: int | None = None,
    ) -> None:
        """Train to the last step or to `until`, from where a kept state left off. `before_step`
        sees fresh gradients, `after_step` fresh values; `figures` are logged beside the losses.

        Raises NonFiniteLossError with the step.
        """
        training, optimizer = self._settings.training, self._settings.optimizer
        steps = until or self._settings.steps
        self._take_up()
        self._objective.train()
        begun = time.perf_counter() - self.history.seconds
        while self.step < steps:
            rate = optimizer.lr * max(0.0, 1 - self.step / training.horizon)
            for group in self._optimizer.param_groups:
                group["lr"] = rate
            with phase("data"):
                blocks = self._stream.batch(self.step)
            with phase("forward and backward"), _matrix_products(training.precision):
                terms = self._backward(blocks)
            with phase("gradients of what trains"):
                before_step()
            with phase("clipping"):
                clip_gradients(self._parameters, optimizer)
            with phase("optimiser"):
                self._optimizer.step()
            with phase("re-ranking and masks"):
                after_step()
            self.step += 1
            loss = torch.stack(list(terms.values())).sum()
            self._recent.append((self.step, loss))
            if self.step == 1 or self.step % training.log_every == 0 or self.step == steps:
                losses = {name: float(value) for name, value in terms.items()}
                self.history.log(self.step, lr=rate, loss=float(loss), **losses, **figures())
            if self.step % _CHECK_EVERY == 0 or self.step == steps:
                self._check_recent()
                if progress:
                    progress(self.step, steps)
            self.history.seconds = time.perf_counter() - begun
            keeper = self._keeper if self._team.rank == 0 else None
            # Whether to raise all workers find out together, at the next look.
            if keeper and keeper.due(last=self.step == steps) and self._recent_are_finite():
                keeper.keep(self.state())

    def state(self) -> TrainingState:
        """Where the training stands; its tensors are copies."""
        tensors = {
            name: value.detach().cpu().clone() for name, value in self._inner_state().items()
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
        if self._inner:
            self._inner.load_state({name: state.tensors[name] for name in self._inner_state()})

    def _inner_state(self) -> Mapping[str, Tensor]:
        return self._inner.state() if self._inner else {}

    def _take_up(self) -> None:
        """Restore the newest kept state; all workers the same one."""
        if self._keeper is None:
            return
        name = self._team.agree(self._keeper.newest() if self._team.rank == 0 else None)
        if name is not None:
            self.restore(self._keeper.read(name))

    def _backward(self, blocks: list[Corrupted]) -> dict[str, Tensor]:
        """Leave the gradient of the global batch in the parameters; returns its loss terms."""
        size = self._settings.training.micro_batch
        micro_batches = [blocks[start : start + size] for start in range(0, len(blocks), size)]
        chosen = sum(len(block.labels) for block in blocks)
        tokens = sum(self._tokens(block) for block in blocks)
        short = self._settings.training.precision == "bfloat16"
        mine = range(self._team.rank, len(micro_batches), self._team.size)
        totals: dict[str, Tensor] = {}
        # Scores hold the last gradients too, which must not be there beside the new ones.
        self._optimizer.zero_grad(set_to_none=True)
        self._objective.zero_grad(set_to_none=True)
        for number in mine:
            last = number + self._team.size >= len(micro_batches)
            drawn = derive(self._settings.seed, "dropout", self._stream.first + self.step, number)
            torch.manual_seed(drawn)
            batch = join(micro_batches[number]).to(self._team.device)
            with contextlib.nullcontext() if last else _unsynchronised(self._objective):
                with torch.autocast(self._team.device.type, torch.bfloat16, enabled=short):
                    loss, terms = self._objective(batch, chosen, tokens)
                # DDP averages over workers; the loss is a share of a sum.
                (loss * self._team.size).backward()
            for name, value in terms.items():
                totals[name] = totals[name] + value if name in totals else value
        names = sorted(totals)
        summed = self._team.sum(torch.stack([totals[name] for name in names]))
        return dict(zip(names, summed, strict=True))

    def _recent_are_finite(self) -> bool:
        return all(bool(loss.isfinite()) for _, loss in self._recent)

    def _check_recent(self) -> None:
        for step, loss in self._recent:
            check_finite(float(loss), step)
        self._recent.clear()


@contextlib.contextmanager
def _matrix_products(precision: str) -> Generator[None]:
    """Those of a GPU in TF32 within the block, if that is the `precision`."""
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    if precision == "tf32":
        matmul.fp32_precision = "tf32"
    try:
        yield
    finally:
        matmul.fp32_precision = before


def _unsynchronised(module: nn.Module) -> contextlib.AbstractContextManager[object]:
    """No all-reduce for all but the last micro-batch."""
    if isinstance(module, DistributedDataParallel):
        return module.no_sync()
    return contextlib.nullcontext()
