"""Everything that can be known to be wrong before compute is spent, changed sources among it."""

from collections import Counter
from collections.abc import Collection, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import itemgetter

import numpy as np
import torch

from tamt_ray.data.blocks import check_fills
from tamt_ray.data.cache import SourceError, cache_dir, locked
from tamt_ray.data.checkpoint import Checkpoint, load_checkpoint, pad_id
from tamt_ray.data.table import Rows, name_of
from tamt_ray.data.tokenization import estimated_tokens, shared_tokenizer, tokenised
from tamt_ray.execution.rows import (
    PreflightError,
    check_column,
    corpus_tables,
    placed,
    read_rows,
    tables_of,
)
from tamt_ray.execution.worker.bench import UnitBench
from tamt_ray.finetune.model import Encoder
from tamt_ray.masks.file import MaskFileError
from tamt_ray.masks.layout import Layout
from tamt_ray.masks.matrices import UnsupportedModelError
from tamt_ray.methods.base import Search
from tamt_ray.plan.sizes import Sizes, TableSize, size_in
from tamt_ray.plan.unit import Unit, UnitConfig
from tamt_ray.search.language_model import LanguageModel
from tamt_ray.search.process_group import ProcessGroup
from tamt_ray.spec.sweep import Sweep
from tamt_ray.store.record import Record
from tamt_ray.tasks.base import Task
from tamt_ray.values.model import ModelSize
from tamt_ray.values.pattern import UNSTRUCTURED, PatternForm
from tamt_ray.values.table import Table
from tamt_ray.values.text import Text

_MULTI_LABEL = "multi_label_classification"


@dataclass
class Inspection:
    """Fingerprints and sizes of the sources of a sweep."""

    fingerprints: dict[str | Table, str] = field(default_factory=dict)
    """Keys are the sources of models and files, and tables."""
    models: dict[str, ModelSize] = field(default_factory=dict)
    tables: dict[tuple[Table, tuple[str, ...]], TableSize] = field(default_factory=dict)
    texts: dict[Table, float] = field(default_factory=dict)

    @property
    def sizes(self) -> Sizes:
        """Sizes of models and data, for prices."""
        return Sizes(self.models, self.tables, self.texts)


def check(
    sweep: Sweep,
    searches: Collection[tuple[str, Search]] = (),
    texts: Collection[tuple[str, Text]] = (),
) -> Inspection:
    """Return fingerprints and sizes of all sources.

    Fetches and opens them all, finds the matrices, tries the tokenizer, what `searches` read from
    files and every task's head on its model, looks through the rows of every task, and reads each
    of `texts`, with the source of its model, as far as its first sequence. Raises PreflightError.
    """
    found = Inspection()
    try:
        with locked(cache_dir() / "any"):
            # Every worker keeps what it derives from the sources there.
            pass
    except SourceError as error:
        raise PreflightError(str(error)) from error
    for name, model in sweep.models.items():
        try:
            checkpoint = load_checkpoint(model.source)
            with _one_thread():
                language_model = LanguageModel(
                    checkpoint.path, prune=model.prune, pooler=model.pooler
                )
                encoder = Encoder(checkpoint, torch.device("cpu"))
                for task in sweep.tasks.values():
                    encoder.try_out(model, task)
            _check_tokenizer(checkpoint, encoder.body.config.vocab_size)
        except (SourceError, UnsupportedModelError, OSError, ValueError) as error:
            raise PreflightError(f"models.{name}: {error}", "models", name, "source") from error
        if sweep.tasks and encoder.body.config.problem_type == _MULTI_LABEL:
            raise PreflightError(
                f"models.{name}: {model.source} was made for rows with several labels: its config "
                f"has `problem_type: {_MULTI_LABEL}`; the tasks of a sweep have one label per row, "
                "so remove that entry from its config.json",
                *("models", name, "source"),
            )
        read = [text for source, text in texts if source == model.source]
        _check_lengths(sweep, name, read, encoder.longest())
        found.fingerprints[model.source] = checkpoint.fingerprint
        if size := size_in(checkpoint.path):
            found.models[model.source] = size
        if model.head is None and not language_model.has_published_head:
            raise PreflightError(
                f"models.{name}: {model.source} was published without an MLM head; "
                f"have one trained with `head: {{steps: 300}}`",
                *("models", name),
            )
        _check_patterns(sweep, language_model)
        bench = UnitBench(model, ProcessGroup(), _nothing)
        for method, search in searches:
            if search.model == model:
                try:
                    search.find(bench)
                except (SourceError, MaskFileError, OSError) as error:
                    number = [each.name for each in sweep.methods].index(method)
                    raise PreflightError(
                        f"methods.{method}: {error}", "methods", number, "masks"
                    ) from error
        found.fingerprints |= bench.sources
    reader = load_checkpoint(next(iter(sweep.models.values())).source)
    columns = (sweep.corpus.column,)
    for part, table in corpus_tables(sweep):
        rows = check_column(sweep, part, table)
        found.fingerprints[table] = rows.fingerprint
        found.texts[table] = float(estimated_tokens(rows, columns, reader).sum())
    for source, text in texts:
        with placed("corpus", "corpus", "block_size"):
            check_fills(text, source)
    for name, task, table, at in tables_of(sweep):
        rows = read_rows(name, task, table, at)
        found.fingerprints[table] = rows.fingerprint
        found.tables[table, task.columns] = _size(rows, task, reader)
    return found


@contextmanager
def _one_thread() -> Generator[None]:
    """Run Torch in one thread. A trial of a few tokens has no work for a second one, which spins
    while it waits: on busy cores that takes more CPU time than all other checks together."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _size(rows: Rows, task: Task, reader: Checkpoint) -> TableSize:
    """Return rows and tokens of a usual one."""
    # A special token stands before the first text and behind each.
    tokens = estimated_tokens(rows, task.columns, reader) + len(task.columns)
    if task.pooled:
        tokens = np.minimum(tokens, task.max_length)
    return TableSize(len(tokens), float(tokens.mean()))


def _check_tokenizer(checkpoint: Checkpoint, rows: int) -> None:
    """`rows`: tokens that the embedding has. Raises SourceError and ValueError."""
    words = shared_tokenizer(checkpoint)
    pad_id(words)
    vocabulary = words.get_vocab()
    token, last = max(vocabulary.items(), key=itemgetter(1), default=("", -1))
    if last < 0:
        raise ValueError("the tokenizer has no token; is its vocabulary empty?")
    if last >= rows:
        raise ValueError(
            f"the tokenizer gives {token!r} the id {last}, the embedding has {rows} rows; take the "
            "tokenizer that was published with the model"
        )
    tokenised(words, ["a word"])


def _check_lengths(sweep: Sweep, model: str, texts: Collection[Text], longest: int | None) -> None:
    """`longest`: tokens that the model reads. Raises PreflightError."""
    if longest is None:
        return
    asked: list[tuple[int, tuple[str, ...]]] = [
        *((text.block_size, ("corpus", "block_size")) for text in texts),
        *((task.max_length, ("tasks", name, "max_length")) for name, task in sweep.tasks.items()),
    ]
    if too_long := [at for length, at in asked if length > longest]:
        settings = ", ".join(f"`{'.'.join(at)}: {longest}`" for at in too_long)
        raise PreflightError(
            f"models.{model}: it reads {longest} tokens at most; set {settings} or less",
            *too_long[0],
        )


def _check_patterns(sweep: Sweep, model: LanguageModel) -> None:
    """Raise PreflightError for a pattern that does not divide the matrices of a model."""
    shapes = {name: tuple(weight.shape) for name, weight in model.dense.items()}
    for part in sweep.parts or (sweep,):
        for number, method in enumerate(part.methods):
            if method.pattern == UNSTRUCTURED:
                continue
            try:
                model.check_heads(PatternForm.read(method.pattern).heads)
                for sparsity in part.sparsities:
                    Layout(shapes, method.pattern).check(sparsity)
            except ValueError as error:
                raise PreflightError(
                    f"method {method.name!r}: {error}", "methods", number, "pattern"
                ) from error


def _nothing(unit: str, name: str) -> bytes:
    raise PreflightError(f"{name} of {unit[:8]} is needed before anything ran")


@dataclass(frozen=True)
class Change:
    """A source whose content is not the one that `units` results were computed from."""

    source: str
    before: str
    now: str
    units: int

    def __str__(self) -> str:
        results = "1 result was" if self.units == 1 else f"{self.units} results were"
        return (
            f"{self.source} is not what it was: {results} computed from content with the "
            f"fingerprint {self.before}, now it has {self.now}"
        )


def changes(
    units: Mapping[str, Unit], records: Mapping[str, Record], now: Mapping[str | Table, str]
) -> list[Change]:
    """Return the differences between the sources `now`, by source or table, and `records`."""
    found: Counter[tuple[str, str, str]] = Counter()
    for unit_id, record in records.items():
        for name, key in _read_by(units[unit_id].config):
            before, current = record.sources.get(name), now.get(key)
            if before and current and before != current:
                found[name, before, current] += 1
    return [Change(*which, count) for which, count in sorted(found.items())]


def _read_by(config: UnitConfig) -> Iterator[tuple[str, str | Table]]:
    """Yield the inputs of a unit: the name in its record, and the source or table it stands for."""
    yield config.model.source, config.model.source
    for table in config.tables:
        yield name_of(table), table
    for file in config.files:
        yield file, file
