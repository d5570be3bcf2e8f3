"""Proposals of a tuning on S3: another machine goes on with them, and only under the lease."""

import pytest

from tamt_ray.plan.study import Proposal, Study, own_proposal, studies
from tamt_ray.spec.sweep import Sweep
from tamt_ray.store.lease import Lease, Pace
from tamt_ray.store.proposals import keep_proposal, read_proposals
from tamt_ray.store.store import Store
from tamt_ray.store.trouble import LeaseLostError, StoreError
from tests.s3_server import S3, s3

__all__ = ["s3"]


@pytest.fixture
def study() -> Study:
    text = {"source": "dir:a.txt"}
    spans = {
        "lr": {"log": [1e-5, 1e-2]}, "ranking": {"choice": ["signed", "magnitude"]},
        "bias_correction": {"choice": [True, False]}, "search.batch_size": {"uniform": [1, 16]},
    }  # fmt: skip
    (only,) = studies(
        Sweep.model_validate(
            {
                "name": "small",
                "models": {"mini": {"source": "dir:m"}},
                "corpus": {"train": text, "validation": text},
                "methods": [{"method": "tamt_kd", "steps": 5}],
                "sparsities": [0.5],
                "tune": {
                    "sparsity": 0.5, "trials": 4, "rungs": [2, 6], "methods": {"tamt_kd": spans},
                },
            }
        )
    )  # fmt: skip
    return only


def test_another_machine_reads_the_same_values(s3: S3, study: Study) -> None:
    """Every tenth request fails. The last bit of a number counts: it is part of an identity."""
    values = {"lr": 0.1 + 0.2, "ranking": "magnitude", "bias_correction": True,
              "search.batch_size": 1}  # fmt: skip
    kept = [own_proposal(study), *(Proposal(trial=1, rung=rung, values=values) for rung in (0, 1))]
    for proposal in reversed(kept):
        keep_proposal(Store(s3.uri), "small", study, proposal)
    found = read_proposals(Store(s3.uri), "small", study)
    assert list(found) == kept
    assert {name: type(value) for name, value in found[1].values.items()} == {
        "lr": float, "ranking": str, "bias_correction": bool, "search.batch_size": int,
    }  # fmt: skip
    assert read_proposals(Store(s3.uri), "other", study) == ()


def test_a_spoiled_file_is_named(s3: S3, study: Study) -> None:
    store = Store(s3.uri)
    keep_proposal(store, "small", study, own_proposal(study))
    name = min(store.files.sizes("tuning/small"))
    store.files.write(name, store.files.read(name)[:-3])
    with pytest.raises(StoreError, match=name):
        read_proposals(Store(s3.uri), "small", study)


def test_who_has_lost_the_lease_proposes_nothing_any_more(s3: S3, study: Study) -> None:
    pace = Pace(beat=0.4, patience=3.0)
    paused = Lease.acquire(Store(s3.uri).files, "small", pace)
    (claim,) = Store(s3.uri).files.sizes("leases/small")
    Store(s3.uri).files.write(claim, b"from another machine")
    with Lease.acquire(Store(s3.uri).files, "small", pace):
        with pytest.raises(LeaseLostError):
            keep_proposal(Store(s3.uri, paused.fence), "small", study, own_proposal(study))
        assert read_proposals(Store(s3.uri), "small", study) == ()
