"""The runs of one experiment by key: looked up before any is made."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mlflow import MlflowClient
from mlflow.entities import Run, ViewType

from tamt_ray.spec.sweep import Sweep
from tamt_ray.tracking.outline import RunHead
from tamt_ray.tracking.place import artifact_location, tracking_uri
from tamt_ray.tracking.trouble import TrackingError

STATE = "tamt.state"
_PAGE = 1000


@dataclass
class KnownRun:
    """A run as MLflow has it."""

    run_id: str
    tags: dict[str, str]
    status: str
    metrics: dict[str, float] = field(default_factory=dict)
    """The latest value of each metric."""

    @property
    def state(self) -> tuple[str, str]:
        """Return what the run shows, in a word, and the digest or mark of it."""
        word, _, mark = self.tags.get(STATE, "").partition(" ")
        return word, mark


class Runs:
    """One search when MLflow is first reached; after trouble, one for each run in hand."""

    def __init__(self, sweep: Sweep) -> None:
        """Contacts nothing."""
        self._sweep = sweep
        self._client: MlflowClient | None = None
        self.experiment = ""
        """Id of the experiment, once it is known."""
        self.experiment_tags: dict[str, str] = {}
        self._known: dict[str, KnownRun] = {}
        self._doubtful: set[str] = set()

    @property
    def client(self) -> MlflowClient:
        """Connected to the experiment, which is made if need be."""
        if self._client is None:
            client = MlflowClient(tracking_uri=tracking_uri(self._sweep))
            name = self._sweep.name
            found = client.get_experiment_by_name(name)
            if found and found.lifecycle_stage != "active":
                raise TrackingError(
                    f"experiment {name!r} is deleted; restore it (mlflow experiments restore) "
                    "or give the sweep another name"
                )
            if found:
                self.experiment, self.experiment_tags = found.experiment_id, dict(found.tags)
            else:
                place = artifact_location(self._sweep)
                self.experiment = client.create_experiment(name, artifact_location=place)
                self.experiment_tags = {}
            self._known = self._search(client, "")
            self._client = client
        return self._client

    def find(self, key: str) -> KnownRun | None:
        """Return the run of that key, if MLflow has one."""
        client = self.client
        if key in self._doubtful:
            self._known |= self._search(client, f"tags.`tamt.unit` = '{key}'")
            self._doubtful.remove(key)
        return self._known.get(key)

    def create(self, head: RunHead, started: float, tags: Mapping[str, str]) -> KnownRun:
        """Make a run that `find` did not find; `started` in seconds since the epoch."""
        run = self.client.create_run(
            self.experiment, start_time=round(started * 1000), tags=dict(tags), run_name=head.name
        )
        known = KnownRun(run.info.run_id, dict(tags), run.info.status)
        self._known[head.key] = known
        return known

    def delete(self, key: str) -> None:
        """Move a known run to MLflow's bin."""
        self.client.delete_run(self._known[key].run_id)
        del self._known[key]

    def doubt(self, key: str) -> None:
        """After an error: look at the run again before anything is done with it."""
        self._known.pop(key, None)
        self._doubtful.add(key)

    def disconnect(self) -> None:
        """Learn anew what there is, experiment included."""
        self._client = None

    def _search(self, client: MlflowClient, condition: str) -> dict[str, KnownRun]:
        """Return runs by key. If two have one key, MLflow made one after its request had been
        given up; that one goes."""
        token: str | None = None
        found: dict[str, KnownRun] = {}
        while True:
            page = client.search_runs(
                [self.experiment], condition, ViewType.ACTIVE_ONLY, _PAGE, page_token=token
            )
            for run in page:
                key = run.data.tags.get("tamt.unit")
                if key is None:
                    continue
                this, that = _known(run), found.get(key)
                if that:
                    this, less = sorted((this, that), key=lambda one: self._worth(client, one))
                    client.delete_run(less.run_id)
                found[key] = this
            token = page.token
            if not token:
                return found

    def _worth(self, client: MlflowClient, run: KnownRun) -> tuple[bool, bool, str]:
        """Order runs of one key: first the finished one, or the one that others hang on."""
        below = f"tags.`mlflow.parentRunId` = '{run.run_id}'"
        children = client.search_runs([self.experiment], below, ViewType.ACTIVE_ONLY, 1)
        return run.state[0] != "done", not children, run.run_id


def _known(run: Run) -> KnownRun:
    return KnownRun(run.info.run_id, dict(run.data.tags), run.info.status, dict(run.data.metrics))
