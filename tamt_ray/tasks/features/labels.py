"""Label columns as numbers."""

import math

import numpy as np
from numpy.typing import NDArray

from tamt_ray.tasks.classification import Classification
from tamt_ray.tasks.features.examples import Indices
from tamt_ray.tasks.sentences import SentenceTask


def labels(values: list[object], task: SentenceTask) -> tuple[Indices, NDArray[np.float64]]:
    """The rows that have a label, and their labels: classes 0, 1, … or numbers.

    Only a `cut` drops rows. Raises ValueError for anything that is not a label of the task.
    """
    numbers = np.array([_number(value, row, task.label) for row, value in enumerate(values)])
    if len(numbers) > 0 and (numbers == -1).all():
        raise ValueError(
            f"every label in column {task.label!r} is -1: this split's labels are hidden, "
            "as in the test sets of GLUE; choose a labelled split"
        )
    rows = np.arange(len(numbers))
    if not isinstance(task, Classification):
        return rows, numbers
    if task.cut is not None:
        kept = rows[(numbers >= task.cut.above) | (numbers <= task.cut.below)]
        return kept, (numbers[kept] >= task.cut.above).astype(np.float64)
    wrong = rows[(numbers < 0) | (numbers >= task.classes) | (numbers != np.floor(numbers))]
    if len(wrong) > 0:
        raise ValueError(
            f"row {wrong[0]}: label {values[wrong[0]]!r} in column {task.label!r} is none of the "
            f"classes 0 to {task.classes - 1}; set `classes`, `cut` or another split"
        )
    return rows, numbers


def _number(value: object, row: int, name: str) -> float:
    if isinstance(value, str | int | float):
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if math.isfinite(number):
            return number
    raise ValueError(f"row {row}: {value!r} in the label column {name!r} is not a number")
