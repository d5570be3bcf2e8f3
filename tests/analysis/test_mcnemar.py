"""McNemar's test by hand, and which fine-tunes it compares."""

from collections.abc import Callable, Mapping

import numpy as np
import polars as pl
import pytest

from tamt_ray.analysis.stats.mcnemar import Right, counted_answers, mcnemar, mcnemar_table


def answers(right: str) -> Right:
    return np.array([sign == "1" for sign in right])


@pytest.mark.parametrize(
    ("a", "b", "p"),
    [
        # One against nine: twice the chance of at most one head in ten tosses.
        ("1" + "0" * 9 + "11", "0" + "1" * 9 + "11", 2 * (1 + 10) / 2**10),
        ("110", "011", 1.0),
        ("1111", "1111", 1.0),
        ("111111", "000000", 2 / 2**6),
    ],
)
def test_the_p_value_is_the_binomial_one(a: str, b: str, p: float) -> None:
    assert mcnemar(answers(a), answers(b)) == pytest.approx(p)
    assert mcnemar(answers(b), answers(a)) == pytest.approx(p)


COLUMNS = ["model", "method", "sparsity", "mask_seed", "task", "seed", "unit"]
ROWS = [
    ("m", "full", 0.0, None, "t", 1, "dense"),
    ("m", "omp", 0.5, None, "t", 1, "omp"),
    ("m", "omp", 0.5, None, "t", 2, "omp-2"),
    ("m", "omp", 0.7, None, "t", 1, "omp-70"),
    ("m", "kd", 0.5, 1, "t", 1, "kd-1"),
    ("m", "kd", 0.5, 2, "t", 1, "kd-2"),
    ("m", "imp", 0.5, 2, "t", 1, "imp-2"),
    ("m", "imp", 0.5, 2, "u", 1, "imp-u"),
]
RIGHT: Mapping[str, Right | str] = {
    "dense": answers("1111"), "omp": answers("1100"), "omp-70": answers("11"),
    "kd-1": answers("0110"), "kd-2": answers("1111"), "imp-2": "gone", "imp-u": answers("1"),
}  # fmt: skip


@pytest.fixture
def compare() -> Callable[[str, str], pl.DataFrame]:
    table = pl.DataFrame(ROWS, schema=COLUMNS, orient="row")
    return lambda a, b: mcnemar_table(table, a, b, RIGHT.__getitem__)


def test_fine_tunes_that_share_their_seeds_are_compared(
    compare: Callable[[str, str], pl.DataFrame],
) -> None:
    found = compare("kd", "omp")
    counts = ("mask_seed", "seed", "both", "only_a", "only_b", "neither")
    assert found.select(counts).rows() == [(1, 1, 1, 1, 1, 1), (2, 1, 2, 2, 0, 0)]
    assert found["p"].to_list() == pytest.approx([1.0, 0.5])
    dense = compare("full", "omp")
    assert dense["sparsity"].to_list() == [0.5, 0.7]
    assert dense["reason"].to_list() == ["", "not the same examples"]


def test_a_comparison_without_predictions_is_a_row_with_a_reason(
    compare: Callable[[str, str], pl.DataFrame],
) -> None:
    (row,) = compare("kd", "imp").to_dicts()
    assert (row["mask_seed"], row["p"], row["only_a"], row["reason"]) == (2, None, None, "gone")


def test_answers_count_at_the_evaluation_of_their_half() -> None:
    table = pl.DataFrame(
        {
            "example": [0, 0, 1, 1], "half": [1, 1, 2, 2], "step": [5, 9, 5, 9],
            "gold": [1, 1, 0, 0], "predicted": [1, 0, 1, 0],
        }
    )  # fmt: skip
    found = {steps: counted_answers(table, steps) for steps in ((5, 9), (9, 5), (5, 5))}
    assert [np.asarray(right).tolist() for right in found.values()] == [
        [True, True], [False, False], [True, False],
    ]  # fmt: skip
    texts = table.drop("gold", "predicted").with_columns(exact_match=pl.Series([1.0, 0, 0, 1]))
    assert np.asarray(counted_answers(texts, (9, 9))).tolist() == [False, True]
    numbers = table.with_columns(pl.col("gold").cast(pl.Float32))
    assert counted_answers(numbers, (5, 5)) == "predicted numbers are neither right nor wrong"
