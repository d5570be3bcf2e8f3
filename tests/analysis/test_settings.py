"""What was asked for: steps and seconds behind each mask, and how everything was trained."""

from collections.abc import Callable

import pytest

from tamt_ray.analysis.report.closing import caveats
from tamt_ray.analysis.report.settings import (
    datasets_table,
    iterations_table,
    methods_table,
    times_table,
    travels_table,
)
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


def cells(html: str, method: str) -> list[str]:
    """The row of one method."""
    row = html[html.index(f'<th scope="row">{method}</th>') :].split("</tr>")[0]
    return [cell.split("</td>")[0] for cell in row.split("<td>")[1:]]


def test_iterations_are_those_of_the_paper(material: ReportData) -> None:
    """As in the paper: IMP 2792 · (10 s − 1), TAMT by its table; checkpoints are not among them."""
    html = iterations_table(material)
    assert cells(html, "imp") == ["11,168", "16,752"]
    assert cells(html, "tamt_mlm") == cells(html, "tamt_mlm_kd") == ["11,000", "17,000"]
    assert "random" not in html.replace("kd_from_random", "")


def test_times_are_means_over_masks(material: ReportData) -> None:
    """0.13 s an iteration of IMP and 0.15 of TAMT, as the records were made."""
    html = times_table(material)
    assert cells(html, "imp") == ["24 min 12 s ± 0 s", "36 min 18 s ± 0 s"]
    assert cells(html, "tamt_mlm")[0].startswith("27 min 30 s")
    assert "NVIDIA A100" in html


def test_score_travel_by_hand() -> None:
    """0.4 + 0.3 + 0.2 + 0.1, then nothing, over 0.05; and the paper's 59 φ and 24 φ at 70 %."""
    assert score_travel(0.4, 4, 3, 0.05) == pytest.approx(18)
    assert score_travel(0.4, 4, 9, 0.05) == pytest.approx(20)
    assert score_travel(5e-5, 27_920, 17_000, 0.01) == pytest.approx(59, abs=0.2)
    assert score_travel(2e-5, 27_920, 17_000, 0.01) == pytest.approx(24, abs=0.5)


def test_short_travels_are_marked(grid_text: Callable, material: ReportData) -> None:
    html = travels_table(material)
    assert cells(html, "tamt_mlm")[1] == "59.1 φ"
    assert "missing" not in html.split("<tbody>")[1]
    text = grid_text(("bert",), ("mnli",), (0.7,), (1000,)) + "search: {decay_steps: 400}\n"
    sweep = parse_sweep(text)
    short = gather(sweep, expand(sweep), {}, {})
    assert '<td class="missing">1 φ</td>' in travels_table(short)
    assert "less than 10 φ" in caveats(short)
    assert "less than 10 φ" not in caveats(material)


def test_recipes_and_data_sets(material: ReportData) -> None:
    methods = methods_table(material)
    assert "lr 5e-05, β 0.9/0.999, ε 1e-08, decay 0, clip 1" in methods
    assert "from omp, φ 0.01, α 2, S ≥ φ, S ranked every step" in methods
    assert "2,792 steps per level of 10 %" in methods
    data = datasets_table(material)
    assert cells(data, "mnli")[-1] == "900 (3 ep.)"
    assert cells(data, "squad")[3:] == [
        "lr 3e-05, batch 16, epochs 2, decay 0, clip 1", "384 tokens", "1,000 steps", "–",
    ]  # fmt: skip


def test_the_released_code_is_told_apart(grid_text: Callable) -> None:
    text = grid_text(tasks=("cola",)) + "recipe: released_code\n"
    sweep = parse_sweep(text)
    html = methods_table(gather(sweep, expand(sweep), {}, {}))
    assert "no rewinding" in html
    assert "BertAdam" in html
    assert "per tensor" in html
    assert "S &gt; φ, S ranked every 1000 steps" in html
