"""Everything that can be known to be wrong before compute is spent."""

from collections.abc import Collection

import torch

from tamt_ray.data.cache import SourceError
from tamt_ray.data.checkpoint import load_checkpoint
from tamt_ray.data.table import column, load_rows
from tamt_ray.execution.preparation import given
from tamt_ray.finetune.model import Encoder
from tamt_ray.masks.file import MaskFileError
from tamt_ray.masks.matrices import UnsupportedModelError
from tamt_ray.plan.config import GivenConfig
from tamt_ray.search.language_model import LanguageModel
from tamt_ray.spec.sweep import Sweep
from tamt_ray.spec.task import Spans
from tamt_ray.values.table import Table


class PreflightError(ValueError):
    """The sweep cannot run as it is written; the message names the place in the file."""


def check(
    sweep: Sweep, given_masks: Collection[tuple[str, GivenConfig]] = ()
) -> dict[str | Table, str]:
    """The fingerprint of every model and given mask, by its source, and of every table. Fetches and
    opens them all, finds the matrices, lays each mask on them and tries every task's head on its
    model. Raises PreflightError."""
    found: dict[str | Table, str] = {}
    for name, model in sweep.models.items():
        try:
            checkpoint = load_checkpoint(model.source)
            language_model = LanguageModel(checkpoint.path, prune=model.prune, pooler=model.pooler)
            encoder = Encoder(checkpoint, torch.device("cpu"))
            for task in sweep.tasks.values():
                encoder.try_out(model, task)
        except (SourceError, UnsupportedModelError, OSError, ValueError) as error:
            raise PreflightError(f"models.{name}: {error}") from error
        found[model.source] = checkpoint.fingerprint
        if model.head is None and not language_model.has_published_head:
            raise PreflightError(
                f"models.{name}: {model.source} was published without an MLM head; "
                f"have one trained with `head: {{steps: 300}}`"
            )
        for method, config in given_masks:
            if config.model == model:
                try:
                    _, found[config.file] = given(config, language_model.dense)
                except (SourceError, MaskFileError) as error:
                    raise PreflightError(f"methods.{method}: {error}") from error
    found |= _readable(
        "corpus", [sweep.corpus.train, sweep.corpus.validation], [sweep.corpus.column]
    )
    for name, task in sweep.tasks.items():
        wanted = (
            ["id", "context", "question", "answers"]
            if isinstance(task, Spans)
            else [*task.text, task.label]
        )
        found |= _readable(f"tasks.{name}", [task.train, *task.validation], wanted)
    return found


def _readable(place: str, tables: list[Table], columns: list[str]) -> dict[Table, str]:
    found: dict[Table, str] = {}
    for table in tables:
        try:
            rows = load_rows(table)
            for name in columns:
                column(rows, name)
            found[table] = rows.fingerprint
        except SourceError as error:
            raise PreflightError(f"{place}: {error}") from error
    return found
