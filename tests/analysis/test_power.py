"""How many seeds it takes, against simulation and against what the intervals of `effect` do."""

import numpy as np
import polars as pl
import pytest

from tamt_ray.analysis.stats.effect import Design, effect
from tamt_ray.analysis.stats.power import Components, components, detectable, masks_needed, power


def drawn(rng: np.random.Generator, found: Components, masks: int, runs: int) -> Design:
    """One table of differences with these variances and mean 0."""
    a, b, c = np.sqrt(found)
    return Design(
        a * rng.standard_normal((masks, 1))
        + b * rng.standard_normal((1, runs))
        + c * rng.standard_normal((masks, runs))
    )


def test_components_of_a_table_by_hand() -> None:
    # Rows differ by 4 and columns by 2, nothing is left: row means 1 and 5, column means 2 and 4.
    found = components([Design(np.array([[0.0, 2.0], [4.0, 6.0]]))])
    assert found == pytest.approx((8.0, 2.0, 0.0))
    assert components([Design(np.array([[1.0, 2.0]]))]) is None


def test_components_come_back_from_many_tables() -> None:
    rng, true = np.random.default_rng(1), Components(0.5, 1.0, 2.0)
    found = components(drawn(rng, true, 3, 3) for _ in range(4000))
    assert found == pytest.approx(true, rel=0.1)


@pytest.mark.parametrize("true", [Components(0.5, 0.5, 1.0), Components(0.0, 0.3, 2.0)])
def test_the_difference_that_is_seen_is_seen_in_four_cases_of_five(true: Components) -> None:
    rng, masks, runs = np.random.default_rng(2), 4, 4
    size = detectable(true, masks, runs)
    seen = 0
    for _ in range(2000):
        table = drawn(rng, true, masks, runs)
        found = effect(table._replace(values=table.values + size))
        seen += bool(found and found.positive)
    assert 0.68 < seen / 2000 < 0.9


def test_more_seeds_see_less_and_the_fewest_are_found() -> None:
    found = Components(0.3, 0.3, 1.0)
    assert detectable(found, 3, 3) > detectable(found, 6, 3) > detectable(found, 6, 6)
    needed = masks_needed(found, 5, 1.0)
    assert needed is not None
    assert detectable(found, needed, 5) <= 1.0 < detectable(found, needed - 1, 5)
    # However many masks there are, two runs that differ by so much never see a point.
    assert masks_needed(Components(0.0, 9.0, 0.0), 2, 1.0) is None


def test_a_row_for_each_place_with_two_seeds_of_both_kinds() -> None:
    rows = [
        {"model": "m", "sparsity": sparsity, "task": "t", "method": method, "mask_seed": mask,
         "seed": seed, "score": 10.0 * (method == "b") + 4 * mask * (method == "b") + seed}
        for sparsity in (0.5, 0.7) for method in ("a", "b") for mask in (1, 2)
        for seed in ((1, 2) if sparsity == 0.7 else (1,))
    ]  # fmt: skip
    (found,) = power(pl.DataFrame(rows), masks=2, seeds=2).to_dicts()
    assert (found["sparsity"], found["task"]) == (0.7, "t")
    # b − a is 14 and 18 under the two masks, whatever the run.
    assert (found["masks"], found["runs"], found["rest"]) == pytest.approx((8**0.5, 0.0, 0.0))
