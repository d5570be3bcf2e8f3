"""Ray Tune, but a host that runs out of memory costs it a trial and no more, and it copies no
credentials into Ray's logs."""

from ray import tune
from ray.air.execution._internal import RayActorManager
from ray.air.execution._internal.tracked_actor_task import TrackedActorTask
from ray.exceptions import OutOfMemoryError
from ray.tune.execution import class_cache, tune_controller

from tamt_ray.execution.scheduler.errors import KilledForMemoryError


def fit(tuner: tune.Tuner) -> None:
    """Run it. Raises what Tune raises."""
    # There is no public way to give Tune another one.
    tune_controller.RayActorManager = _ActorManager  # pyright: ignore[reportPrivateImportUsage]
    # Tune copies these variables into the runtime_env of its workers, which Ray logs.
    class_cache.ENV_VARS_TO_PROPAGATE = {
        name for name in class_cache.ENV_VARS_TO_PROPAGATE if not name.startswith("AWS_")
    }
    tuner.fit()


class _ActorManager(RayActorManager):
    """Ray tells of a worker that its memory monitor killed by an error which Tune does not know,
    and for which it would end the whole run."""

    def _actor_task_failed(
        self, tracked_actor_task: TrackedActorTask, exception: Exception
    ) -> None:
        if isinstance(exception, OutOfMemoryError):
            exception = KilledForMemoryError(error_msg=str(exception))
        super()._actor_task_failed(tracked_actor_task, exception)
