"""Units left to run and the reasons, on a plan small enough to count by hand."""

import pytest

from tamt_ray.plan.cost import ROUGH
from tamt_ray.plan.expand import Plan, expand
from tamt_ray.plan.status import Decision, KindStatus, decide, tally, unit_path
from tamt_ray.spec.load import parse_sweep
from tamt_ray.values.model import ModelSize

SMALL = """
name: small
models: {mini: {source: "dir:m", head: {steps: 5}}}
corpus: {train: {source: "dir:a.txt"}, validation: {source: "dir:b.txt"}}
methods: [omp, imp]
sparsities: [0.3]
mask_seeds: [1]
finetune_seeds: [7]
tasks:
  stsb:
    kind: regression
    train: {source: "dir:s.csv"}
    validation: [{source: "dir:t.csv"}]
    text: [a, b]
"""
HEAD, OMP = "head/mini", "search/mini/omp/0.3"
IMP2, IMP3 = "search/mini/imp/0.2/1", "search/mini/imp/0.3/1"
EVALS = [f"pretrain_eval/mini/{m}" for m in ("full/0.0", "omp/0.3", "imp/0.3/1")]
TUNES = [f"finetune/mini/{m}/stsb/7" for m in ("full/0.0", "omp/0.3", "imp/0.3/1")]


@pytest.fixture(scope="module")
def plan() -> Plan:
    return expand(parse_sweep(SMALL))


def decided(plan: Plan, done: list[str], failed: list[str]) -> dict[str, str]:
    ids = {unit_path(unit): unit.id for unit in plan.units.values()}
    decisions = decide(plan, {ids[path] for path in done}, {ids[path] for path in failed})
    return {path: decisions[unit_id].name for path, unit_id in ids.items()}


def test_nothing_done(plan: Plan) -> None:
    assert decided(plan, [], []) == {
        HEAD: "RUN", OMP: "RUN", IMP2: "WAIT", IMP3: "WAIT",
        EVALS[0]: "WAIT", EVALS[1]: "WAIT", EVALS[2]: "WAIT",
        TUNES[0]: "RUN", TUNES[1]: "WAIT", TUNES[2]: "WAIT",
    }  # fmt: skip


def test_what_is_done_is_skipped_and_its_children_may_run(plan: Plan) -> None:
    assert decided(plan, [HEAD, OMP, TUNES[0]], []) == {
        HEAD: "SKIP", OMP: "SKIP", IMP2: "RUN", IMP3: "WAIT",
        EVALS[0]: "RUN", EVALS[1]: "RUN", EVALS[2]: "WAIT",
        TUNES[0]: "SKIP", TUNES[1]: "RUN", TUNES[2]: "WAIT",
    }  # fmt: skip


def test_a_failure_blocks_what_needs_it_and_nothing_else(plan: Plan) -> None:
    assert decided(plan, [HEAD], [IMP2]) == {
        HEAD: "SKIP", OMP: "RUN", IMP2: "SET_ASIDE", IMP3: "BLOCKED",
        EVALS[0]: "RUN", EVALS[1]: "WAIT", EVALS[2]: "BLOCKED",
        TUNES[0]: "RUN", TUNES[1]: "WAIT", TUNES[2]: "BLOCKED",
    }  # fmt: skip


def test_a_done_child_of_a_failed_parent_stays_done(plan: Plan) -> None:
    """A parent's directory was deleted and its repeat failed; what was computed from it stands."""
    found = decided(plan, [HEAD, IMP3], [IMP2])
    assert (found[IMP3], found[TUNES[2]], found[EVALS[2]]) == ("SKIP", "RUN", "RUN")


def test_a_record_outweighs_an_old_failure(plan: Plan) -> None:
    assert decided(plan, [OMP], [OMP])[OMP] == "SKIP"


def test_the_tally_by_hand(plan: Plan) -> None:
    ids = {unit_path(unit): unit.id for unit in plan.units.values()}
    found = tally(plan, decide(plan, {ids[HEAD], ids[OMP]}, {ids[IMP2]}))

    def hours(*paths: str) -> float:
        return sum(ROUGH.seconds(plan.units[ids[path]]) for path in paths) / 3600

    evals, tunes = hours(*EVALS[:2]), hours(*TUNES[:2])
    assert found == {
        "head": KindStatus(1, 1, 0, 0, 0, 0, 0.0),
        "search": KindStatus(3, 1, 0, 0, failed=1, blocked=1, gpu_hours=0.0),
        "pretrain_eval": KindStatus(3, 0, 2, 0, 0, 1, pytest.approx(evals)),
        "finetune": KindStatus(3, 0, 2, 0, 0, 1, pytest.approx(tunes)),
    }
    assert evals > 0
    assert tunes > 0


def test_waiting_is_part_of_what_is_to_run(plan: Plan) -> None:
    found = tally(plan, decide(plan, (), ()))
    assert (found["search"].to_run, found["search"].waiting) == (3, 2)
    assert (found["finetune"].to_run, found["finetune"].waiting) == (3, 2)


def test_every_decision_has_words_for_people() -> None:
    assert all(len(decision.value) > 10 for decision in Decision)


@pytest.mark.parametrize(
    ("old", "new"),
    [("steps: 5", "steps: 500"), ('"dir:m"', '"dir:m", parameters: 1e9'),
     ("text: [a, b]", "epochs: 30\n    text: [a, b]")],
)  # fmt: skip
def test_the_estimate_grows_with_the_work(old: str, new: str) -> None:
    def total(text: str) -> float:
        return sum(ROUGH.seconds(unit) for unit in expand(parse_sweep(text)).units.values())

    assert total(SMALL.replace(old, new)) > total(SMALL)


def test_the_estimate_of_a_mask_training_by_hand() -> None:
    """KD: 6 + 2 operations per weight of the layers and token; 40e12 per second; one second
    beside."""
    text = SMALL.replace("[omp, imp]", "[{method: tamt_kd, steps: 1000}]")
    (unit,) = (u for u in expand(parse_sweep(text)).units.values() if u.kind == "search")
    assert ROUGH.seconds(unit) == pytest.approx(
        8 * 1000 * 16 * 512 * ModelSize.usual(110e6).body / 40e12 + 1
    )
