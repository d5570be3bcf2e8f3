"""Reading what studies hold; needs neither Ray nor torch."""

from collections.abc import Mapping

from optuna.storages import BaseStorage

from tamt_ray.execution.tuning.trials import known_trials, open_storage
from tamt_ray.plan.config import PretrainEvalConfig
from tamt_ray.plan.tuning import Outcome, Study, studies
from tamt_ray.spec.sweep import Sweep
from tamt_ray.store.store import Store


def read_outcomes(sweep: Sweep, store: Store) -> tuple[Outcome, ...]:
    """What every study of the sweep has found, from the storage in its store."""
    return outcomes(sweep, store, open_storage(store, sweep.name))


def outcomes(sweep: Sweep, store: Store, storage: BaseStorage) -> tuple[Outcome, ...]:
    """What every study of the sweep has found so far."""
    return tuple(
        Outcome(study, known_trials(storage, study), _omp_losses(study, store))
        for study in studies(sweep)
    )


def _omp_losses(study: Study, store: Store) -> Mapping[str, float]:
    for unit in study.ground().units.values():
        if isinstance(unit.config, PretrainEvalConfig) and unit.config.mask:
            record = store.record("pretrain_eval", unit.id)
            return record.metrics if record else {}
    return {}
