"""Label columns as classes and numbers."""

import pytest

from tamt_ray.tasks.classification import Classification
from tamt_ray.tasks.features.labels import labels
from tamt_ray.tasks.regression import Regression

TABLE = {"source": "dir:unused.csv"}


def classification(**settings: object) -> Classification:
    given = {"train": TABLE, "validation": [TABLE], "text": ["text"], "kind": "classification"}
    return Classification.model_validate({**given, **settings})


def test_a_cut_makes_two_classes_and_drops_the_middle() -> None:
    task = classification(cut={"above": 0.5, "below": -0.5})
    rows, found = labels([-4.0, "-0.5", 0.0, 0.49, "0.5", 3, -1], task)
    assert rows.tolist() == [0, 1, 4, 5, 6]
    assert found.tolist() == [0, 0, 1, 1, 0]


def test_labels_are_read_from_numbers_and_their_text() -> None:
    rows, found = labels(["1", 0, 2.0, "2.0"], classification(classes=3))
    assert rows.tolist() == [0, 1, 2, 3]
    assert found.tolist() == [1, 0, 2, 2]
    task = Regression.model_validate(
        {"train": TABLE, "validation": [TABLE], "text": ["text"], "kind": "regression"}
    )
    assert labels([" 3.80 ", -1, 5], task)[1].tolist() == [3.8, -1, 5]
    for bad in (float("nan"), "inf", "", None):
        with pytest.raises(ValueError, match=r"row 1: .* is not a number"):
            labels([1, bad], task)
