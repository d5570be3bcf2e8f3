"""The one sentence that answers: who is best where, by how much, and whether that is noise."""

from collections.abc import Callable

import pytest

from tamt_ray.analysis.results import collect
from tamt_ray.analysis.stats.answer import Answer, answer
from tamt_ray.plan.expand import Plan, expand
from tamt_ray.plan.unit import Cell
from tamt_ray.spec.sweep import Sweep


@pytest.fixture
def answered(sweep: Sweep, fill: Callable) -> Callable[..., Answer]:
    def build(score: Callable | None = None, **changes: object) -> Answer:
        plan = expand(sweep.model_copy(update=changes))
        return answer(collect(plan, fill(plan, score) if score else fill(plan)))

    return build


def test_a_clear_winner_by_hand(answered: Callable[..., Answer]) -> None:
    """IMP is 5 points lower in each pair of runs, give or take a few tenths."""
    found = answered(_noisy)
    (lead,) = found.leads
    assert (lead.method, lead.second, lead.noise) == ("tamt_kd", "imp", "beyond")
    assert lead.margin == pytest.approx(5, abs=0.3)
    assert found.text.startswith("Highest average over 2 tasks: tamt_kd at 50 % (6")
    assert "points above imp, beyond noise)" in found.text
    assert found.text.endswith("32 of 32 runs are done.")


def _noisy(cell: Cell) -> float:
    """5 points between two methods; single runs move by a tenth of one."""
    base = {"full": 0.9, "random": 0.3, "omp": 0.55, "imp": 0.6, "tamt_kd": 0.65}
    mask, seed = cell.mask_seed or 0, cell.seed or 0
    shift = 0.001 * ((mask + seed * len(cell.method)) % 5)
    return base[cell.method] + shift


def test_one_seed_says_nothing_about_noise(answered: Callable[..., Answer]) -> None:
    found = answered(mask_seeds=(1,), finetune_seeds=(1,))
    assert "noise unknown: one mask seed and one fine-tuning seed" in found.text
    assert "the dense model has 88.7 %" in found.text


def test_a_small_lead_is_within_noise(answered: Callable[..., Answer]) -> None:
    def score(cell: Cell) -> float:
        bonus = 0.001 if cell.method == "imp" else 0.0
        mask, seed = cell.mask_seed or 0, cell.seed or 0
        odd = (7 * mask + 3 * seed + len(cell.method)) % 5
        return 0.5 + bonus + 0.02 * odd

    assert "within noise" in answered(score).text


def test_a_constant_answer_is_as_good(answered: Callable[..., Answer], sweep: Sweep) -> None:
    only = {"stsb": sweep.tasks["stsb"]}
    assert "no better than a constant answer" in answered(lambda _: -0.1, tasks=only).text


def test_sparsities_of_one_winner_are_one_clause(answered: Callable[..., Answer]) -> None:
    text = answered(sparsities=(0.3, 0.5, 0.7)).text
    assert text.count("tamt_kd") == 1
    assert "tamt_kd at 30, 50 and 70 % (5.0 points above imp" in text


def test_nothing_yet(plan: Plan) -> None:
    assert answer(collect(plan, {})).text == (
        "No subnetwork has a whole average over 2 tasks yet: 0 of 32 runs are done."
    )


def test_partial_results_count_what_is_there(plan: Plan, records: dict) -> None:
    del records[next(u for c, u in plan.cells["finetune"].items() if c.method == "tamt_kd")]
    found = answer(collect(plan, records))
    assert found.leads[0].method == "tamt_kd"
    assert "31 of 32 runs are done." in found.text


def test_without_tasks_the_lowest_loss(answered: Callable[..., Answer]) -> None:
    text = answered(tasks={}).text
    assert text.startswith("Lowest MLM loss of mini at 50 %: tamt_kd (4.515 nats).")
    assert text.endswith("8 of 8 runs are done.")
