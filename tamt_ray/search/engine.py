"""The training loop that every trained search shares."""

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tamt_ray.data.history import History, check_finite
from tamt_ray.data.seeds import derive
from tamt_ray.search.masking import Stream, join
from tamt_ray.search.objective import Objective
from tamt_ray.search.team import Team
from tamt_ray.spec.method import Training

Progress = Callable[[int, int], None]
_CHECK_EVERY = 10
"""Steps between two looks at the loss; each look makes a GPU wait."""


@dataclass(frozen=True)
class Settings:
    """One search's own numbers beside the shared `Training`."""

    training: Training
    lr: float
    steps: int
    seed: int


class Engine:
    """AdamW with a linear schedule over a stream of blocks.

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
    ) -> None:
        training = settings.training
        self.step = 0
        self.history = History()
        self._objective = team.wrap(objective)
        self._stream = stream
        self._settings = settings
        self._team = team
        self._parameters = list(parameters)
        self._optimizer = torch.optim.AdamW(
            self._parameters, lr=settings.lr, betas=training.betas, eps=training.eps,
            weight_decay=training.weight_decay, fused=True,
        )  # fmt: skip
        self._recent: list[tuple[int, Tensor]] = []

    def run(
        self,
        before_step: Callable[[], None] = lambda: None,
        after_step: Callable[[], None] = lambda: None,
        progress: Progress | None = None,
    ) -> None:
        """Train to the last step. `before_step` sees fresh gradients, `after_step` fresh values.

        Raises NonFiniteLossError with the step.
        """
        training, steps = self._settings.training, self._settings.steps
        self._objective.train()
        while self.step < steps:
            rate = self._settings.lr * max(0.0, 1 - self.step / training.horizon)
            for group in self._optimizer.param_groups:
                group["lr"] = rate
            terms = self._backward()
            before_step()
            torch.nn.utils.clip_grad_norm_(self._parameters, training.clip)
            self._optimizer.step()
            after_step()
            self.step += 1
            loss = torch.stack(list(terms.values())).sum()
            self._recent.append((self.step, loss))
            if self.step == 1 or self.step % training.log_every == 0 or self.step == steps:
                self.history.log(
                    self.step, lr=rate, loss=float(loss), **{k: float(v) for k, v in terms.items()}
                )
            if self.step % _CHECK_EVERY == 0 or self.step == steps:
                self._check_recent()
                if progress:
                    progress(self.step, steps)

    def _backward(self) -> dict[str, Tensor]:
        """Leave the gradient of the global batch in the parameters; returns its loss terms."""
        blocks = self._stream.batch(self.step)
        size = self._settings.training.micro_batch
        micro_batches = [blocks[start : start + size] for start in range(0, len(blocks), size)]
        chosen = sum(len(block.labels) for block in blocks)
        tokens = sum(block.ids.numel() for block in blocks)
        mine = range(self._team.rank, len(micro_batches), self._team.size)
        totals: dict[str, Tensor] = {}
        self._objective.zero_grad(set_to_none=True)
        for number in mine:
            last = number + self._team.size >= len(micro_batches)
            torch.manual_seed(derive(self._settings.seed, "dropout", self.step, number))
            batch = join(micro_batches[number]).to(self._team.device)
            with contextlib.nullcontext() if last else _unsynchronised(self._objective):
                loss, terms = self._objective(batch, chosen, tokens)
                # DDP averages over workers; the loss is a share of a sum.
                (loss * self._team.size).backward()
            for name, value in terms.items():
                totals[name] = totals[name] + value if name in totals else value
        names = sorted(totals)
        summed = self._team.sum(torch.stack([totals[name] for name in names]))
        return dict(zip(names, summed, strict=True))

    def _check_recent(self) -> None:
        for step, loss in self._recent:
            check_finite(float(loss), step)
        self._recent.clear()


def _unsynchronised(module: nn.Module) -> contextlib.AbstractContextManager[object]:
    """No all-reduce for all but the last micro-batch."""
    if isinstance(module, DistributedDataParallel):
        return module.no_sync()
    return contextlib.nullcontext()
