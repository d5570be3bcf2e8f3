"""Exported subnetworks as MLflow's logged models. Heavy: imports MLflow."""

from pathlib import Path

from mlflow.entities import Metric
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from tamt_ray.spec.sweep import Sweep
from tamt_ray.tracking.runs import Runs
from tamt_ray.tracking.trouble import TrackingError
from tamt_ray.values.identity import identity

_SHOWN = ("score/", "pretrain/")
"""Metrics of the subnetwork's run that its model shows too."""


def log_model(sweep: Sweep, unit_id: str, files: Path, digests: dict[str, str]) -> str:
    """Return the id of the logged model with the content of `files`, made unless it is there.

    `digests`: sha256 of each file. It belongs to the run of the subnetwork, and shows its
    parameters and scores. Raises TrackingError, also where MLflow has no such run yet.
    """
    content = identity(digests)
    try:
        runs = Runs(sweep)
        run = runs.find(unit_id)
        if run is None:
            raise TrackingError("the subnetwork has no run yet")
        client, tags = runs.client, {"tamt.unit": unit_id, "tamt.content": content}
        condition = f"tags.`tamt.content` = '{content}'"
        for model in client.search_logged_models([runs.experiment], condition):
            if model.tags.get("tamt.unit") == unit_id and str(model.status) == "READY":
                return model.model_id
        whole = client.get_run(run.run_id)
        names = ("model", "method", "sparsity", "mask_seed")
        params = {name: run.tags[f"tamt.{name}"] for name in names if f"tamt.{name}" in run.tags}
        name = "-".join(params.values()).replace(".", "_")
        model = client.create_logged_model(
            runs.experiment, name, run.run_id, tags, params, "subnetwork"
        )
        client.log_model_artifacts(model.model_id, str(files))
        shown = [
            Metric(key, value, whole.info.end_time or whole.info.start_time, 0,
                   model_id=model.model_id, run_id=run.run_id)
            for key, value in run.metrics.items()
            if key.startswith(_SHOWN)
        ]  # fmt: skip
        if shown:
            client.log_batch(run.run_id, shown)
        client.finalize_logged_model(model.model_id, "READY")
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise TrackingError(error) from error
    return model.model_id
