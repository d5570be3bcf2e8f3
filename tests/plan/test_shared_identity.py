"""Ids found with shared texts are the ids of the configs alone."""

from tamt_ray.plan.expand import expand
from tamt_ray.plan.unit import Unit, parse_config
from tamt_ray.spec.load import parse_sweep
from tamt_ray.values.identity import Identities, identity

from .test_identity import SWEEP
from .test_pinned_ids import SPELLED_OUT


def test_units_of_every_kind_that_share_their_parts() -> None:
    """One model, of which a head, a search and a fine-tune count different fields."""
    configs = [parse_config(whole) for whole, _ in SPELLED_OUT.values()]
    model = configs[0].model.model_copy(update={"pooling": "mean", "pooler": True})
    together = [config.model_copy(update={"model": model}) for config in configs]
    identities = Identities()
    assert [identities.of(config) for config in together] == [Unit(c).id for c in together]
    assert len({identity(config) for config in together}) == len(SPELLED_OUT)


def test_what_is_gone_is_not_taken_for_what_came_in_its_place() -> None:
    """A new object may get the address of one that is no more."""
    whole, _ = SPELLED_OUT["omp"]
    identities = Identities()
    for number in range(200):
        config = parse_config({**whole, "model": {"source": f"dir:m{number}"}})
        assert identities.of(config) == identity(config)


def test_a_grid_s_ids_are_those_of_its_configs() -> None:
    units = expand(parse_sweep(SWEEP)).units
    assert [unit.id for unit in units.values()] == list(units)
    assert [identity(unit.config) for unit in units.values()] == list(units)
