"""Ids found with shared texts are the ids of the configs alone."""

import pytest

from tamt_ray.plan.config import parse_config
from tamt_ray.plan.expand import expand
from tamt_ray.plan.unit import Identities, Unit, identity_of
from tamt_ray.spec.load import parse_sweep

from .test_identity import SPELLED_OUT, SWEEP


@pytest.mark.parametrize(("whole", "text"), SPELLED_OUT.values(), ids=SPELLED_OUT)
def test_every_kind_with_its_defaults_and_without(whole: dict[str, object], text: str) -> None:
    identities = Identities()
    changes: dict[str, object] = {
        "seed": 7, "sparsity": 0.25, "steps": 9, "rewind": False, "mask": "a" * 64,
        "below": "b" * 64, "head": "c" * 64,
    }  # fmt: skip
    config = parse_config(whole)
    assert identities.of(config) == identity_of(config) == Unit(config).id
    for name in changes.keys() & whole.keys():
        changed = config.model_copy(update={name: changes[name]})
        assert identities.of(changed) == identity_of(changed) != identity_of(config)


def test_methods_of_one_class_are_told_apart() -> None:
    whole, _ = SPELLED_OUT["tamt"]
    config = parse_config(whole)
    other = config.model_copy(update={"method": "tamt_mlm"})
    identities = Identities()
    assert identities.of(config) == identity_of(config)
    assert identities.of(other) == identity_of(other)


def test_what_is_gone_is_not_taken_for_what_came_in_its_place() -> None:
    """A new object may get the address of one that is no more."""
    whole, _ = SPELLED_OUT["omp"]
    identities = Identities()
    for number in range(200):
        config = parse_config({**whole, "model": {"source": f"dir:m{number}"}})
        assert identities.of(config) == identity_of(config)


def test_a_grid_s_ids_are_those_of_its_configs() -> None:
    units = expand(parse_sweep(SWEEP)).units
    assert [unit.id for unit in units.values()] == list(units)
    assert [identity_of(unit.config) for unit in units.values()] == list(units)
