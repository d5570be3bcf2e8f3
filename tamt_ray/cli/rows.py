"""Rows of data sets as the verbs meet them: settings they decide, and rows that do not fit."""

import json
import re
from typing import NoReturn

from tamt_ray.cli.speech import fail
from tamt_ray.cli.sweep_context import SETTLED, SweepContext, settled_in
from tamt_ray.execution.rows import PreflightError, check_at_hand, left_open
from tamt_ray.spec.load import line_of

_NAMED = 3
"""Data sets that a line names."""


def refuse(opened: SweepContext, error: PreflightError) -> NoReturn:
    """End with 2 and the line of the file that is wrong."""
    # The parts of a union have files of their own.
    known = error.at and not opened.sweep.parts
    where = line_of(opened.file, error.at, opened.overrides) if known else opened.file
    fail(2, f"{where}: {error}")


def look_through(opened: SweepContext) -> list[str]:
    """Check the rows that can be read at once, or end with 2; return lines on the others and on
    settings that the rows decided."""
    try:
        others = check_at_hand(opened.grid)
    except PreflightError as error:
        refuse(opened, error)
    lines: list[str] = []
    for name, task in opened.sweep.tasks.items():
        key = task.left_open
        if key and (value := vars(task)[key]) != type(task).model_fields[key].default:
            lines.append(f"tasks.{name}.{key}: {_plain(value)}, from its training rows")
    others = list(dict.fromkeys(re.sub(r"#sha256=\w+", "", name) for name in others))
    if others:
        more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
        lines.append(
            f"data sets not at hand are checked at the start: {', '.join(others[:_NAMED])}{more}"
        )
    return lines


def keep_settled(opened: SweepContext) -> None:
    """Keep in the store what rows decided, for machines that have none at hand: for the sweep, and
    for the parts of a union, which can be opened alone."""
    for sweep in (opened.sweep, *opened.sweep.parts):
        before = settled_in(opened.store, sweep.name)
        if (found := before | left_open(sweep)) != before:
            opened.store.write(f"reports/{sweep.name}/{SETTLED}", json.dumps(found).encode())


def _plain(value: object) -> object:
    return f"[{', '.join(map(str, value))}]" if isinstance(value, tuple) else value
