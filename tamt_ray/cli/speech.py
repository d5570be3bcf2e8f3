"""How the verbs speak: results to stdout, talk to stderr, errors with their exit codes."""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import NoReturn

import typer
from rich.console import Console

from tamt_ray.spec.load import SpecError
from tamt_ray.store.trouble import HeldError, LeaseLostError, StoreError, UnwritableError
from tamt_ray.tracking.trouble import TrackingError

# Paths and messages are printed as they are: `file:100:` is no emoji and `[a]` no colour.
_WIDE = None if sys.stdout.isatty() else 200
"""Columns where there is no terminal: a log or a pipe must not lose words to wrapping."""
talk = Console(stderr=True, markup=False, emoji=False, width=_WIDE)
out = Console(soft_wrap=True, markup=False, emoji=False, width=_WIDE)


@contextmanager
def told() -> Generator[None]:
    """Errors meant for the user become one message and an exit code."""
    try:
        yield
    except (HeldError, LeaseLostError) as error:
        fail(3, str(error))
    except UnwritableError as error:
        fail(1, str(error))
    except (SpecError, StoreError) as error:
        fail(2, str(error))
    except TrackingError as error:
        fail(3, f"MLflow: {error}; results are safe in the store, try again later")
    except OSError as error:
        fail(1, f"{error}; what is done is kept, the same command goes on")


def fail(code: int, message: str) -> NoReturn:
    """Tell an error and end with its code."""
    tell(message)
    raise typer.Exit(code)


def warn(message: str) -> None:
    """Say what goes on all the same."""
    talk.print(message, style="yellow", highlight=False, markup=False, soft_wrap=True)


def tell(message: str) -> None:
    """Say what went wrong."""
    talk.print(message, style="red", highlight=False, markup=False, soft_wrap=True)
