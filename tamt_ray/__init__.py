"""Task-agnostic mask training of pre-trained language models, as a Ray sweep."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from os import PathLike

    from tamt_ray.api import SweepResults

__version__ = "0.1.0"
__all__ = ["__version__", "load", "run"]


def load(file: str | PathLike[str]) -> SweepResults:
    """Return what the store holds of a sweep, as data frames, masks and models.

    Raises SpecError or StoreError with a message for the user.
    """
    from tamt_ray import api

    return api.load(file)


def run(file: str | PathLike[str], *options: str) -> SweepResults:
    """Run what is missing of a sweep, printing as `python -m tamt_ray.sweep` does; return `load`.

    `options` are those of the command line. Raises RunError where nothing could be run.
    """
    from tamt_ray import api

    return api.run(file, *options)
