"""Replayed micro-batches give what micro-batches give, with a tape for CUDA graphs."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from tamt_ray.data.tokens import Tokens
from tamt_ray.execution.gang import gang
from tamt_ray.execution.scheduler.errors import fault_of
from tamt_ray.execution.scheduler.faults import Fault
from tamt_ray.execution.scheduler.messages import Idle, Offer, WorkerCommand
from tamt_ray.masks.mask import Mask
from tamt_ray.objectives.base import Objective, Reading, Step
from tamt_ray.objectives.kd import Kd
from tamt_ray.objectives.mlm import Mlm
from tamt_ray.plan.unit import Unit, parse_config
from tamt_ray.search.engine import Engine, train
from tamt_ray.search.imp import Subnetwork
from tamt_ray.search.language_model import LanguageModel
from tamt_ray.search.loss import SearchLoss
from tamt_ray.search.mlm_corruption import Stream
from tamt_ray.search.movement import MovedWeights
from tamt_ray.search.process_group import ProcessGroup
from tamt_ray.search.state import Stateful
from tamt_ray.spec.execution import SearchLane
from tamt_ray.values.training import Scoring
from tests.tape import Counted

from .search_probes import masked_weights, settings, terms_of

Load = Callable[[Path], LanguageModel]
LoadText = Callable[[Path], Tokens]
STEPS, LR = 5, 0.0037
OMP = {"kind": "search", "method": "omp", "model": {"source": "hf:m"}, "sparsity": 0.5}


class Trained:
    """A search of five blocks per step in micro-batches of two, two and one."""

    def __init__(
        self,
        model: LanguageModel,
        terms: tuple[Objective, ...],
        inner: Stateful,
        text: Tokens,
        record: Counted | None = None,
        precision: str = "float32",
    ) -> None:
        setting = settings(STEPS, LR, batch_size=5, precision=precision)
        stream = Stream(text, 5, 5, 0.15)
        engine = Engine(
            SearchLoss(model, terms), inner, stream, setting, ProcessGroup(), None, record
        )
        engine.run()
        # 0 and −0 differ.
        self.state = {n: t.numpy().tobytes() for n, t in engine.state().tensors.items()}
        self.curves = [(p.step, p.name, p.value) for p in engine.history.points]


def scores(model: LanguageModel, terms: tuple[Objective, ...]) -> Stateful:
    return masked_weights(model, terms, 0.7, Scoring(), 1)


def released(model: LanguageModel, terms: tuple[Objective, ...]) -> Stateful:
    scoring = Scoring(comparison="above", rerank_every=2, rerank_early=True)
    return masked_weights(model, terms, 0.7, scoring, 1)


def level(model: LanguageModel, _: tuple[Objective, ...]) -> Stateful:
    return Subnetwork(model, Mask.by_magnitude(model.dense, 0.3))


def moved(model: LanguageModel, _: tuple[Objective, ...]) -> Stateful:
    return MovedWeights(model, 0.5, 3, "unstructured")


MLM, KD, BOTH = terms_of("mlm"), terms_of("kd"), terms_of("mlm_kd")


@pytest.mark.parametrize(
    ("terms", "make", "text", "precision", "works"),
    [
        (MLM, scores, "blocks", "float32", 2),
        (KD, scores, "blocks", "float32", 3),
        (BOTH, scores, "documents", "float32", 3),
        (BOTH, scores, "blocks", "bfloat16", 3),
        ((Kd(teacher_dropout=True, pads=True),), released, "documents", "float32", 3),
        (MLM, level, "blocks", "float32", 2),
        (MLM, moved, "blocks", "float32", 2),
    ],
)
def test_scores_moments_and_losses_are_those_of_plain_steps_to_the_bit(
    noisy: Path, load: Load, train_blocks: LoadText, train_documents: LoadText,
    terms: tuple[Objective, ...], make: Callable[..., Stateful], text: str, precision: str,
    works: int,
) -> None:  # fmt: skip
    """With dropout. Each shape is recorded at its second micro-batch, `works` graphs each."""
    read = (train_documents if text == "documents" else train_blocks)(noisy)
    found: list[Trained] = []
    record = Counted()
    for recorder in (None, record):
        model = load(noisy)
        found.append(Trained(model, terms, make(model, terms), read, recorder, precision))
    plain, replayed = found
    assert replayed.curves == plain.curves
    assert replayed.state == plain.state
    assert len({value for _, name, value in plain.curves if name == "loss"}) == STEPS
    shapes = record.records / works
    assert shapes == 2 if text == "blocks" else shapes >= 2
    assert (
        record.replays == works * (3 * STEPS - shapes) if text == "blocks" else record.replays > 0
    )


def test_a_model_that_is_frozen_has_no_backward_pass(
    noisy: Path, load: Load, train_blocks: LoadText
) -> None:
    """The head alone trains."""

    class Head(Stateful):
        def __init__(self, model: LanguageModel) -> None:
            model.requires_grad_(False)
            self.trained = list(model.head_parameters().values())
            for parameter in self.trained:
                parameter.requires_grad_(True)

        def parameters(self) -> list[torch.nn.Parameter]:
            return self.trained

    found: list[Trained] = []
    for record in (None, Counted()):
        model = load(noisy)
        found.append(Trained(model, MLM, Head(model), train_blocks(noisy), record))
    assert found[0].state == found[1].state
    assert found[0].curves == found[1].curves


@pytest.mark.parametrize("lacks", [1, 2, 5])
def test_without_memory_for_a_recording_the_search_goes_on_without(
    noisy: Path, load: Load, train_blocks: LoadText, lacks: int
) -> None:
    """The encoder's forward pass, the dense model's, or the second shape's."""
    record, found = Counted(lacks=lacks), list[Trained]()
    for recorder in (None, record):
        model = load(noisy)
        given = model, KD, scores(model, KD), train_blocks(noisy), recorder
        if recorder is None:
            found.append(Trained(*given))
        else:
            with pytest.warns(UserWarning, match="this search goes on without CUDA graphs"):
                found.append(Trained(*given))
    assert record.records == lacks
    assert found[0].state == found[1].state
    assert found[0].curves == found[1].curves


class Fickle(Mlm):
    """Reads the states at every other micro-batch only."""

    reads: ClassVar[frozenset[Reading]] = frozenset({"states"})

    def loss(self, step: Step) -> Tensor:
        extra = step.student.states[0].sum() * 0 if len(COUNTED) % 4 == 3 else 0
        COUNTED.append(1)
        return super().loss(step) + extra


COUNTED: list[int] = []


class Moving(Subnetwork):
    """Gives a weight new memory after each step."""

    def after_step(self) -> None:
        super().after_step()
        weight = self._model.matrices["encoder.layer.0.output.dense.weight"]
        self.before = weight.data  # Not to be given away again.
        weight.data = weight.data.clone()


@pytest.mark.parametrize(
    ("term", "moves", "reason"),
    [(Fickle(), False, "the loss terms read other outputs"), (Mlm(), True, "a weight has moved")],
)
def test_a_plug_in_that_no_graph_fits_costs_the_process(
    noisy: Path, load: Load, train_blocks: LoadText, term: Objective, reason: str, *, moves: bool
) -> None:
    """And so an attempt; the next one has no graphs."""
    COUNTED.clear()
    model = load(noisy)
    kind = Moving if moves else Subnetwork
    inner = kind(model, Mask.at_random(model.dense, 0.3, 1))
    with pytest.raises(torch.AcceleratorError, match=reason) as raised:
        Trained(model, (term,), inner, train_blocks(noisy), Counted())
    assert fault_of(raised.value) is Fault.DIED


def test_nothing_of_an_earlier_pass_is_in_a_recording(
    noisy: Path, load: Load, train_blocks: LoadText
) -> None:
    """Autograd's nodes that add to a weight's gradient know the stream of their first use; one
    that an earlier pass left would draw that stream into the recording, which CUDA refuses."""
    model = load(noisy)
    marked: list[bool] = []

    def adder(weight: Tensor) -> torch.autograd.graph.Node:
        return weight.expand_as(weight).grad_fn.next_functions[0][0]  # pyright: ignore

    def mark(*_: object) -> None:
        if torch.is_grad_enabled():  # Not in the dense model's.
            for weight in model.matrices.values():
                adder(weight).metadata["earlier"] = True

    def once(work: Callable[[], None]) -> Callable[[], None]:
        """A tape would hold the nodes itself."""
        if record.records % 3 == 1:  # The encoder's forward pass.
            marked.extend("earlier" in adder(w).metadata for w in model.matrices.values())
        work()
        return lambda: None

    record = Counted(once)
    handle = model.body.register_forward_hook(mark)
    Trained(model, BOTH, scores(model, BOTH), train_blocks(noisy), record)
    handle.remove()
    assert len(marked) == 2 * len(model.matrices), "two shapes"
    assert not any(marked)


def test_on_a_cpu_they_are_ignored_with_a_sentence(
    noisy: Path, load: Load, train_blocks: LoadText
) -> None:
    model, stream = load(noisy), Stream(train_blocks(noisy), 4, 5, 0.15)
    given = model, MLM, scores(model, MLM), stream, settings(1, LR), ProcessGroup()
    with pytest.warns(UserWarning, match=r"execution\.search\.graphs is ignored: CUDA graphs need"):
        train(*given, graphs=True)


def test_only_a_first_attempt_has_cuda_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recording that fails costs the process, and so an attempt, but not the unit."""
    unit, seen = Unit(parse_config(OMP)), list[bool]()

    class Runner:
        def __init__(self, *_: object) -> None: ...

        def perform(self, _unit: object, _progress: object, *, graphs: bool) -> None:
            seen.append(graphs)

    class Attempted:
        def __init__(self, *_: object) -> None: ...

        def announce(self) -> WorkerCommand:
            return WorkerCommand.GO_ON

        def carry_out(self, perform: Callable[[object], object]) -> None:
            perform(None)

    context = SimpleNamespace(get_world_rank=lambda: 0, get_world_size=lambda: 1)
    monkeypatch.setattr(gang.ray.train, "get_context", lambda: context)
    monkeypatch.setattr(gang, "UnitRunner", Runner)
    monkeypatch.setattr(gang, "Attempt", Attempted)
    for name in ("Store", "committed", "this_place"):
        monkeypatch.setattr(gang, name, lambda *_: None)
    for graphs, attempt in ((True, 1), (True, 2), (False, 1)):
        offers = [Offer(unit, attempt), Idle.FINISHED]
        board = SimpleNamespace(take=lambda *_, left=offers: left.pop(0))
        monkeypatch.setattr(gang.BoardClient, "named", lambda _, board=board: board)
        config = dict.fromkeys(("board", "name", "store", "fence"), "x")
        inherited = SimpleNamespace(take=lambda: None)
        lane = SearchLane(graphs=graphs)
        gang._work(
            {**config, "inherited": inherited, "gpus": 0, "deterministic": False, "lane": lane}
        )
    assert seen == [True, False, False]
