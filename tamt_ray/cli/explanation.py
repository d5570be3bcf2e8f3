"""What `tamt explain` prints of a whole sweep."""

import json
from collections.abc import Iterator, Sequence

from rich.table import Table

from tamt_ray.spec.origin import Setting, method_settings, model_settings, search_settings
from tamt_ray.spec.sweep import Sweep

Shapes = Sequence[tuple[str, tuple[int, ...]]]
"""Names and shapes of what is pruned, in the order of the model."""


def settings_of(sweep: Sweep) -> dict[str, list[Setting]]:
    """The resolved settings by part of the sweep: each model, the search, each method."""
    return {
        **{f"model {name}": model_settings(sweep, m) for name, m in sweep.models.items()},
        "search": search_settings(sweep),
        **{
            f"method {m.name} ({m.word}, recipe {m.recipe})": method_settings(m)
            for m in sweep.methods
        },
    }


def settings_tables(sweep: Sweep) -> Iterator[Table]:
    """A table for each part: setting, value, and where the value comes from."""
    for part, settings in settings_of(sweep).items():
        if not settings:
            continue
        table = Table(title=part, title_justify="left", box=None, pad_edge=False)
        table.add_column("setting")
        table.add_column("value", overflow="fold")
        table.add_column("from")
        for setting in settings:
            table.add_row(setting.name, _words(setting.value), setting.origin)
        yield table


def _words(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def matrices_of(sweep: Sweep) -> dict[str, Shapes]:
    """What is pruned of each model; its checkpoint is fetched for that.

    Raises SourceError or UnsupportedModelError, and ValueError for a pattern that names no matrix.
    """
    from tamt_ray.data.checkpoint import load_checkpoint
    from tamt_ray.search.language_model import LanguageModel

    found: dict[str, Shapes] = {}
    for name, model in sweep.models.items():
        path = load_checkpoint(model.source).path
        dense = LanguageModel(path, prune=model.prune, pooler=model.pooler).dense
        found[name] = [(matrix, tuple(weight.shape)) for matrix, weight in dense.items()]
    return found


def matrices_table(model: str, matrices: Shapes) -> Table:
    """The prunable matrices of one model, with their shapes and numbers of weights."""
    total = sum(rows * columns for _, (rows, columns) in matrices)
    title = f"model {model}: {len(matrices)} matrices, {total:,} weights"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("matrix", overflow="fold")
    for head in ("out", "in", "weights"):
        table.add_column(head, justify="right")
    for name, (rows, columns) in matrices:
        table.add_row(name, str(rows), str(columns), f"{rows * columns:,}")
    return table
