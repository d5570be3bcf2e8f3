"""Carrying out a sweep with `tune:`: one Ray Tune run a study, one study after the other."""

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray
import torch
from optuna.storages import BaseStorage
from ray import tune

from tamt_ray.execution.cluster.autoscaler import nodes_to_come
from tamt_ray.execution.cluster.connection import connected
from tamt_ray.execution.fleet.tuner import fit
from tamt_ray.execution.lanes import Lanes
from tamt_ray.execution.scheduler.client import this_place
from tamt_ray.execution.scheduler.placement import Node, Slots, fleet_slots, gang_size
from tamt_ray.execution.scratch import Scratch
from tamt_ray.execution.signals import caught_signals
from tamt_ray.execution.tuning.search import Halving, Heard, LostTrials, StudySearcher
from tamt_ray.execution.tuning.trials import Trials
from tamt_ray.execution.tuning.worker import TrialWorker
from tamt_ray.execution.worker.inherited import Inherited
from tamt_ray.execution.worker.unit_runner import UnitRunner
from tamt_ray.plan.tuning import Study, studies
from tamt_ray.plan.unit import Unit
from tamt_ray.search.team import ProcessGroup
from tamt_ray.spec.execution import Execution, Resources
from tamt_ray.spec.sweep import Sweep
from tamt_ray.store.lease import Fence
from tamt_ray.store.store import Store

Watch = Callable[[Study, Heard], None]


_LOOK = 1.0
"""Seconds between two looks at what was signalled."""


@dataclass(frozen=True)
class TuneCall:
    """What the user asked for beside the sweep itself."""

    address: str | None = None
    fail_fast: bool = False
    retry_failed: bool = False


def run_tuning(
    sweep: Sweep,
    store: Store,
    storage: BaseStorage,
    call: TuneCall,
    watch: Watch,
    look: Callable[[], None],
) -> None:
    """Run every trial that is missing; `watch` is told of each, on another thread, and `look` is
    called about once a second, on this one.

    Raises ClusterError, InfeasibleError, BrokenOffError, and what `look` raises.
    """
    with connected(call.address) as nodes, caught_signals() as signals:
        # Trials that wait for places are what an autoscaler sees.
        to_come = nodes_to_come(sweep.execution, call.address)
        slots = _slots(sweep.execution, [*nodes.resources, *to_come])
        lanes = Lanes()
        lanes.start(lambda: _run_all(sweep, store, storage, call, slots, watch))
        while lanes.running():
            time.sleep(_LOOK)
            look()
            signals.raise_if_caught()
        signals.raise_if_caught()
        lanes.raise_first_error()


def _run_all(
    sweep: Sweep, store: Store, storage: BaseStorage, call: TuneCall, slots: Slots, watch: Watch
) -> None:
    for study in studies(sweep):
        trials = Trials(storage, study)
        trials.resume(failed_too=call.retry_failed)
        if len(trials.ended()) >= study.tuning.trials:
            continue
        _lay_ground(study, store, slots)
        if _run_study(study, store, trials, slots, call, watch) and call.fail_fast:
            return


def _run_study(
    study: Study, store: Store, trials: Trials, slots: Slots, call: TuneCall, watch: Watch
) -> bool:
    """Run trials until the study has all it may have; returns whether one failed."""
    failed = False

    def heard(news: Heard) -> None:
        nonlocal failed
        failed = failed or news.ended == "failed"
        searcher.stopped = failed and call.fail_fast
        watch(study, news)

    searcher = StudySearcher(study, trials, study.sweep.execution.retries, heard)
    request = {"CPU": slots.cpus, **({"GPU": slots.gpus} if slots.gpus else {})}
    with Scratch("tune") as scratch:
        tuner = tune.Tuner(
            tune.with_resources(TrialWorker, request),
            param_space={
                "study": [study],
                "store": store.uri,
                "gpus": slots.gpus,
                "deterministic": study.sweep.execution.deterministic,
                "patience": study.sweep.execution.patience,
                "inherited": Inherited.of_this_process(),
            },
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                scheduler=Halving(study, trials.ended()),
                num_samples=-1,
                max_concurrent_trials=min(slots.total, study.tuning.trials),
                reuse_actors=True,
                trial_dirname_creator=lambda trial: str(trial.trial_id),
            ),
            run_config=tune.RunConfig(
                name=f"tune-{uuid.uuid4().hex[:8]}",
                storage_path=store.uri if "://" in store.uri else str(scratch),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                callbacks=[LostTrials(searcher)],
                failure_config=tune.FailureConfig(max_failures=0),
                verbose=0,
            ),
        )
        fit(tuner)
    return failed


def _lay_ground(study: Study, store: Store, slots: Slots) -> None:
    """Have the units done that a study stands on."""
    plan = study.ground()
    done = store.look(plan.units).records
    missing = [unit for unit in plan.units.values() if unit.id not in done]
    if missing:
        work = ray.remote(
            num_cpus=slots.cpus, num_gpus=slots.gpus, max_retries=study.sweep.execution.retries
        )(_perform)
        reference: Any = work.remote(store.uri, store.fence, missing, Inherited.of_this_process())
        ray.get(reference)


def _perform(store: str, fence: Fence | None, units: list[Unit], inherited: Inherited) -> None:
    inherited.take()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    bench = UnitRunner(Store(store, fence), ProcessGroup(device), this_place())
    for unit in units:
        bench.perform(unit)


def _slots(execution: Execution, nodes: list[Node]) -> Slots:
    """Places for trials: each is one search worker, alone. Raises InfeasibleError."""
    alone = execution.search.model_copy(update={"workers": 1})
    size = gang_size(execution.model_copy(update={"search": alone}), nodes)
    return fleet_slots(
        Execution(finetune=Resources(cpus=size.cpus, gpus=size.gpus)), nodes, size.gpus
    )
