"""Doing one unit: read its parents, compute, commit. Knows nothing of Ray."""

import platform
import sys
import time
import traceback
from dataclasses import dataclass
from importlib.metadata import version

import torch
from safetensors.torch import save

from tamt_ray.execution.worker.bench import HEAD, UnitBench
from tamt_ray.execution.worker.checkpoint_policy import CheckpointPolicy, StoreCheckpointer
from tamt_ray.execution.worker.device import give_back_memory, keep_freed_memory
from tamt_ray.execution.worker.usage import Usage
from tamt_ray.finetune.finetuner import Finetuner
from tamt_ray.masks.file import mask_from_bytes, mask_to_bytes
from tamt_ray.masks.mask import Mask
from tamt_ray.methods.base import Search
from tamt_ray.plan.unit import FinetuneConfig, HeadConfig, Kind, PretrainEvalConfig, Unit
from tamt_ray.search.engine import Settings
from tamt_ray.search.evaluate import pretraining_losses
from tamt_ray.search.head import train_head
from tamt_ray.search.process_group import ProcessGroup
from tamt_ray.store.record import HISTORY, MASK, Failure, Record
from tamt_ray.store.states import States
from tamt_ray.store.store import Store, StoreError
from tamt_ray.tasks.predictions import PREDICTIONS
from tamt_ray.values.base import OnProgress
from tamt_ray.values.identity import written
from tamt_ray.values.training import Optimizer, Training
from tamt_ray.values.version import __version__


@dataclass(frozen=True)
class UnitResult:
    """Numbers, files and sources of a computation."""

    metrics: dict[str, float]
    artifacts: dict[str, bytes]
    sources: dict[str, str]


class UnitRunner:
    """One process's tools; models and features are kept between units and change no result."""

    def __init__(
        self, store: Store, group: ProcessGroup, place: str, saving: CheckpointPolicy | None = None
    ) -> None:
        """`place` is written into every record: host, process and GPUs; `saving` says how often
        running searches keep their states."""
        keep_freed_memory()
        self._store = store
        self._group = group
        self._saving = saving or CheckpointPolicy()
        self.place = place
        self._finetuner = Finetuner(group.device)
        self._inputs: dict[str, str] = {}

    def perform(
        self, unit: Unit, progress: OnProgress | None = None, *, graphs: bool = False
    ) -> Record:
        """Compute a unit and commit its record. All workers of a gang call it together; the first
        one writes. `graphs`: a search and a fine-tune may replay their steps as CUDA graphs. Raises
        whatever the computation raises, and then nothing is written."""
        give_back_memory()
        self._store.ensure_shared()
        started, begin = time.time(), time.perf_counter()
        self._inputs.clear()
        usage = Usage(self._group.device)
        checkpointer = self._checkpointer(unit)
        done = self._compute(unit, checkpointer, progress, graphs)
        record = Record(
            id=unit.id,
            kind=unit.kind,
            config=written(unit.config),
            parents=unit.parents,
            inputs=dict(self._inputs),
            metrics=done.metrics,
            sources=done.sources,
            started=started,
            seconds=time.perf_counter() - begin,
            device=device_name(self._group),
            place=self.place,
            usage=usage.taken(),
            versions={
                "tamt-ray": __version__,
                **{name: version(name) for name in ("torch", "transformers")},
            },
        )
        if self._group.rank > 0:
            return record
        committed = self._store.commit(record, done.artifacts)
        checkpointer.finish()
        return committed

    def _checkpointer(self, unit: Unit) -> StoreCheckpointer:
        search = unit.config if isinstance(unit.config, Search) else None
        last = (search.own_steps if search else 0) or sys.maxsize
        # Only trainings that have longer ones are gone on with; the rest end where they end.
        extends = search is not None and search.length is not None
        goes_on = extends and (self._saving.leave_last or unit.goes_on)
        states = States(self._store.files, unit.trajectory)
        return StoreCheckpointer(states, last, self._saving, leave_last=goes_on)

    def _compute(
        self,
        unit: Unit,
        checkpointer: StoreCheckpointer,
        progress: OnProgress | None,
        graphs: bool,
    ) -> UnitResult:
        config = unit.config
        if isinstance(config, FinetuneConfig):
            outcome = self._finetuner.run(
                config.model, config.task, config.seed, self._mask(config.mask), progress,
                graphs=graphs,
            )  # fmt: skip
            artifacts = {HISTORY: outcome.history.to_parquet(), PREDICTIONS: outcome.predictions}
            return UnitResult(outcome.metrics, artifacts, outcome.sources)
        bench = UnitBench(
            config.model, self._group, self._artifact, progress, checkpointer, graphs=graphs
        )
        match config:
            case HeadConfig():
                return self._head(config, bench, checkpointer)
            case PretrainEvalConfig():
                return self._pretrain_eval(config, bench)
            case Search():
                return self._search(config, bench)

    def _head(
        self, config: HeadConfig, bench: UnitBench, checkpointer: StoreCheckpointer
    ) -> UnitResult:
        head = config.training
        training = Training(
            batch_size=head.batch_size, micro_batch=head.micro_batch, decay_steps=head.steps
        )
        settings = Settings(training, Optimizer(lr=head.lr), head.steps, head.seed)
        weights, history = train_head(
            bench.model(), bench.stream(config.text, settings), settings, self._group,
            bench.progress, checkpointer=checkpointer,
        )  # fmt: skip
        return UnitResult(
            {"steps": float(head.steps)},
            {HEAD: save(weights), HISTORY: history.to_parquet()},
            bench.sources,
        )

    def _search(self, search: Search, bench: UnitBench) -> UnitResult:
        found = search.find(bench)
        if not isinstance(getattr(found, "mask", None), Mask):
            raise TypeError(f"`find` of {type(search).__name__} has to return Found(mask: Mask)")
        if bench.matrices:
            found.mask.check_covers(bench.matrices)
        if found.mask.pattern != search.pattern:
            raise ValueError(
                f"{search.label} found a mask that is {found.mask.pattern}, not {search.pattern}; "
                "it has to pass `pattern=self.pattern` to `Mask`"
            )
        metrics = {
            "zeros": float(found.mask.zeros),
            "weights": float(found.mask.weights),
            "sparsity": found.mask.sparsity,
        }
        if search.iterations is not None:
            # Iterations and seconds count all training behind the mask.
            before = self._record(search.below).metrics["search_seconds"] if search.below else 0.0
            metrics |= {
                "steps": float(search.own_steps),
                "iterations": float(search.iterations),
                "search_seconds": before + (found.history.seconds if found.history else 0.0),
            }
        artifacts = {MASK: mask_to_bytes(found.mask), **found.artifacts}
        if found.history:
            artifacts[HISTORY] = found.history.to_parquet()
        return UnitResult(metrics, artifacts, bench.sources)

    def _pretrain_eval(self, config: PretrainEvalConfig, bench: UnitBench) -> UnitResult:
        losses = pretraining_losses(
            bench.model(config.head),
            self._mask(config.mask),
            bench.text(config.text),
            config.objectives,
            probability=config.text.mlm_probability,
            seed=config.evaluation.seed,
            batch_size=config.evaluation.batch_size,
            device=self._group.device,
            precision=config.evaluation.precision,
        )
        return UnitResult(losses, {}, bench.sources)

    def _mask(self, unit_id: str | None) -> Mask | None:
        return mask_from_bytes(self._artifact(unit_id, MASK)) if unit_id else None

    def _record(self, unit_id: str) -> Record:
        """Return the record of a parent: an output head or a search."""
        kinds: tuple[Kind, ...] = ("search", "head")
        for kind in kinds:
            if record := self._store.record(kind, unit_id):
                return record
        raise StoreError(f"{unit_id[:8]} is needed but has no record in the store")

    def _artifact(self, unit_id: str, name: str) -> bytes:
        record = self._record(unit_id)
        self._inputs[f"{unit_id}/{name}"] = record.artifacts[name].sha256
        return self._store.artifact(record, name)


def device_name(group: ProcessGroup) -> str:
    """Return the device that the measured seconds belong to."""
    if group.device.type == "cuda":
        return f"{group.size} x {torch.cuda.get_device_name(group.device)}"
    return f"{group.size} x CPU {platform.machine()}, {torch.get_num_threads()} threads"


def failure_record(unit: Unit, error: BaseException, attempts: int) -> Failure:
    """Return the record of a failed unit."""
    return Failure(
        id=unit.id,
        kind=unit.kind,
        cell=unit.cell,
        error=type(error).__name__,
        message=str(error) or repr(error),
        traceback="".join(traceback.format_exception(error))[-8000:],
        attempts=attempts,
        at=time.time(),
    )
