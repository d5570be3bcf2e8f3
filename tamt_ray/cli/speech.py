"""Output of the verbs: results to stdout, messages to stderr, errors with their exit codes."""

import re
import sys
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import NoReturn

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from tamt_ray.spec.load import SpecError
from tamt_ray.store.trouble import (
    HeldError,
    LeaseLostError,
    StoreError,
    UnwritableError,
)
from tamt_ray.tracking.trouble import TrackingError

# Paths and messages are printed as they are: `file:100:` is no emoji and `[a]` no colour.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters, and those that change the direction of text."""


def plain(text: str) -> str:
    """Return the text without control characters: names and messages may come from anywhere."""
    return _CONTROL.sub("", text)


class _Console(Console):
    """Prints no control characters but its own."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Yield the printed pieces without control characters."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(plain(segment.text), segment.style)


_WIDE = None if sys.stdout.isatty() else 200
"""Columns where there is no terminal: a log or a pipe must not lose words to wrapping."""
talk = _Console(stderr=True, markup=False, emoji=False, width=_WIDE)
out = _Console(soft_wrap=True, markup=False, emoji=False, width=_WIDE)


def lasting_out() -> Console:
    """Return a console like `out` that keeps the present standard output. While Ray is connected,
    `sys.stdout` is redirected, because Ray prints there."""
    return _Console(file=sys.stdout, soft_wrap=True, markup=False, emoji=False, width=_WIDE)


class UsageError(ValueError):
    """An answer, option or file that cannot be used; the message is meant for the user."""


@contextmanager
def exit_on_error() -> Generator[None]:
    """Errors meant for the user become one message and an exit code."""
    try:
        yield
    except (HeldError, LeaseLostError) as error:
        fail(3, str(error))
    except UnwritableError as error:
        fail(1, str(error))
    except (SpecError, StoreError, UsageError) as error:
        fail(2, str(error))
    except TrackingError as error:
        fail(3, f"MLflow: {error}; results are safe in the store, try again later")
    except OSError as error:
        fail(1, f"{error}; what is done is kept, the same command goes on")


def fail(code: int, message: str) -> NoReturn:
    """Print an error and exit with its code."""
    print_error(message)
    raise typer.Exit(code)


def warn(message: str) -> None:
    """Print a warning; the command goes on."""
    talk.print(message, style="yellow", highlight=False, markup=False, soft_wrap=True)


def print_error(message: str) -> None:
    """Print a message of an error."""
    talk.print(message, style="red", highlight=False, markup=False, soft_wrap=True)
