"""The rows of a sweep's tasks, looked through before anything starts. Imports no Torch and no Ray.

A task may leave a setting to its training rows (`Task.left_open`). Its value enters identities, so
it is found before a plan is made, and a store keeps it for machines that have no such rows at hand.
"""

from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager

from tamt_ray.data.cache import SourceError
from tamt_ray.data.table import Rows, at_hand, column, load_rows, name_of
from tamt_ray.spec.sweep import Sweep
from tamt_ray.tasks.base import Task
from tamt_ray.values.identity import identity
from tamt_ray.values.table import Table

Place = tuple[str | int, ...]


class PreflightError(ValueError):
    """The sweep cannot run as it is written; the message names the place in the file.

    `at`: the keys that lead to it, where its line is known.
    """

    def __init__(self, message: str, *at: str | int) -> None:
        super().__init__(message)
        self.at = at


@contextmanager
def placed(place: str, *at: str | int) -> Generator[None]:
    """Errors in the block name the place, with its line in the file."""
    try:
        yield
    except (SourceError, ValueError, OSError) as error:
        raise PreflightError(f"{place}: {error}", *at) from error


def tables_of(sweep: Sweep) -> Iterator[tuple[str, Task, Table, Place]]:
    """Yield each table of each task with its place below the task."""
    for name, task in sweep.tasks.items():
        yield name, task, task.train, ("train",)
        for number, table in enumerate(task.validation):
            yield name, task, table, ("validation", number)


def read_rows(name: str, task: Task, table: Table, at: Place) -> Rows:
    """Return the rows of a table, which fit the task. Raises PreflightError."""
    place = f"tasks.{name}"
    with placed(place, "tasks", name, *at, "source"):
        rows = load_rows(table)
    place = f"{place}: {name_of(table)}"
    for wanted in task.columns:
        fields = [field for field, value in task if wanted == value or wanted in _tuple(value)]
        with placed(place, "tasks", name, *fields[:1]):
            column(rows, wanted)
    with placed(place, "tasks", name, *at, "source"):
        task.check(rows)
        if at == ("train",) and task.left_open and (found := task.found_in(rows)) is not None:
            before = vars(task)[task.left_open]
            if vars(task.settled(found))[task.left_open] != before:
                raise ValueError(
                    f"by its rows `{task.left_open}` is {found}, and the store's results have "
                    f"{before}; set the one that is meant, as in `{task.left_open}: {found}`"
                )
    return rows


def check_column(sweep: Sweep, part: str, table: Table) -> Rows:
    """Return the rows of the corpus, which have its column. Raises PreflightError."""
    with placed("corpus", "corpus", part, "source"):
        rows = load_rows(table)
    with placed(f"corpus: {table.source}", "corpus", "column"):
        column(rows, sweep.corpus.column)
    return rows


def corpus_tables(sweep: Sweep) -> tuple[tuple[str, Table], ...]:
    """Return training and validation text by part."""
    return ("train", sweep.corpus.train), ("validation", sweep.corpus.validation)


def check_at_hand(sweep: Sweep) -> list[str]:
    """Look through the tables that can be read at once; return the names of the others.

    Raises PreflightError.
    """
    others: list[str] = []
    for part, table in corpus_tables(sweep):
        if at_hand(table):
            check_column(sweep, part, table)
        else:
            others.append(name_of(table))
    for name, task, table, at in tables_of(sweep):
        if at_hand(table):
            read_rows(name, task, table, at)
        else:
            others.append(name_of(table))
    return list(dict.fromkeys(others))


def settled(sweep: Sweep, known: Mapping[str, object]) -> Sweep:
    """Return the sweep with every setting that its tasks leave open: as `known` has it, else as
    rows at hand have it, else as the sweep has it by default."""
    tasks = {name: _settled(task, known) for name, task in sweep.tasks.items()}
    parts = tuple(settled(part, known) for part in sweep.parts)
    return sweep.model_copy(update={"tasks": tasks, "parts": parts})


def left_open(sweep: Sweep) -> dict[str, object]:
    """Return what tasks leave open, by a digest of what decides it."""
    open_tasks = [task for task in sweep.tasks.values() if task.left_open]
    return {_key(task): vars(task)[task.left_open] for task in open_tasks}


def _settled(task: Task, known: Mapping[str, object]) -> Task:
    if not task.left_open:
        return task
    found = known.get(_key(task))
    if found is None and at_hand(task.train):
        try:
            found = task.found_in(load_rows(task.train))
        except (SourceError, ValueError, OSError):
            # The check of the rows, which follows, says it with its place in the file.
            return task
    return task if found is None else task.settled(found)


def _key(task: Task) -> str:
    return identity([task.train, task.columns, task.left_open])[:16]


def _tuple(value: object) -> tuple[object, ...]:
    return value if isinstance(value, tuple) else ()
