"""Doing one unit: read its parents, compute, commit. Knows nothing of Ray."""

import platform
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version

import torch
from safetensors.torch import load, save

from tamt_ray import __version__
from tamt_ray.data.blocks import load_blocks
from tamt_ray.data.checkpoint import load_checkpoint
from tamt_ray.data.history import History
from tamt_ray.finetune.finetuner import Finetuner
from tamt_ray.masks.file import mask_from_bytes, mask_to_bytes
from tamt_ray.masks.mask import Mask
from tamt_ray.plan.unit import (
    FinetuneConfig,
    HeadConfig,
    ImpConfig,
    OmpConfig,
    PretrainEvalConfig,
    RandomConfig,
    TamtConfig,
    Unit,
    config_dict,
)
from tamt_ray.search.engine import Settings
from tamt_ray.search.evaluate import pretraining_losses
from tamt_ray.search.head import train_head
from tamt_ray.search.imp import train_level
from tamt_ray.search.language_model import LanguageModel
from tamt_ray.search.masking import Stream
from tamt_ray.search.objective import Terms
from tamt_ray.search.tamt import Scoring, train_mask
from tamt_ray.search.team import Team
from tamt_ray.spec.method import Training
from tamt_ray.spec.table import Corpus
from tamt_ray.store.record import Failure, Record
from tamt_ray.store.store import Store, StoreError

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Yield:
    """What a computation gives: numbers, files and what was read."""

    metrics: dict[str, float]
    artifacts: dict[str, bytes]
    sources: dict[str, str]


class Workbench:
    """One process's tools; models and features are kept between units and change no result."""

    def __init__(self, store: Store, team: Team, place: str) -> None:
        """`place` is written into every record: host, process and GPUs."""
        self._store = store
        self._team = team
        self.place = place
        self._finetuner = Finetuner(team.device)

    def perform(self, unit: Unit, progress: Progress | None = None) -> Record:
        """Compute a unit and commit its record. All workers of a team call it together; the first
        one writes. Raises whatever the computation raises, and then nothing is written."""
        started, begin = time.time(), time.perf_counter()
        done = self._compute(unit, progress)
        record = Record(
            id=unit.id,
            kind=unit.kind,
            config=config_dict(unit.config),
            parents=unit.parents,
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
        return self._store.commit(record, done.artifacts) if self._team.rank == 0 else record

    def _compute(self, unit: Unit, progress: Progress | None) -> Yield:
        match unit.config:
            case HeadConfig() as config:
                return self._head(config, progress)
            case RandomConfig() | OmpConfig() as config:
                return self._untrained(config)
            case ImpConfig() as config:
                return self._imp(config, progress)
            case TamtConfig() as config:
                return self._tamt(config, progress)
            case PretrainEvalConfig() as config:
                return self._pretrain_eval(config)
            case FinetuneConfig() as config:
                outcome = self._finetuner.run(
                    config.model, config.task, config.seed, self._mask(config.mask), progress
                )
                history = {"history.parquet": outcome.history.to_parquet()}
                return Yield(outcome.metrics, history, outcome.sources)

    def _head(self, config: HeadConfig, progress: Progress | None) -> Yield:
        head = config.training
        training = Training(
            batch_size=head.batch_size, micro_batch=head.micro_batch, horizon=head.steps
        )
        settings = Settings(training, head.lr, head.steps, head.seed)
        model, sources = self._language_model(config.model.source, None)
        stream, corpus = _stream(config.corpus, config.model.source, settings)
        weights, history = train_head(model, stream, settings, self._team, progress)
        return Yield(
            {"steps": float(settings.steps)},
            {"head.safetensors": save(weights), "history.parquet": history.to_parquet()},
            {**sources, **corpus},
        )

    def _untrained(self, config: RandomConfig | OmpConfig) -> Yield:
        model, sources = self._language_model(config.model.source, None)
        mask = (
            Mask.at_random(model.dense, config.sparsity, config.seed)
            if isinstance(config, RandomConfig)
            else Mask.by_magnitude(model.dense, config.sparsity)
        )
        return _found(mask, None, 0, sources)

    def _imp(self, config: ImpConfig, progress: Progress | None) -> Yield:
        model, sources = self._language_model(config.model.source, config.head)
        below = self._mask(config.below) or Mask.by_magnitude(model.dense, config.start)
        settings = Settings(config.training, config.lr, config.steps, config.seed)
        stream, corpus = _stream(config.corpus, config.model.source, settings)
        mask, history = train_level(
            model, below, config.sparsity, stream, settings, self._team, progress
        )
        return _found(mask, history, config.steps, {**sources, **corpus})

    def _tamt(self, config: TamtConfig, progress: Progress | None) -> Yield:
        model, sources = self._language_model(config.model.source, config.head)
        settings = Settings(config.training, config.lr, config.steps, config.seed)
        stream, corpus = _stream(config.corpus, config.model.source, settings)
        scoring = Scoring(
            config.sparsity, config.init, config.threshold, config.scale, config.ranking
        )
        mask, history = train_mask(
            model, _TERMS[config.method], scoring, stream, settings, self._team, progress
        )
        return _found(mask, history, config.steps, {**sources, **corpus})

    def _pretrain_eval(self, config: PretrainEvalConfig) -> Yield:
        model, sources = self._language_model(config.model.source, config.head)
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
        corpus = {f"{config.corpus.validation.source} validation": blocks.fingerprint}
        return Yield(losses, {}, {**sources, **corpus})

    def _language_model(
        self, source: str, head: str | None
    ) -> tuple[LanguageModel, dict[str, str]]:
        checkpoint = load_checkpoint(source)
        weights = load(self._artifact("head", head, "head.safetensors")) if head else None
        model = LanguageModel(checkpoint.path, weights, self._team.device)
        return model, {source: checkpoint.fingerprint}

    def _mask(self, unit_id: str | None) -> Mask | None:
        if unit_id is None:
            return None
        return mask_from_bytes(self._artifact("search", unit_id, "mask.safetensors"))

    def _artifact(self, kind: str, unit_id: str, name: str) -> bytes:
        record = self._store.record("head" if kind == "head" else "search", unit_id)
        if record is None:
            raise StoreError(f"{kind} {unit_id[:8]} is needed but has no record in the store")
        return self._store.artifact(record, name)


_TERMS: Mapping[str, Terms] = {"tamt_mlm": "mlm", "tamt_kd": "kd", "tamt_mlm_kd": "mlm_kd"}


def _stream(corpus: Corpus, source: str, settings: Settings) -> tuple[Stream, dict[str, str]]:
    blocks = load_blocks(corpus, "train", source)
    stream = Stream(blocks, settings.training.batch_size, settings.seed, corpus.mlm_probability)
    return stream, {f"{corpus.train.source} train": blocks.fingerprint}


def _found(mask: Mask, history: History | None, steps: int, sources: dict[str, str]) -> Yield:
    metrics = {
        "zeros": float(mask.zeros),
        "weights": float(mask.weights),
        "sparsity": mask.sparsity,
        "steps": float(steps),
    }
    artifacts = {"mask.safetensors": mask_to_bytes(mask)}
    if history:
        artifacts["history.parquet"] = history.to_parquet()
    return Yield(metrics, artifacts, sources)


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
