"""When TAMT reaches IMP's best: read off curves drawn by hand."""

import numpy as np
import polars as pl
import pytest

from tamt_ray.analysis.stats.search_cost import Curve, saving, search_costs


def curve(points: dict[float, float], seconds: float = 2.0, noise: float = 0.0) -> Curve:
    """Scores by iterations, three masks and three runs; so many seconds an iteration."""
    iterations = np.array([*points], dtype=float)
    spread = noise * (np.arange(9).reshape(3, 3) % 4 - 1.5)
    scores = np.array([value + spread for value in points.values()])
    return Curve(iterations, np.outer(iterations * seconds, np.ones(3)), scores)


IMP = curve({1000: 50.0, 2000: 60.0, 4000: 58.0}, seconds=3.0)


def test_interpolated_between_two_checkpoints() -> None:
    """60 lies halfway between 55 at 200 and 65 at 600: 400 iterations, five times fewer; at 2
    instead of 3 seconds an iteration 7.5 times less time."""
    found = saving(IMP, curve({200: 55.0, 600: 65.0, 900: 59.0}))
    assert found.target == 60
    assert found.imp == (2000, 6000)
    assert found.found == pytest.approx((400, 800))
    assert found.ratios == pytest.approx((5, 7.5))
    assert (found.at_first, found.reached) == (False, 1)
    assert found.intervals == (pytest.approx((5, 5)), pytest.approx((7.5, 7.5)))


def test_there_from_the_first_checkpoint_on() -> None:
    found = saving(IMP, curve({200: 61.0, 600: 65.0}))
    assert found.at_first
    assert found.found == (200, 400)


def test_not_reached() -> None:
    found = saving(IMP, curve({200: 55.0, 600: 59.9}))
    assert (found.found, found.ratios, found.intervals, found.reached) == (None, None, None, 0)


def test_the_first_time_counts() -> None:
    """Up at 300, down at 600, up again: the first crossing."""
    found = saving(IMP, curve({200: 50.0, 400: 70.0, 600: 40.0, 800: 70.0}))
    assert found.found is not None
    assert found.found[0] == pytest.approx(300)


def test_noise_widens_the_interval_and_may_take_it_away() -> None:
    calm = saving(IMP, curve({200: 55.0, 600: 65.0}, noise=0.5))
    loud = saving(IMP, curve({200: 55.0, 600: 65.0}, noise=1.5))
    assert calm.intervals is not None
    assert loud.intervals is not None
    assert calm.intervals[0][0] > loud.intervals[0][0]
    assert calm.intervals[0][1] < loud.intervals[0][1]
    # The last point lies at the target: about half of the resamples fall short of it.
    close = saving(IMP, curve({200: 55.0, 600: 60.0}, noise=2.0))
    assert 0.2 < close.reached < 0.8
    assert close.intervals is None


def test_seeds_of_other_methods_do_not_narrow_the_interval() -> None:
    """Rows of seeds that neither curve has, as a third method brings them."""
    pair = IMP, curve({200: 55.0, 600: 65.0}, noise=0.5)
    wider = [
        Curve(c.iterations, np.pad(c.seconds, [(0, 0), (0, 3)], constant_values=np.nan),
              np.pad(c.scores, [(0, 0), (0, 3), (0, 3)], constant_values=np.nan))
        for c in pair
    ]  # fmt: skip
    ours, theirs = saving(*pair).intervals, saving(*wider).intervals
    assert ours is not None
    assert theirs is not None
    assert theirs[0][0] <= ours[0][0] * 1.02
    assert theirs[0][1] >= ours[0][1] * 0.98


def test_two_seeds_that_agree_have_no_interval() -> None:
    """Both are above IMP's best at the first checkpoint; by how little is not asked."""
    pair = [Curve(c.iterations, c.seconds[:, :2], c.scores[:, :2, :2])
            for c in (IMP, curve({200: 61.0, 600: 65.0}))]  # fmt: skip
    found = saving(*pair)
    assert found.at_first
    assert found.intervals is None
    assert saving(IMP, curve({200: 61.0, 600: 65.0})).intervals is not None, "three do"


@pytest.mark.parametrize(("masks", "runs"), [(1, 1), (3, 1), (1, 3)])
def test_one_seed_of_either_kind_has_no_interval(masks: int, runs: int) -> None:
    single = [Curve(c.iterations, c.seconds[:, :masks], c.scores[:, :masks, :runs])
              for c in (IMP, curve({200: 55.0, 600: 65.0}, noise=0.5))]  # fmt: skip
    found = saving(*single)
    assert found.ratios is not None
    assert (found.intervals, found.reached) == (None, None)


def rows(
    method: str, iterations: int, checkpoint: int | None, score: float, **more: object
) -> list:
    return [
        {"model": "m", "sparsity": 0.7, "method": method, "mask_seed": mask, "seed": seed,
         "checkpoint": checkpoint, "train_size": None, "iterations": iterations, "task": task,
         "role": None,
         "best": score / 100, "search_seconds": 1.0 * iterations, "device": "gpu", **more}
        for mask in (1, 2) for seed in (1, 2) for task in ("a", "b")
    ]  # fmt: skip


def test_from_the_table_of_runs() -> None:
    table = pl.DataFrame(
        rows("imp", 2000, None, 60) + rows("imp", 500, 500, 50) + rows("tamt", 1200, None, 70)
        + rows("tamt", 200, 200, 50) + rows("tamt", 9, 9, 99, best=None)
        + rows("tamt", 1200, None, 5, train_size=1000)
        + rows("tamt", 1200, None, 5, task="c", seed=1, mask_seed=1)[:1],
        infer_schema_length=None,
    )  # fmt: skip
    found = search_costs(table, [("imp", "tamt"), ("imp", "other")]).to_dicts()
    assert len(found) == 1
    row = found[0]
    # Halfway between 200 and 1200 the score is 60. Task c has no checkpoint and does not count.
    assert (row["tasks"], row["target"], row["imp_iterations"]) == ("a, b", pytest.approx(60), 2000)
    assert row["iterations"] == pytest.approx(700)
    assert row["iterations_ratio"] == row["seconds_ratio"] == pytest.approx(2000 / 700)
    assert row["device"] == "gpu"


def test_two_devices_are_named() -> None:
    table = pl.DataFrame(
        rows("imp", 500, 500, 50) + rows("imp", 2000, None, 60, device="cpu")
        + rows("tamt", 1200, None, 70),
        infer_schema_length=None,
    )  # fmt: skip
    assert search_costs(table, [("imp", "tamt")])["device"].to_list() == ["cpu / gpu"]


def test_without_checkpoints_there_is_nothing_to_say() -> None:
    table = pl.DataFrame(rows("imp", 2000, None, 60) + rows("tamt", 1200, None, 70),
                         infer_schema_length=None)  # fmt: skip
    assert search_costs(table, [("imp", "tamt")]).is_empty()
