"""Errors on the way to MLflow."""

from tamt_ray.values.address import masked

_LONGEST = 200


class TrackingError(RuntimeError):
    """MLflow did not take it now; it may later. One line, without credentials."""

    def __init__(self, what: object) -> None:
        super().__init__(one_line(what))


class RefusedError(TrackingError):
    """MLflow will never take this as it is; everything else goes on."""


def one_line(what: object) -> str:
    """Return at most 200 characters for a progress table, passwords in URLs masked."""
    name = type(what).__name__ if isinstance(what, BaseException) else ""
    text = " ".join(str(what).split()) or name
    text = masked(text)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
