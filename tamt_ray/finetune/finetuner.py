"""Fine-tuning one unit after the other in one process."""

import sys
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version

import torch
from transformers import PreTrainedTokenizerBase

from tamt_ray.data.cache import SourceError
from tamt_ray.data.checkpoint import load_checkpoint, tokenizer
from tamt_ray.data.derived import derived
from tamt_ray.data.graphs import graph_recorder
from tamt_ray.data.history import History
from tamt_ray.data.table import load_rows, longest_rows, name_of
from tamt_ray.finetune.graphs import WORTH
from tamt_ray.finetune.loop import fine_tune
from tamt_ray.finetune.model import Encoder
from tamt_ray.finetune.vocabulary import tokens_of
from tamt_ray.masks.mask import KeptZero, Mask, pruned_nonzero
from tamt_ray.tasks.base import Task
from tamt_ray.tasks.features.examples import Examples
from tamt_ray.tasks.predictions import to_parquet
from tamt_ray.tasks.scores import baselines, scores_of
from tamt_ray.values.base import OnProgress
from tamt_ray.values.model import Model
from tamt_ray.values.plugin import package_of
from tamt_ray.values.table import Table

_FEATURE_BYTES = 1 << 30
_WORTH_KEEPING = 5_000
"""Examples from which on features are kept on the disk; fewer are made within a second."""
_VERSIONS = ("1", version("transformers"), version("tokenizers"))
"""Version of the code and the libraries that make features; part of their cache key."""


class Recent:
    """An LRU cache limited in bytes; the newest entry stays, whatever its size."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: OrderedDict[Hashable, Examples] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Examples]) -> Examples:
        """Return the entry of `key`, computed by `make` if it is not there."""
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        made = self._kept[key] = make()
        while (
            len(self._kept) > 1 and sum(kept.nbytes for kept in self._kept.values()) > self._limit
        ):
            self._kept.popitem(last=False)
        return made


@dataclass(frozen=True)
class Finetuned:
    """Result of a fine-tune."""

    metrics: dict[str, float]
    """The scores as `tasks.scores.scores_of` has them, `examples` and `pruned_nonzero`."""
    predictions: bytes
    """The answers to the first validation set at every evaluation (`tasks.predictions`)."""
    history: History
    """Curves: `loss` and `lr` every few steps, the validation metrics at every evaluation."""
    sources: dict[str, str]
    """Fingerprint of each source that was read."""


class Finetuner:
    """Fine-tunes on one device; keeps weights and features, and nothing else, between calls.

    Sources are taken to stay what they are while it lives: what it keeps, it does not check again.
    One that was used before gives bit for bit what a fresh one gives.
    """

    def __init__(self, device: torch.device, longest: int | None = None) -> None:
        """`longest`: read so many of the longest rows of each table only, to see how much memory a
        fine-tune takes at most."""
        self._device = device
        self._longest = longest
        self._loaded: tuple[str, Encoder, PreTrainedTokenizerBase] | None = None
        self._features = Recent(_FEATURE_BYTES)

    def run(
        self,
        model: Model,
        task: Task,
        seed: int,
        mask: Mask | None,
        progress: OnProgress | None = None,
        *,
        graphs: bool = False,
    ) -> Finetuned:
        """Fine-tune f(mask ⊙ θ0) on a task; the dense model where `mask` is None. `graphs`: replay
        steps of frequent shapes as CUDA graphs, where there can be any.

        Raises SourceError and ValueError before training for data or a model that do not fit,
        NonFiniteLossError where training diverges, and RuntimeError if a pruned weight moved.
        """
        devices = [self._device] if self._device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            return self._run(model, task, seed, mask, progress, graphs)

    def _run(
        self,
        model: Model,
        task: Task,
        seed: int,
        mask: Mask | None,
        progress: OnProgress | None,
        graphs: bool,
    ) -> Finetuned:
        encoder, words = self._encoder(model.source)
        data = self._examples(encoder, words, task, task.train, task.max_train, seed)
        # The same rows for every seed, so that scores can be compared.
        validation = [
            self._examples(encoder, words, task, table, task.max_validation, "validation")
            for table in task.validation
        ]
        _check_lengths(encoder, [data, *validation])
        history = History()
        constants = baselines(validation[0].constants(), task.measured)
        every = (data, *validation)
        tokens = None if self._longest else tokens_of(examples.sequences for examples in every)
        network = encoder.network(model, task, seed, tokens)
        matrices, mask = ({}, None) if mask is None else encoder.masked(mask)
        pruned = None if mask is None else KeptZero(matrices, mask)
        record = graph_recorder(self._device, encoder.body.config, "finetune") if graphs else None
        # The longest rows come a few times only, and are to show what recordings take.
        worth = 2 if self._longest else WORTH
        try:
            evaluations = fine_tune(
                network, data, validation, task, seed, self._device, history, progress, pruned,
                record, worth,
            )  # fmt: skip
        finally:
            network.zero_grad(set_to_none=True)
        moved = 0 if mask is None else pruned_nonzero(matrices, mask)
        if moved:
            raise RuntimeError(f"{moved} pruned weights are not zero after fine-tuning")
        named = zip((task.train, *task.validation), every, strict=True)
        return Finetuned(
            metrics={
                **scores_of(evaluations, task.measured),
                **constants,
                "examples": data.count,
                "pruned_nonzero": moved,
            },
            predictions=to_parquet(evaluations),
            history=history,
            sources={
                model.source: encoder.fingerprint,
                **{name_of(table): examples.fingerprint for table, examples in named},
            },
        )

    def _encoder(self, source: str) -> tuple[Encoder, PreTrainedTokenizerBase]:
        """Return encoder and tokenizer; only one is kept, to save the device's memory."""
        if self._loaded is None or self._loaded[0] != source:
            self._loaded = None
            checkpoint = load_checkpoint(source)
            self._loaded = source, Encoder(checkpoint, self._device), tokenizer(checkpoint)
        return self._loaded[1], self._loaded[2]

    def _examples(
        self,
        encoder: Encoder,
        words: PreTrainedTokenizerBase,
        task: Task,
        table: Table,
        limit: int | None,
        seed: int | str,
    ) -> Examples:
        key = (
            encoder.fingerprint,
            f"{package_of(type(task))} {task.version}",
            task.model_dump_json(include=set(task.features)),
            str(limit),
            "" if limit is None else str(seed),
        )
        make = partial(_make, key, task, table, words, limit, seed, self._longest)
        return self._features.get((table, *key), make)


def _make(
    key: tuple[str, ...],
    task: Task,
    table: Table,
    words: PreTrainedTokenizerBase,
    limit: int | None,
    seed: int | str,
    longest: int | None,
) -> Examples:
    rows = load_rows(table)
    if longest:
        rows = longest_rows(rows, longest)
    try:
        build = partial(task.examples, rows, words, limit, seed)
        if min(limit or sys.maxsize, rows.table.num_rows) < _WORTH_KEEPING:
            return build()
        tensors = derived("features", (*_VERSIONS, rows.fingerprint, *key), lambda: build().pack())
        return task.unpacked(tensors, rows.fingerprint)
    except (ValueError, SourceError) as error:
        raise type(error)(f"{name_of(table)}: {error}") from error


def _check_lengths(encoder: Encoder, data: list[Examples]) -> None:
    limit = encoder.longest()
    longest = max(int(examples.sequences.lengths.max()) for examples in data)
    if limit is not None and longest > limit:
        raise ValueError(f"the model reads {limit} tokens at most; lower `max_length` to {limit}")
