"""Task-agnostic mask training of pre-trained language models, as a Ray sweep."""

from typing import TYPE_CHECKING

from tamt_ray.values.version import __version__

if TYPE_CHECKING:
    from tamt_ray.api import load, run

__all__ = ["__version__", "load", "run"]


def __getattr__(name: str) -> object:
    """Return a function of `tamt_ray.api`, which is imported once it is asked for: it loads torch.

    Raises AttributeError for any other name.
    """
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from tamt_ray import api

    return getattr(api, name)
