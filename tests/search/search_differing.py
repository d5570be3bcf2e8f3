"""One of two workers that come to differ: `RANK RENDEZVOUS MODEL CORPUS`."""

import json
import os
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path

import torch
from torch import Tensor, distributed

from tamt_ray.data.blocks import load_blocks
from tamt_ray.masks.mask import Mask
from tamt_ray.objectives.kd import Kd
from tamt_ray.objectives.mlm import Mlm
from tamt_ray.search.engine import Engine
from tamt_ray.search.imp import Subnetwork
from tamt_ray.search.language_model import LanguageModel
from tamt_ray.search.loss import SearchLoss
from tamt_ray.search.mlm_corruption import Stream
from tamt_ray.search.movement import MovedWeights
from tamt_ray.search.process_group import ProcessGroup, RanksDifferError
from tamt_ray.search.state import Stateful, TrainingState
from tamt_ray.search.tamt import MaskedWeights
from tamt_ray.values.text import Corpus
from tamt_ray.values.training import Scoring

from .search_probes import settings

DISTURBED, STEPS = 5, 9


class Saved:
    """Would save a state after every step."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def newest(self) -> None:
        """There is none."""

    def read(self, name: str) -> TrainingState:
        """There is none."""
        raise KeyError(name)

    def due(self, *, last: bool) -> bool:
        """Always."""
        return True

    def keep(self, state: TrainingState) -> None:
        """Note its step."""
        self.steps.append(state.step)


def disturb(inner: Stateful, find: Callable[[], Tensor], rank: int) -> None:
    """Make the second worker change one value after a step."""
    done, follow = 0, inner.after_step

    def after_step() -> None:
        nonlocal done
        done += 1
        follow()
        if done == DISTURBED and rank == 1:
            with torch.no_grad():
                find().view(-1)[3 if find().ndim else 0] += 1e-3

    inner.after_step = after_step


def main() -> None:
    """Print for each case the error and the steps whose states were saved."""
    rank, rendezvous, path, corpus = sys.argv[1:]
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{rendezvous}", rank=int(rank), world_size=2
    )
    found = search_all(ProcessGroup(rank=int(rank), size=2), path, corpus)
    sys.stdout.write(json.dumps(found))
    sys.stdout.flush()
    distributed.destroy_process_group()
    # Objects torn down after the group may wait for the other worker for ever.
    os._exit(0)


def search_all(
    group: ProcessGroup, path: str, corpus: str
) -> dict[str, tuple[str | None, list[int]]]:
    """Return for each case the error and the steps whose states were saved."""
    blocks = load_blocks(Corpus.model_validate_json(corpus).training(), f"dir:{path}")

    def scores(model: LanguageModel) -> tuple[Stateful, Callable[[], Tensor]]:
        inner = MaskedWeights(model, 0.5, Scoring(), 1)
        return inner, lambda: next(iter(inner.scores.values()))

    def mask(model: LanguageModel) -> tuple[Stateful, Callable[[], Tensor]]:
        inner = MaskedWeights(model, 0.5, Scoring(), 1)
        return inner, lambda: next(iter(model.matrices.values()))

    def threshold(model: LanguageModel) -> tuple[Stateful, Callable[[], Tensor]]:
        inner = MaskedWeights(model, 0.5, Scoring(rerank_every=20), 1)
        return inner, lambda: next(iter(inner._thresholds.values()))

    def weights(model: LanguageModel) -> tuple[Stateful, Callable[[], Tensor]]:
        inner = Subnetwork(model, Mask.by_magnitude(model.dense, 0.3))
        return inner, lambda: inner.parameters()[-1]

    def hidden(model: LanguageModel) -> tuple[Stateful, Callable[[], Tensor]]:
        inner = MovedWeights(model, 0.5, 4, "unstructured")
        return inner, lambda: inner._values[inner._own()[0][0]]

    def nothing(model: LanguageModel) -> tuple[Stateful, Callable[[], Tensor]]:
        return scores(model)[0], lambda: torch.zeros(9)

    def start(model: LanguageModel) -> tuple[Stateful, Callable[[], Tensor]]:
        return scores(model)

    found: dict[str, tuple[str | None, list[int]]] = {}
    for make, every in product((scores, mask, threshold, weights, hidden, nothing, start), (1, 4)):
        model, saved, error = LanguageModel(Path(path)), Saved(), None
        inner, find = make(model)
        if make is not start:
            disturb(inner, find, group.rank)
        terms = [Mlm()] if make in (weights, hidden) else [Kd()]
        setting, stream = settings(STEPS, 1e-3), Stream(blocks, 4, 1, 0.15)
        if make is start and group.rank == 1:
            with torch.no_grad():
                find().add_(torch.rand(find().shape))
        engine = Engine(SearchLoss(model, terms), inner, stream, setting, group, saved)
        engine._check_every = every
        try:
            engine.run()
        except RanksDifferError as differing:
            error = str(differing)
        found[f"{make.__name__} {every}"] = error, saved.steps
    return found


if __name__ == "__main__":
    main()
