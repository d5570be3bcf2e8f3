"""MLflow's address for a sweep, and the command that shows it."""

import shlex
from pathlib import Path

from tamt_ray.spec.sweep import Sweep
from tamt_ray.tracking.trouble import one_line
from tamt_ray.tracking.views import METHODS_VIEW

LAST_WORDS, SHORT_WORDS = 120.0, 3.0
"""Seconds a run waits for MLflow at its end, and when it is broken off."""
_SQLITE = "sqlite:///"
_LOCAL_UI = "http://127.0.0.1:5000"
"""Default address of `mlflow ui`."""


def tracking_uri(sweep: Sweep) -> str:
    """Return the sweep's tracking URI with a relative SQLite path made absolute, now and for
    good."""
    database = _database(sweep)
    return f"{_SQLITE}{database}" if database else sweep.mlflow


def artifact_location(sweep: Sweep) -> str | None:
    """`mlartifacts/` beside a SQLite database, as a file URI; None leaves it to the server."""
    database = _database(sweep)
    return (database.parent / "mlartifacts" / sweep.name).as_uri() if database else None


def ui_command(sweep: Sweep) -> str:
    """Return the command or the page that shows the sweep in MLflow."""
    if _served(sweep):
        return one_line(sweep.mlflow)
    uri = tracking_uri(sweep) if _database(sweep) else one_line(sweep.mlflow)
    return f"mlflow ui --backend-store-uri {shlex.quote(uri)}"


def ui_lines(sweep: Sweep, link: str) -> str:
    """Return the lines that say where the runs are: the command, if one is needed, and the page.

    `link`: as `ui_link` gave it once, or empty.
    """
    if not link.startswith(f"{_base(sweep)}/"):
        lines = [ui_command(sweep)]
    else:
        lines = [link] if _served(sweep) else [ui_command(sweep), link]
    return "runs:   " + "\n        ".join(lines)


def ui_link(sweep: Sweep, experiment: str) -> str:
    """Return the page that compares the methods, on the sweep's server or on `mlflow ui`'s."""
    view = f"viewStateShareKey={METHODS_VIEW}&compareRunsMode=CHART&workflowType=machine_learning"
    return f"{_base(sweep)}/#/experiments/{experiment}/runs?{view}"


def _base(sweep: Sweep) -> str:
    return one_line(sweep.mlflow).rstrip("/") if _served(sweep) else _LOCAL_UI


def _served(sweep: Sweep) -> bool:
    return sweep.mlflow.startswith(("http://", "https://"))


def _database(sweep: Sweep) -> Path | None:
    """Return the SQLite file, absolute; None for servers, other databases and SQLite in memory."""
    path = sweep.mlflow.removeprefix(_SQLITE)
    if path == sweep.mlflow or not path or path.startswith((":memory:", "file:")):
        return None
    return Path(path).absolute()
