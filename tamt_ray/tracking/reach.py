"""MLflow set up, and whether it can be reached, before anything depends on it."""

import logging
import os
from pathlib import Path

from tamt_ray.spec.sweep import Sweep
from tamt_ray.tracking.place import tracking_uri
from tamt_ray.tracking.trouble import TrackingError, one_line

_SQLITE = "sqlite:///"
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # A request that MLflow itself repeats could make a run twice; the tracker looks first.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    # A machine without git has no commit to show, and that is no trouble.
    "GIT_PYTHON_REFRESH": "quiet",
}


def prepare_mlflow() -> None:
    """Set MLflow up before its first import; what the user has set in the environment stays."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    # All that these log they raise as well, and the tracker shows it in one line.
    for name in ("mlflow.store.db.utils", "mlflow.utils.git_utils"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def reach(sweep: Sweep) -> str:
    """Return the address of the sweep's runs. A server is asked with the environment's credentials.

    Nothing is made: a SQLite file that is not there yet only needs a directory. Raises
    TrackingError.
    """
    uri = tracking_uri(sweep)
    if uri.startswith(_SQLITE):
        database = Path(uri.removeprefix(_SQLITE))
        place = database if database.exists() else database.parent
        while not place.exists():
            place = place.parent
        if not os.access(place, os.W_OK):
            raise TrackingError(f"{place} cannot be written")
        return one_line(uri)
    prepare_mlflow()
    # Importing it takes seconds.
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        MlflowClient(tracking_uri=uri).search_experiments(max_results=1)
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise TrackingError(error) from error
    return one_line(uri)
