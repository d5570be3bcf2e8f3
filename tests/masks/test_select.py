"""The requested number of zeros, to the unit, against a sort that breaks ties by position."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tamt_ray.masks import bracket
from tamt_ray.masks.bracket import ThresholdFinder
from tamt_ray.masks.mask import Mask
from tamt_ray.masks.select import keep_largest, zeros_at


def by_sorting(values: np.ndarray, zeros: int) -> np.ndarray:
    """Prunes the smallest, among equal ones those that come first."""
    order = np.lexsort((np.arange(values.size), values.reshape(-1)))
    keep = np.ones(values.size, dtype=bool)
    keep[order[:zeros]] = False
    return keep.reshape(values.shape)


SMALL = st.lists(
    st.integers(-3, 3).map(float) | st.floats(width=32, allow_nan=False, allow_infinity=True),
    min_size=1, max_size=40,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(SMALL, st.data())
def test_small_tensors_with_ties(values: list[float], data: st.DataObject) -> None:
    zeros = data.draw(st.integers(0, len(values)))
    tensor = torch.tensor(values, dtype=torch.float32)
    keep = keep_largest(tensor, zeros)
    assert keep.dtype is torch.bool
    assert np.array_equal(keep.numpy(), by_sorting(tensor.numpy(), zeros))


SIDE = (200, 173)
"""34,600 entries: large enough for selection inside a bracket."""


def large(kind: str) -> np.ndarray:
    draw = np.random.default_rng(7)
    size = SIDE[0] * SIDE[1]
    values = {
        "normal": lambda: draw.normal(size=size),
        "constant": lambda: np.full(size, 0.25),
        "two-valued": lambda: draw.choice([0.0, 0.02], size=size, p=[0.7, 0.3]),
        "heavily tied": lambda: np.round(draw.normal(size=size), 1),
        "ascending": lambda: np.arange(size),
        "descending": lambda: np.arange(size)[::-1],
        "by row": lambda: np.repeat(draw.normal(size=SIDE[0]), SIDE[1]),
        # The sample takes every 33rd entry, as 33 is near the cube root of the size: these look
        # like nothing else to it.
        "against the sample": lambda: (
            np.where(np.arange(size) % 33 == 0, 100.0, -1.0) + draw.normal(size=size)
        ),
        "one outlier": lambda: np.eye(1, size, 5)[0] * 1e30,
        "infinite": lambda: draw.choice([-np.inf, 0.0, 1.0, np.inf], size=size),
        "tiny": lambda: draw.normal(size=size) * 1e-40,
        "scores at the start": lambda: (
            np.abs(draw.normal(size=size)) * 1e-3 + 0.02 * (draw.random(size) < 0.5)
        ),
    }[kind]()
    return values.astype(np.float32).reshape(SIDE)


@pytest.mark.parametrize(
    "kind",
    ["normal", "constant", "two-valued", "heavily tied", "ascending", "descending", "by row",
     "against the sample", "one outlier", "infinite", "tiny", "scores at the start"],
)  # fmt: skip
def test_large_matrices(kind: str) -> None:
    values = large(kind)
    tensor = torch.from_numpy(values.copy())
    for zeros in (0, 1, 2, 35, 6920, 17300, 24220, 34565, 34598, 34599, 34600):
        keep = keep_largest(tensor, zeros)
        assert np.array_equal(keep.numpy(), by_sorting(values, zeros)), zeros


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.floats(0, 0.999))
def test_large_matrices_at_random(seed: int, levels: int, sparsity: float) -> None:
    """From two distinct values to a million."""
    draw = np.random.default_rng(seed)
    values = draw.integers(0, 10**levels, size=(150, 151)).astype(np.float32)
    zeros = zeros_at(sparsity, values.size)
    keep = keep_largest(torch.from_numpy(values.copy()), zeros)
    assert np.array_equal(keep.numpy(), by_sorting(values, zeros))


STEPS = {
    "a little": lambda draw, values: values + draw.normal(size=values.shape) * 1e-3,
    "far away": lambda draw, values: values + 100,
    "and turn round": lambda draw, values: -values,
    "not at all": lambda draw, values: values,
    "into two clusters": lambda draw, values: np.where(values > 0, 1.0, -1.0) + values * 1e-6,
    "into ties": lambda draw, values: np.round(values, 1),
    "all to one": lambda draw, values: np.zeros_like(values),
    "past infinity": lambda draw, values: np.where(values > 1, np.inf, values),
}


@settings(max_examples=12, deadline=None)
@given(
    st.integers(0, 2**32 - 1), st.floats(0, 0.999), st.booleans(),
    st.lists(st.sampled_from(sorted(STEPS)), min_size=1, max_size=4),
)  # fmt: skip
def test_what_a_selection_remembers_changes_nothing(
    seed: int, sparsity: float, rounded: bool, moves: list[str]
) -> None:
    """However the values move between two cuts; the weights written are the kept ones."""
    draw = np.random.default_rng(seed)
    values = draw.normal(size=(150, 151))
    values = np.round(values, 2) if rounded else values
    weights = torch.from_numpy(draw.normal(size=values.shape).astype(np.float32))
    zeros = zeros_at(sparsity, values.size)
    selection = ThresholdFinder(zeros)
    for move in ["not at all", *moves, "not at all"]:
        values = STEPS[move](draw, values)
        tensor = torch.from_numpy(values.astype(np.float32))
        cut, expected = selection.cut(tensor), by_sorting(tensor.numpy(), zeros)
        assert np.array_equal(cut.keep(tensor).numpy(), expected), move
        written = torch.full_like(weights, 7.0)
        cut.write(weights, tensor, written)
        assert np.array_equal(written.numpy(), np.where(expected, weights.numpy(), 0)), move


def test_a_selection_looks_near_the_last_cut_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values that move a little cost no second guess; values that jump do."""
    draw = np.random.default_rng(3)
    values = torch.from_numpy(draw.normal(size=40_000).astype(np.float32))
    selection = ThresholdFinder(28_000)
    selection.cut(values)
    guesses = 0
    sort = torch.Tensor.sort

    def counted(tensor: torch.Tensor) -> object:
        nonlocal guesses
        guesses += len(tensor) > 1000  # The sample of a guess; that of a bracket is smaller.
        return sort(tensor)

    monkeypatch.setattr(torch.Tensor, "sort", counted)
    for _ in range(5):
        values += torch.from_numpy(draw.normal(size=40_000).astype(np.float32)) * 1e-4
        selection.cut(values)
    assert guesses == 0
    selection.cut(values + 10)
    assert guesses == 1


def test_scores_in_two_heaps_are_only_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a search begins: all scores 0 or .02, moving by a learning rate until the heaps meet."""
    draw = np.random.default_rng(5)
    looks: list[float] = []
    look = bracket._look

    def counted(flat: torch.Tensor, low: float, high: float) -> tuple[int, torch.Tensor]:
        below, inside = look(flat, low, high)
        looks.append(len(inside) / len(flat))
        return below, inside

    monkeypatch.setattr(bracket, "_look", counted)
    scores = np.zeros(40_000, dtype=np.float32)
    scores[draw.permutation(40_000)[28_000:]] = 0.02
    drift = draw.normal(size=40_000).astype(np.float32) * 2e-4
    selection, spent = ThresholdFinder(28_000), []
    for _ in range(60):
        looks.clear()
        keep = selection.cut(torch.from_numpy(scores)).keep(torch.from_numpy(scores))
        assert np.array_equal(keep.numpy(), by_sorting(scores, 28_000))
        spent.append(list(looks))
        scores += drift
    assert spent[1:12] == [[]] * 11, "the heaps are apart, the boundary where it was"
    assert len(spent[12]) == 1
    assert spent[12][0] < 0.1
    assert sorted(map(sum, spent[12:]))[24] < 0.01, "then most brackets hold the boundary"


def test_values_of_both_precisions_and_any_length_are_told_apart() -> None:
    """Doubles that are one float, and a length that is no multiple of a word."""
    values = 1 + torch.randperm(20_003, generator=torch.Generator().manual_seed(1)).double() * 1e-12
    keep = keep_largest(values, 14_000)
    assert np.array_equal(keep.numpy(), by_sorting(values.numpy(), 14_000))


def test_a_transposed_matrix_is_read_as_it_is_seen() -> None:
    values = large("heavily tied")
    keep = keep_largest(torch.from_numpy(values).T, 17300)
    assert np.array_equal(keep.numpy(), by_sorting(values.T, 17300))


def test_the_input_is_left_alone() -> None:
    values = torch.tensor([[3.0, 1.0], [2.0, 1.0]])
    keep = keep_largest(values, 1)
    assert keep.tolist() == [[True, False], [True, True]]
    assert values.tolist() == [[3.0, 1.0], [2.0, 1.0]]


@pytest.mark.parametrize("zeros", [-1, 5])
def test_impossible_numbers_of_zeros(zeros: int) -> None:
    with pytest.raises(ValueError, match="of 4 weights"):
        keep_largest(torch.zeros(4), zeros)


@pytest.mark.parametrize(
    ("sparsity", "weights", "zeros"),
    [(0.0, 10, 0), (0.5, 10, 5), (0.5, 11, 6), (0.7, 10, 7), (0.1, 4, 0), (0.3, 10, 3),
     (0.29, 100, 29), (0.57, 100, 57), (0.7, 30522 * 768, 16_408_627), (0.999, 10, 10),
     (0.9, 589_824, 530_842)],
)  # fmt: skip
def test_the_number_of_zeros(sparsity: float, weights: int, zeros: int) -> None:
    """The nearest whole number, computed by hand; half upwards."""
    assert zeros_at(sparsity, weights) == zeros


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 0.999), st.integers(1, 12), st.integers(1, 12), st.integers(0, 9))
def test_every_way_to_a_mask_has_the_exact_sparsity(
    sparsity: float, rows: int, columns: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    weights = {
        "a": torch.randint(-2, 3, (rows, columns), generator=generator).float(),
        "b": torch.zeros(columns, rows),
    }
    zeros = round(2 * (rows * columns * sparsity)) / 2
    for mask in (
        Mask.by_magnitude(weights, sparsity),
        Mask.by_score(weights, sparsity),
        Mask.at_random(weights, sparsity, seed),
    ):
        for name in weights:
            removed = int((~mask[name]).sum())
            assert abs(removed - sparsity * rows * columns) <= 0.5 + 1e-9
            assert abs(removed - zeros) <= 0.5
