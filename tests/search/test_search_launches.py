"""How many kernels a GPU is asked for to choose the masks of a BERT-base, and that nothing waits.

No GPU is needed: Torch's operations are counted on its `meta` device, where a read by the host
raises, and Triton's kernels by a launcher that starts nothing.
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import BertConfig, BertForMaskedLM

from tamt_ray.masks.mask import Mask
from tamt_ray.masks.pruner import Matrices, Pruner
from tamt_ray.search import language_model, tamt
from tamt_ray.search.graphs import GraphedPasses
from tamt_ray.search.language_model import LanguageModel
from tamt_ray.search.loss import SearchLoss
from tamt_ray.search.mlm_corruption import Corrupted
from tamt_ray.search.movement import MovedWeights
from tamt_ray.search.tamt import MaskedWeights
from tamt_ray.values.training import Scoring
from tests.conftest import NoWaiting
from tests.masks.test_radix import needs_triton
from tests.tape import Counted

from .search_probes import terms_of

KERNELS = ("count_digits", "choose_digit", "count_ties", "find_cut", "write_kept")
MEMORY = ("empty", "new_empty", "_unsafe_view")
"""Operations that compute nothing."""


class Flags(dict[str, Tensor]):
    """A first mask without values."""

    sparsity = 0.7
    check_covers = Mask.check_covers


@pytest.fixture
def model(meta: torch.device, monkeypatch: pytest.MonkeyPatch) -> LanguageModel:
    """BERT-base without values: 73 matrices, 109 million weights."""
    with meta:
        loaded = BertForMaskedLM(BertConfig())
    loaded.tie_weights()
    monkeypatch.setattr(language_model, "_load", lambda _: (loaded, set()))
    monkeypatch.setattr(LanguageModel, "_try_out", lambda *_: None)
    made = LanguageModel(Path("x"), device=meta)
    assert len(made.matrices) == 73
    flags = Flags({name: torch.ones_like(w, dtype=torch.bool) for name, w in made.dense.items()})
    monkeypatch.setattr(tamt, "first_mask", lambda *_: flags)
    monkeypatch.setattr(Mask, "by_magnitude", lambda *_: flags)
    return made


class Launches(NoWaiting):
    """Counts operations that a GPU computes: no views, no new memory."""

    def __init__(self) -> None:
        super().__init__()
        self.count = Counter[str]()

    def __torch_dispatch__(
        self,
        func: torch._ops.OpOverload,
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> object:
        if not func.is_view and not func.__name__.startswith(MEMORY):
            self.count[func.__name__] += 1
        return super().__torch_dispatch__(func, types, args, kwargs)


@pytest.mark.parametrize(
    ("pattern", "launches"), [("unstructured", 219), ("2:4", 3139), ("4x4", 648)]
)
def test_without_triton(model: LanguageModel, pattern: str, launches: int) -> None:
    """Under a pattern, with Triton too. docs/speed.md names these figures."""
    if pattern == "4x4":  # It does not divide 30,522 rows.
        del model.matrices[model.embedding], model.dense[model.embedding]
    weights = MaskedWeights(model, 0.5, Scoring(), 1, pattern)
    with Launches() as counted:
        weights.after_step()
    assert counted.count.total() == launches, counted.count


def test_movement(model: LanguageModel) -> None:
    weights = MovedWeights(model, 0.5, 2, "unstructured")
    with Launches() as counted:
        weights.after_step()
    assert counted.count.total() == 364, counted.count


@pytest.mark.parametrize(("terms", "plain", "graphs"), [("mlm", 781, 33), ("kd", 1336, 337)])
def test_a_micro_batch_and_one_that_is_replayed(
    model: LanguageModel, terms: str, plain: int, graphs: int
) -> None:
    """4 × 512 tokens, forward and backward, on BERT-base. docs/speed.md names these figures."""
    objective, count = terms_of(terms), 300
    MaskedWeights(model, 0.5, Scoring(), 1, head=terms == "mlm")
    with torch.device("meta"):
        ids, some = torch.zeros(4, 512, dtype=torch.int64), torch.zeros(count, dtype=torch.int64)
    batch, loss = Corrupted(ids, some, some), SearchLoss(model, objective)
    loss.train()

    def once(work: Callable[[], None]) -> Callable[[], None]:
        work()
        return lambda: None

    recorder = Counted(once)
    passes = GraphedPasses(model, loss.reads, recorder, "float32")

    def launches() -> int:
        with Launches() as counted:
            loss(batch, [count])[0].backward()
            if loss.forward_pass:
                passes.backward()
        return counted.count.total()

    assert launches() == plain
    loss.forward_pass = passes.forward
    passes.prepare(batch)
    launches()
    passes.prepare(batch)
    assert launches() + recorder.replays == graphs


@needs_triton
def test_with_triton_it_is_a_dozen(model: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    from tamt_ray.masks import radix

    started: list[str] = []

    class Launcher:
        def __init__(self, name: str) -> None:
            self._name = name

        def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
            return lambda *_, **__: started.append(f"{self._name} {grid}")

    def pruner(matrices: Matrices) -> Pruner:
        return radix.RadixPruner(matrices)

    monkeypatch.setattr(tamt, "make_pruner", pruner)
    for name in KERNELS:
        monkeypatch.setattr(radix, name, Launcher(name))
    weights = MaskedWeights(model, 0.7, Scoring(), 1)
    started.clear()
    with Launches() as counted:
        weights.after_step()
    assert len(started) + counted.count.total() == 12, (started, counted.count)
