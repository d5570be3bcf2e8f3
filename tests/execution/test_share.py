"""`gpus: auto`: one share for all fine-tunes, on all GPUs."""

from collections.abc import Callable, Mapping
from types import SimpleNamespace

import pytest
from ray.exceptions import RayTaskError

from tamt_ray.execution.fleet import gpu_share as share
from tamt_ray.spec.load import parse_sweep
from tamt_ray.tasks.base import Task
from tamt_ray.values.model import Model

TABLE = '{source: "hf:d", split: train}'
SWEEP = f"""
name: small
models: {{large: {{source: "hf:large"}}, little: {{source: "hf:little"}}}}
corpus: {{train: {TABLE}, validation: {TABLE}}}
methods: [omp]
sparsities: [0.5]
tasks:
  words: {{kind: classification, text: [text], train: {TABLE}, validation: [{TABLE}]}}
"""
NODES: list[Mapping[str, float]] = [
    {"CPU": 4, "node:__internal_head__": 1},
    {"CPU": 8, "GPU": 1, "accelerator_type:L4": 1},
    {"CPU": 8, "GPU": 4, "accelerator_type:T4": 1},
    {"CPU": 8, "GPU": 1, "accelerator_type:L4": 1},
]
NEEDED = {("hf:large", "L4"): 1 / 4, ("hf:large", "T4"): 1 / 2, ("hf:little", "L4"): 1 / 16,
          ("hf:little", "T4"): 1 / 8}  # fmt: skip


def test_each_type_of_gpu_is_found_once() -> None:
    assert share.gpu_types(NODES) == ["L4", "T4"]
    assert share.gpu_types([*NODES, {"CPU": 1, "GPU": 1}]) == ["L4", None, "T4"]
    assert share.gpu_types([{"CPU": 1}]) == []


Measure = Callable[[str, str], object]
"""What a probe gives on a type of GPU for the source of a model; an exception is raised."""
Set = Callable[[Measure], None]


@pytest.fixture
def probes(monkeypatch: pytest.MonkeyPatch) -> Set:
    """Has probes measure at once, without Ray."""

    def put(measure: Measure) -> None:
        class Ray:
            @staticmethod
            def remote(*, accelerator_type: str = "", **_: object) -> Callable[[object], object]:
                def probe(model: Model, _task: Task, _inherited: object, _lane: object) -> object:
                    return measure(accelerator_type, model.source)

                return lambda _: SimpleNamespace(remote=probe)

            @staticmethod
            def wait(found: list[object], timeout: float) -> tuple[list[object], list[object]]:
                return found[:1], found[1:]

            @staticmethod
            def get(found: object) -> object:
                if isinstance(found, Exception):
                    raise found
                return found

        monkeypatch.setattr(share, "ray", Ray)
        nothing = SimpleNamespace(of_this_process=lambda: None)
        monkeypatch.setattr(share, "Inherited", nothing)

    return put


def test_the_share_holds_the_largest_model_on_the_smallest_gpu(probes: Set) -> None:
    measured: list[float] = []

    def measure(kind: str, source: str) -> float:
        measured.append(NEEDED[source, kind])
        return measured[-1]

    probes(measure)
    sweep = parse_sweep(SWEEP)
    assert share.measured_share(sweep, NODES) == 1 / 2
    assert sorted(measured) == sorted(NEEDED.values())
    assert share.measured_share(sweep, NODES[:2]) == 1 / 4
    assert share.measured_share(sweep, NODES[:1]) == 0.0


def test_no_share_is_smaller_than_the_cpus_can_use(probes: Set) -> None:
    """Eight CPUs hold four fine-tunes of two: sixteenths of the only GPU would leave most of its
    memory to nobody; a node with two GPUs has room for two a GPU."""
    probes(lambda *_: 1 / 16)
    sweep = parse_sweep(SWEEP + "execution: {finetune: {cpus: 2}}")
    one, two = {"CPU": 8.0, "GPU": 1.0}, {"CPU": 8.0, "GPU": 2.0}
    assert share.measured_share(sweep, [one]) == 1 / 4
    assert share.measured_share(sweep, [two]) == 1 / 2
    # One share for all: what the better equipped node can use.
    assert share.measured_share(sweep, [one, two, {"CPU": 64.0}]) == 1 / 4
    assert share.measured_share(sweep, [{"CPU": 1.0, "GPU": 1.0}]) == 1
    # Four places, not five; three on two GPUs, so at least one has to hold two.
    assert share.measured_share(sweep, [{"CPU": 9.0, "GPU": 1.0}]) == 1 / 4
    assert share.measured_share(sweep, [{"CPU": 7.0, "GPU": 2.0}]) == 1 / 2


def test_a_probe_that_fails_leaves_the_rest_and_a_signal_ends_the_wait(probes: Set) -> None:
    """The first model has an error of its own: its fine-tunes will say so."""
    found = {
        "hf:large": RayTaskError("probe", "traceback", ValueError("length")),
        "hf:little": 0.25,
    }
    probes(lambda _, source: found[source])
    looks: list[int] = []
    sweep, nodes = parse_sweep(SWEEP), [{"CPU": 64.0, "GPU": 1.0}]
    assert share.measured_share(sweep, nodes, lambda: looks.append(1)) == 1 / 4
    assert len(looks) == 2

    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        share.measured_share(sweep, nodes, interrupted)
