"""Everything that can be known to be wrong before compute is spent."""

from tamt_ray.data.cache import SourceError
from tamt_ray.data.checkpoint import load_checkpoint
from tamt_ray.data.table import column, load_rows
from tamt_ray.masks.matrices import UnsupportedModelError
from tamt_ray.search.language_model import LanguageModel
from tamt_ray.spec.sweep import Sweep
from tamt_ray.spec.table import Table
from tamt_ray.spec.task import Spans


class PreflightError(ValueError):
    """The sweep cannot run as it is written; the message names the place in the file."""


def check(sweep: Sweep) -> None:
    """Fetch and open every model and table, and find the matrices. Raises PreflightError."""
    for name, model in sweep.models.items():
        try:
            language_model = LanguageModel(load_checkpoint(model.source).path)
        except (SourceError, UnsupportedModelError, OSError, ValueError) as error:
            raise PreflightError(f"models.{name}: {error}") from error
        if model.head is None and not language_model.has_published_head:
            raise PreflightError(
                f"models.{name}: {model.source} was published without an MLM head; "
                f"have one trained with `head: {{steps: 300}}`"
            )
    _readable("corpus", [sweep.corpus.train, sweep.corpus.validation], [sweep.corpus.column])
    for name, task in sweep.tasks.items():
        wanted = (
            ["id", "context", "question", "answers"]
            if isinstance(task, Spans)
            else [*task.text, task.label]
        )
        _readable(f"tasks.{name}", [task.train, *task.validation], wanted)


def _readable(place: str, tables: list[Table], columns: list[str]) -> None:
    for table in tables:
        try:
            rows = load_rows(table)
            for name in columns:
                column(rows, name)
        except SourceError as error:
            raise PreflightError(f"{place}: {error}") from error
