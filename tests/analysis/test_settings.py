"""What was asked for: steps and seconds behind each mask, and how everything was trained."""

from collections.abc import Callable

import pytest

from tamt_ray.analysis.report.blocks import Bullets, Group, ReportTable
from tamt_ray.analysis.report.context import Context
from tamt_ray.analysis.report.sections import cost, settings, trust
from tamt_ray.analysis.report_data import ReportData, gather
from tamt_ray.methods.tamt import score_travel
from tamt_ray.plan.expand import expand
from tamt_ray.spec.load import parse_sweep


@pytest.fixture(scope="module")
def material(grid_text: Callable, fill_grid: Callable) -> ReportData:
    """Two sparsities, with checkpoints and a further prune interval."""
    text = grid_text(("bert",), ("mnli", "squad"), (0.5, 0.7), (1000,), (500,), {"mnli": (900,)})
    sweep = parse_sweep(text)
    plan = expand(sweep)
    return gather(sweep, plan, fill_grid(plan), {})


def cells(table: ReportTable, method: str) -> list[list[str]]:
    """The rows of one method, without its name."""
    return [
        [cell if isinstance(cell, str) else cell.text for cell in row][1:]
        for row in table.rows
        if not isinstance(row, Group) and row[0] == method
    ]


def test_steps_and_times_are_those_of_the_paper(material: ReportData) -> None:
    """IMP 2792 · (10 s − 1) steps, TAMT by its table; 0.13 s a step of IMP and 0.15 of TAMT."""
    (table,) = cost.searches(Context(material))
    assert cells(table, "imp") == [
        ["11,168", "24 min 12 s ± 0 s", "–"], ["16,752", "36 min 18 s ± 0 s", "–"],
    ]  # fmt: skip
    assert [row[0] for row in cells(table, "tamt_mlm")] == ["11,000", "17,000"]
    assert [row[0] for row in cells(table, "tamt_mlm_kd")] == ["11,000", "17,000"]
    assert cells(table, "tamt_mlm")[0][1].startswith("27 min 30 s")
    assert cells(table, "random") == []
    assert "NVIDIA A100" in table.caption


def test_score_travel_by_hand() -> None:
    """0.4 + 0.3 + 0.2 + 0.1, then nothing, over 0.05; and the paper's 59 φ and 24 φ at 70 %."""
    assert score_travel(0.4, 4, 3, 0.05) == pytest.approx(18)
    assert score_travel(0.4, 4, 9, 0.05) == pytest.approx(20)
    assert score_travel(5e-5, 27_920, 17_000, 0.01) == pytest.approx(59, abs=0.2)
    assert score_travel(2e-5, 27_920, 17_000, 0.01) == pytest.approx(24, abs=0.5)


def test_short_travels_are_marked(grid_text: Callable, material: ReportData) -> None:
    (table,) = cost.searches(Context(material))
    assert cells(table, "tamt_mlm")[1][2] == "59.1 φ"
    assert "warn" not in {cell.mark for row in table.rows if not isinstance(row, Group)
                          for cell in row if not isinstance(cell, str)}  # fmt: skip
    text = grid_text(("bert",), ("mnli",), (0.7,), (1000,)) + "search: {decay_steps: 400}\n"
    sweep = parse_sweep(text)
    short = Context(gather(sweep, expand(sweep), {}, {}))
    (table,) = cost.searches(short)
    marks = {cell.text: cell.mark for row in table.rows for cell in row
             if not isinstance(cell, str)}  # fmt: skip
    assert marks["1 φ"] == "warn"
    assert "less than 10 φ" in caveats(short)
    assert "less than 10 φ" not in caveats(Context(material))


def caveats(context: Context) -> str:
    first, *_ = trust.section(context)
    assert isinstance(first, Bullets)
    return " ".join(first.lines)


def test_recipes_and_data_sets(material: ReportData) -> None:
    methods = str(settings.methods(material))
    assert "lr 5e-05, β 0.9/0.999, ε 1e-08, decay 0, clip 1" in methods
    assert "from omp, φ 0.01, α 2, S ≥ φ, S ranked every step" in methods
    assert "2,792 steps per level of 10 %" in methods
    data = settings.datasets(material)
    assert cells(data, "mnli")[0][-1] == "900 (3 ep.)"
    assert cells(data, "squad")[0][3:] == [
        "lr 3e-05, batch 16, epochs 2, decay 0, clip 1", "384 tokens", "1,000 steps", "–",
    ]  # fmt: skip


def test_the_released_code_is_told_apart(grid_text: Callable) -> None:
    text = grid_text(tasks=("cola",)) + "recipe: released_code\n"
    sweep = parse_sweep(text)
    words = str(settings.methods(gather(sweep, expand(sweep), {}, {})))
    assert "no rewinding" in words
    assert "BertAdam" in words
    assert "per tensor" in words
    assert "S > φ, S ranked every 1000 steps" in words
