"""Rows of sentence tasks: labels as numbers, texts, and rows that do not fit. Imports no Torch."""

import math
from collections import Counter

import numpy as np
import yaml
from numpy.typing import NDArray

from tamt_ray.data.table import Rows, column
from tamt_ray.tasks.classification import Classification
from tamt_ray.tasks.sentences import SentenceTask
from tamt_ray.values.base import nearest

_RowNumbers = NDArray[np.int64]
_SHOWN = 8
"""Labels that a message lists."""


def labels(values: list[object], task: SentenceTask) -> tuple[_RowNumbers, NDArray[np.float64]]:
    """Return the rows that have a label, and their labels: classes 0, 1, … or numbers.

    Only a `cut` drops rows. Raises ValueError, with the first row, for a value that is no label of
    the task.
    """
    names = task.names if isinstance(task, Classification) else ()
    if names:
        known = {name: float(number) for number, name in enumerate(names)}
        found = [_named(value, row, task, known) for row, value in enumerate(values)]
    else:
        found = [_number(value, row, task, values) for row, value in enumerate(values)]
    numbers = np.array(found, dtype=np.float64)
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
    whole = (numbers >= 0) & (numbers == np.floor(numbers))
    wrong = rows[~whole | (numbers >= task.outputs)]
    if len(wrong) > 0:
        last = int(numbers.max()) if whole.all() else 0
        remedy = f"set `classes: {last + 1}`" if last else "set `cut` or choose another split"
        raise ValueError(
            f"row {wrong[0]}: label {values[wrong[0]]!r} in column {task.label!r} is none of the "
            f"classes 0 to {task.outputs - 1}; {remedy}"
        )
    return rows, numbers


def check_variety(numbers: NDArray[np.float64], task: SentenceTask) -> None:
    """Raise ValueError where all labels are equal: nothing can be learned, no score is defined."""
    if len(numbers) > 0 and (numbers == numbers[0]).all():
        raise ValueError(
            f"every label in column {task.label!r} is {numbers[0]:g}; choose rows of at least two "
            "different labels"
        )


def _named(value: object, row: int, task: SentenceTask, known: dict[str, float]) -> float:
    if isinstance(value, str | int) and str(value) in known:
        return known[str(value)]
    raise ValueError(
        f"row {row}: label {value!r} in column {task.label!r} is none of `classes`"
        f"{nearest(str(value), known)}"
    )


def _number(value: object, row: int, task: SentenceTask, values: list[object]) -> float:
    where = f"row {row}: {value!r} in the label column {task.label!r}"
    if isinstance(value, list):
        raise ValueError(f"{where} is a list; a row has one label, multi-label data are not read")
    if isinstance(value, str | int | float):
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if math.isfinite(number):
            return number
    hint = "; remove the row or give it a label"
    if isinstance(value, str) and isinstance(task, Classification):
        common = Counter(str(each) for each in values).most_common(_SHOWN + 1)
        # With quotes where YAML needs them.
        names = sorted(name for name, _ in common[:_SHOWN])
        listed = yaml.safe_dump(names, default_flow_style=True, allow_unicode=True, width=math.inf)
        more = ", …" if len(common) > _SHOWN else ""
        hint = f"; for classes with names set `classes: {listed.strip()[:-1]}{more}]`"
    raise ValueError(f"{where} is not a number{hint}")


def check_sentences(task: SentenceTask, rows: Rows) -> None:
    """Raise ValueError or SourceError for rows without text, without a label of the task, or with
    one label or one empty text only."""
    kept, values, columns = read(task, rows)
    check_variety(values, task)
    for name, texts in zip(task.text, columns, strict=True):
        if not any(texts[row].strip() for row in kept):
            raise ValueError(f"every text in column {name!r} is empty")


def read(
    task: SentenceTask, rows: Rows
) -> tuple[_RowNumbers, NDArray[np.float64], list[list[str]]]:
    """Return the rows that have a label, their labels, and the texts of all rows by column."""
    kept, values = labels(column(rows, task.label), task)
    columns = [_texts(column(rows, name), name) for name in task.text]
    if len(kept) == 0:
        raise ValueError("no row is left to learn from or to evaluate on")
    return kept, values, columns


def _texts(values: list[object], name: str) -> list[str]:
    texts = [value for value in values if isinstance(value, str)]
    if len(texts) < len(values):
        row, value = next((r, v) for r, v in enumerate(values) if not isinstance(v, str))
        raise ValueError(f"row {row}: {value!r} in the text column {name!r} is not text")
    return texts
