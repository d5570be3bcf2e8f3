"""Whether MLflow can be reached, before anything depends on it."""

import os
from pathlib import Path

from tamt_ray.spec.sweep import Sweep
from tamt_ray.tracking.place import tracking_uri
from tamt_ray.tracking.tracker import prepare_mlflow
from tamt_ray.tracking.trouble import TrackingError, one_line

_SQLITE = "sqlite:///"


def reach(sweep: Sweep) -> str:
    """Where the sweep's runs will be; a server is asked, with the credentials of the environment.

    Nothing is made: a SQLite file that is not there yet only needs a directory. Raises
    TrackingError.
    """
    uri = tracking_uri(sweep)
    if uri.startswith(_SQLITE):
        _writable(Path(uri.removeprefix(_SQLITE)))
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


def _writable(database: Path) -> None:
    place = database if database.exists() else database.parent
    while not place.exists():
        place = place.parent
    if not os.access(place, os.W_OK):
        raise TrackingError(f"{place} cannot be written")
