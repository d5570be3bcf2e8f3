"""The schema that every sweep file names for editors."""

from pathlib import Path

from tamt_ray.spec.schema import sweep_schema

SWEEPS = Path(__file__).parents[2] / "sweeps"


def test_the_schema_beside_the_sweeps_is_the_current_one() -> None:
    """`tamt schema > sweeps/sweep.schema.json` mends it."""
    assert (SWEEPS / "sweep.schema.json").read_text() == sweep_schema()


def test_every_sweep_names_it() -> None:
    for path in SWEEPS.glob("*.yaml"):
        assert path.read_text().startswith("# yaml-language-server: $schema=sweep.schema.json\n")
