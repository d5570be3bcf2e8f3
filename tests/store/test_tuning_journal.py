"""Trials in a store on S3: another machine goes on with them, and nobody writes without a lease."""

import pytest

from tamt_ray.execution.tuning.trials import Trials, known_trials, open_storage
from tamt_ray.plan.tuning import Rung, Study, studies
from tamt_ray.spec.sweep import Sweep
from tamt_ray.store.lease import Lease, Pace
from tamt_ray.store.store import Store
from tamt_ray.store.trouble import LeaseLostError, StoreError

from .conftest import S3

RUNGS = [2, 6]


@pytest.fixture
def study() -> Study:
    text = {"source": "dir:a.txt"}
    (only,) = studies(
        Sweep.model_validate(
            {
                "name": "small",
                "models": {"mini": {"source": "dir:m"}},
                "corpus": {"train": text, "validation": text},
                "methods": [{"method": "tamt_kd", "steps": 5}],
                "sparsities": [0.5],
                "tune": {
                    "sparsity": 0.5, "trials": 4, "rungs": RUNGS,
                    "methods": {"tamt_kd": {"lr": {"log": [1e-5, 1e-2]}}},
                },
            }
        )
    )  # fmt: skip
    return only


def finish(trials: Trials, kd_loss: float) -> None:
    number = trials.draw().number
    for steps in RUNGS:
        trials.reached(number, Rung(steps, {"mlm_loss": 7.0, "kd_loss": kd_loss}, at=1.0))
    trials.end(number, "finished")


def test_another_machine_goes_on(s3: S3, study: Study) -> None:
    """Every tenth request fails; what one told, the other knows, and what one left running is drawn
    anew by the other."""
    first = Trials(open_storage(Store(s3.uri), "small"), study)
    first.resume()
    finish(first, 0.5)
    left = first.draw()

    other = open_storage(Store(s3.uri), "small")
    assert known_trials(other, study) == first.ended()
    trials = Trials(other, study)
    trials.resume()
    assert trials.draw().values == left.values
    finish(trials, 0.25)
    third = known_trials(open_storage(Store(s3.uri), "small"), study)
    assert [trial.rungs[-1].losses["kd_loss"] for trial in third] == [0.5, 0.25]
    assert s3.web.failed


def test_a_spoiled_file_is_named(s3: S3, study: Study) -> None:
    store = Store(s3.uri)
    finish(Trials(open_storage(store, "small"), study), 0.5)
    name = min(store.files.sizes("tuning/small"))
    store.files.write(name, store.files.read(name)[:-3])
    with pytest.raises(StoreError, match=name):
        open_storage(Store(s3.uri), "small")


def test_looking_leaves_nothing_behind(s3: S3, study: Study) -> None:
    store = Store(s3.uri)
    assert known_trials(open_storage(store, "small"), study) == ()
    assert store.files.sizes("tuning") == {}


def test_who_has_lost_the_lease_tells_nothing_any_more(s3: S3, study: Study) -> None:
    pace = Pace(beat=0.4, patience=3.0)
    paused = Lease.acquire(Store(s3.uri).files, "small", pace)
    trials = Trials(open_storage(Store(s3.uri, paused.fence), "small"), study)
    trials.resume()
    (claim,) = Store(s3.uri).files.sizes("leases/small")
    Store(s3.uri).files.write(claim, b"from another machine")
    with Lease.acquire(Store(s3.uri).files, "small", pace) as taken:
        kept = taken and Store(s3.uri).folder("tuning/small")
        with pytest.raises(LeaseLostError):
            trials.draw()
        assert Store(s3.uri).folder("tuning/small") == kept
