"""Masks and curves of a report, read one at a time."""

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from tamt_ray.masks.bits import Bits


@dataclass(frozen=True)
class ArtifactReader:
    """Access to the artifacts of finished searches, by the id of the unit."""

    bits: Callable[[str], Bits]
    """Its mask."""
    history: Callable[[str], pl.DataFrame | None]
    """Its curves: step, name, value; None where nothing was trained."""
    distances: pl.DataFrame | None = None
    """The distances of an earlier report; those of masks that are still the same are kept."""
