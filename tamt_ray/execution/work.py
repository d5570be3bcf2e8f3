"""Doing one unit: read its parents, compute, commit. Knows nothing of Ray."""

import platform
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version

import torch
from safetensors.torch import load, save

from tamt_ray import __version__
from tamt_ray.data.blocks import load_blocks
from tamt_ray.data.checkpoint import load_checkpoint
from tamt_ray.data.table import load_rows, name_of
from tamt_ray.execution.keeping import Cadence, StoreKeeper
from tamt_ray.execution.memory import keep_freed_memory
from tamt_ray.execution.preparation import TERMS, given, language_model, settings, stream
from tamt_ray.finetune.finetuner import Finetuner
from tamt_ray.masks.file import mask_from_bytes, mask_to_bytes
from tamt_ray.masks.mask import Mask
from tamt_ray.plan.config import (
    FinetuneConfig,
    GivenConfig,
    HeadConfig,
    ImpConfig,
    Kind,
    OmpConfig,
    PretrainEvalConfig,
    RandomConfig,
    TamtConfig,
    config_dict,
)
from tamt_ray.plan.unit import Unit
from tamt_ray.search.evaluate import pretraining_losses
from tamt_ray.search.head import train_head
from tamt_ray.search.imp import train_level
from tamt_ray.search.language_model import LanguageModel
from tamt_ray.search.tamt import train_mask
from tamt_ray.search.team import Team
from tamt_ray.store.record import Failure, Record
from tamt_ray.store.states import States
from tamt_ray.store.store import Store, StoreError
from tamt_ray.values.model import Model
from tamt_ray.values.table import Table

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Yield:
    """What a computation gives: numbers, files and what was read."""

    metrics: dict[str, float]
    artifacts: dict[str, bytes]
    sources: dict[str, str]


class Workbench:
    """One process's tools; models and features are kept between units and change no result."""

    def __init__(self, store: Store, team: Team, place: str, saving: Cadence | None = None) -> None:
        """`place` is written into every record: host, process and GPUs; `saving` says how often
        running searches keep their states."""
        keep_freed_memory()
        self._store = store
        self._team = team
        self._saving = saving or Cadence()
        self.place = place
        self._finetuner = Finetuner(team.device)
        self._inputs: dict[str, str] = {}

    def perform(self, unit: Unit, progress: Progress | None = None) -> Record:
        """Compute a unit and commit its record. All workers of a team call it together; the first
        one writes. Raises whatever the computation raises, and then nothing is written."""
        started, begin = time.time(), time.perf_counter()
        self._inputs.clear()
        keeper = self._keeper(unit)
        done = self._compute(unit, keeper, progress)
        record = Record(
            id=unit.id,
            kind=unit.kind,
            config=config_dict(unit.config),
            parents=unit.parents,
            inputs=dict(self._inputs),
            metrics=done.metrics,
            sources=done.sources,
            started=started,
            seconds=time.perf_counter() - begin,
            device=device_name(self._team),
            place=self.place,
            versions={
                "tamt-ray": __version__,
                **{name: version(name) for name in ("torch", "transformers")},
            },
        )
        if self._team.rank > 0:
            return record
        committed = self._store.commit(record, done.artifacts)
        keeper.finish()
        return committed

    def _keeper(self, unit: Unit) -> StoreKeeper:
        config = unit.config
        last = config.steps if isinstance(config, ImpConfig | TamtConfig) else sys.maxsize
        # Only mask trainings have longer ones to go on with; the rest end where they end.
        goes_on = isinstance(config, TamtConfig) and (self._saving.leave_last or unit.goes_on)
        states = States(self._store.files, unit.trajectory)
        return StoreKeeper(states, last, self._saving, leave_last=goes_on)

    def _compute(self, unit: Unit, keeper: StoreKeeper, progress: Progress | None) -> Yield:
        match unit.config:
            case HeadConfig() as config:
                return self._head(config, keeper, progress)
            case RandomConfig() | OmpConfig() | GivenConfig() as config:
                return self._untrained(config)
            case ImpConfig() as config:
                return self._imp(config, keeper, progress)
            case TamtConfig() as config:
                return self._tamt(config, keeper, progress)
            case PretrainEvalConfig() as config:
                return self._pretrain_eval(config)
            case FinetuneConfig() as config:
                outcome = self._finetuner.run(
                    config.model, config.task, config.seed, self._mask(config.mask), progress
                )
                history = {"history.parquet": outcome.history.to_parquet()}
                return Yield(outcome.metrics, history, outcome.sources)

    def _head(self, config: HeadConfig, keeper: StoreKeeper, progress: Progress | None) -> Yield:
        model, sources = self._language_model(config.model, None)
        weights, history = train_head(
            model, stream(config), settings(config), self._team, progress, keeper=keeper
        )
        return Yield(
            {"steps": float(config.training.steps)},
            {"head.safetensors": save(weights), "history.parquet": history.to_parquet()},
            {**sources, **_read(config.corpus.train)},
        )

    def _untrained(self, config: RandomConfig | OmpConfig | GivenConfig) -> Yield:
        model, sources = self._language_model(config.model, None)
        cost = _cost(0, 0, 0.0)
        match config:
            case RandomConfig():
                mask = Mask.at_random(model.dense, config.sparsity, config.seed)
            case OmpConfig():
                mask = Mask.by_magnitude(model.dense, config.sparsity)
            case GivenConfig():
                mask, sources[config.file] = given(config, model.dense)
                cost = {}
        return Yield({**_figures(mask), **cost}, {"mask.safetensors": mask_to_bytes(mask)}, sources)

    def _imp(self, config: ImpConfig, keeper: StoreKeeper, progress: Progress | None) -> Yield:
        model, sources = self._language_model(config.model, config.head)
        below = self._mask(config.below) or Mask.by_magnitude(model.dense, config.start)
        start = None
        seconds = 0.0
        if config.below:
            seconds = self._record("search", config.below).metrics["search_seconds"]
            if not config.rewind:
                start = load(self._artifact("search", config.below, "weights.safetensors"))
        mask, history, weights = train_level(
            model, below, config.sparsity, stream(config), settings(config), self._team, progress,
            start=start, keeper=keeper,
        )  # fmt: skip
        seconds += history.seconds
        figures = {**_figures(mask), **_cost(config.steps, config.iterations, seconds)}
        artifacts = {
            "mask.safetensors": mask_to_bytes(mask),
            "history.parquet": history.to_parquet(),
        }
        if not config.rewind:
            artifacts["weights.safetensors"] = save(weights)
        return Yield(figures, artifacts, {**sources, **_read(config.corpus.train)})

    def _tamt(self, config: TamtConfig, keeper: StoreKeeper, progress: Progress | None) -> Yield:
        model, sources = self._language_model(config.model, config.head)
        mask, history = train_mask(
            model, TERMS[config.method], config.sparsity, config.scoring, stream(config),
            settings(config), self._team, progress,
            distillation=config.distillation, keeper=keeper,
        )  # fmt: skip
        return Yield(
            {**_figures(mask), **_cost(config.steps, config.iterations, history.seconds)},
            {"mask.safetensors": mask_to_bytes(mask), "history.parquet": history.to_parquet()},
            {**sources, **_read(config.corpus.train)},
        )

    def _pretrain_eval(self, config: PretrainEvalConfig) -> Yield:
        model, sources = self._language_model(config.model, config.head)
        blocks = load_blocks(config.corpus, "validation", config.model.source)
        losses = pretraining_losses(
            model,
            self._mask(config.mask),
            blocks,
            probability=config.corpus.mlm_probability,
            seed=config.evaluation.seed,
            batch_size=config.evaluation.batch_size,
            device=self._team.device,
        )
        return Yield(losses, {}, {**sources, **_read(config.corpus.validation)})

    def _language_model(
        self, described: Model, head: str | None
    ) -> tuple[LanguageModel, dict[str, str]]:
        weights = load(self._artifact("head", head, "head.safetensors")) if head else None
        model = language_model(described, self._team.device, weights)
        return model, {described.source: load_checkpoint(described.source).fingerprint}

    def _mask(self, unit_id: str | None) -> Mask | None:
        if unit_id is None:
            return None
        return mask_from_bytes(self._artifact("search", unit_id, "mask.safetensors"))

    def _record(self, kind: Kind, unit_id: str) -> Record:
        record = self._store.record(kind, unit_id)
        if record is None:
            raise StoreError(f"{kind} {unit_id[:8]} is needed but has no record in the store")
        return record

    def _artifact(self, kind: Kind, unit_id: str, name: str) -> bytes:
        record = self._record(kind, unit_id)
        self._inputs[f"{unit_id}/{name}"] = record.artifacts[name].sha256
        return self._store.artifact(record, name)


def _read(table: Table) -> dict[str, str]:
    """What a record says of a table: its rows, whatever tokens they became."""
    return {name_of(table): load_rows(table).fingerprint}


def _figures(mask: Mask) -> dict[str, float]:
    """What a record tells of a mask."""
    return {
        "zeros": float(mask.zeros),
        "weights": float(mask.weights),
        "sparsity": mask.sparsity,
    }


def _cost(steps: int, iterations: int, seconds: float) -> dict[str, float]:
    """What it tells of the search; `iterations` and `seconds` count all training behind it."""
    return {
        "steps": float(steps),
        "iterations": float(iterations),
        "search_seconds": seconds,
    }


def device_name(team: Team) -> str:
    """What the numbers of seconds were measured on."""
    if team.device.type == "cuda":
        return f"{team.size} x {torch.cuda.get_device_name(team.device)}"
    return f"{team.size} x CPU {platform.machine()}, {torch.get_num_threads()} threads"


def failure_of(unit: Unit, error: BaseException, attempts: int) -> Failure:
    """The record of a failed unit."""
    return Failure(
        id=unit.id,
        kind=unit.kind,
        labels=dict(unit.labels),
        error=type(error).__name__,
        message=str(error) or repr(error),
        traceback="".join(traceback.format_exception(error))[-8000:],
        attempts=attempts,
        at=time.time(),
    )
