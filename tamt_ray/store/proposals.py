"""Proposals of a tuning in its store: `tuning/<sweep>/<study>/<trial>-<rung>.json`."""

from pydantic import ValidationError

from tamt_ray.plan.study import Proposal, Study
from tamt_ray.store.files import BrokenSealError, seal, unseal
from tamt_ray.store.store import Store
from tamt_ray.store.trouble import StoreError


def read_proposals(store: Store, sweep: str, study: Study) -> tuple[Proposal, ...]:
    """Return the proposals of a study, in their order. Raises StoreError."""
    folder = _folder(sweep, study)
    found: list[Proposal] = []
    for name, data in store.folder(folder).items():
        try:
            found.append(Proposal.model_validate_json(unseal(data)))
        except (BrokenSealError, ValidationError) as error:
            raise StoreError(
                f"{store.uri}/{folder}/{name} is not what was written; remove it: its trial is "
                "forgotten, and all others stay"
            ) from error
    return tuple(found)


def keep_proposal(store: Store, sweep: str, study: Study, proposal: Proposal) -> None:
    """Write a proposal. Raises UnwritableError or LeaseLostError, and then has not."""
    name = f"{proposal.trial:05}-{proposal.rung:02}.json"
    store.write(f"{_folder(sweep, study)}/{name}", seal(proposal.model_dump_json().encode()))


def _folder(sweep: str, study: Study) -> str:
    return f"tuning/{sweep}/{study.id[:16]}"
