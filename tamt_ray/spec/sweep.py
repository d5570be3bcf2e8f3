"""The whole sweep file."""

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import PydanticCustomError

from tamt_ray.methods.base import Grid, Method
from tamt_ray.methods.registry import METHODS, method_entry
from tamt_ray.objectives.base import OBJECTIVES
from tamt_ray.spec.execution import Execution
from tamt_ray.spec.tuning import Tuning, check_tuning
from tamt_ray.tasks.base import TASKS, Task
from tamt_ray.tasks.metrics.base import METRICS
from tamt_ray.tasks.scores import Select
from tamt_ray.values.address import instead_of_secret
from tamt_ray.values.base import Count, Fraction, Frozen, Name, fault
from tamt_ray.values.model import Model, Recipe, model_entry
from tamt_ray.values.pattern import misfit
from tamt_ray.values.plugin import Refused
from tamt_ray.values.text import Corpus
from tamt_ray.values.training import Precision, Training

if TYPE_CHECKING:
    MethodEntry = Method
    TaskEntry = Task
else:
    MethodEntry = METHODS.entry("method")
    TaskEntry = TASKS.entry("kind")

DENSE = "full"
"""Name of the unpruned model in every table."""


class ReportSettings(Frozen):
    """Rules for reading scores from the records."""

    select: Select = "all"
    """Examples that choose the best evaluation of a fine-tune: `all` that it is measured on, as in
    the paper, or `half`: choose on one half of the validation set, measure on the other, both ways,
    and average."""


class PretrainEval(Frozen):
    """Settings of the pre-training evaluation: the same masked positions for every subnetwork."""

    batch_size: Count = 16
    """Sequences of one forward pass; changes nothing but rounding."""
    seed: int = 0
    """Seed of the masked positions."""
    precision: Precision = "float32"
    """Number format of the forward passes, as in `search`; losses are computed in float32."""


def _no_repeats(values: tuple[float, ...]) -> tuple[float, ...]:
    twice = [value for value, count in Counter(values).items() if count > 1]
    if twice:
        raise ValueError(f"given more than once: {', '.join(map(str, twice))}")
    return values


Seeds = Annotated[tuple[int, ...], Field(min_length=1), AfterValidator(_no_repeats)]
Sparsities = Annotated[tuple[Fraction, ...], Field(min_length=1), AfterValidator(_no_repeats)]


class Sweep(Frozen):
    """A grid of model × method × sparsity × seed × task, and how to carry it out."""

    name: Name
    """Also the name of the MLflow experiment."""
    store: str = "results"
    """Directory or `pyarrow.fs` URI (`s3://…`) that holds every result."""
    mlflow: str = "sqlite:///mlflow.db"
    """MLflow tracking URI; credentials come from the environment only."""
    recipe: Recipe = "paper"
    """Recipe whose defaults fill in settings of models and methods; a method may name its own."""
    models: Annotated[dict[Name, Model], Field(min_length=1)]
    """The pre-trained encoders θ0, by name."""
    corpus: Corpus
    """Text of the searches and of the pre-training evaluation."""
    search: Training = Training()
    """Batch, schedule and precision that all trained searches share."""
    methods: Annotated[tuple[MethodEntry, ...], Field(min_length=1)]
    """Methods that find masks: names such as `omp`, or mappings with `method` and its settings."""
    sparsities: Sparsities
    """Shares of the weights of each matrix that are pruned, in [0, 1)."""
    mask_seeds: Seeds = (1, 2, 3)
    """One mask each of `random`, `imp`, TAMT and of `imported` files with `{seed}` in their names;
    OMP is deterministic and has one."""
    tasks: dict[Name, TaskEntry] = {}
    """Tasks on which every mask and the dense model are fine-tuned, by name; without any, only
    losses are measured."""
    finetune_seeds: Seeds = (1, 2, 3)
    """One fine-tune each: head initialisation, order of the data, dropout, `max_train` subset."""
    pretrain_eval: PretrainEval = PretrainEval()
    """Settings of the evaluation of each mask: MLM and KD loss on the validation blocks."""
    report: ReportSettings = ReportSettings()
    """Rules for reading scores from the records; a union has its own."""
    execution: Execution = Execution()
    """Places, widths and retries of units; no part of their identity, except the number of workers
    with `gradients: bfloat16`."""
    tune: Tuning | None = None
    """If set, the sweep tunes its methods' settings instead of running the grid."""
    parts: SkipJsonSchema[tuple["Sweep", ...]] = ()
    """Set in a union of sweeps only; then models, methods and tasks above are those of all parts
    and the grid is theirs, each unit once."""

    @property
    def deciding_workers(self) -> int | None:
        """Workers of a gang, where their number changes what a search finds."""
        rounded = self.search.gradients != "float32"
        return self.execution.search.workers if rounded else None

    @model_validator(mode="before")
    @classmethod
    def _fill_in_recipes(cls, data: object) -> object:
        if not isinstance(data, dict):
            return data
        recipe = data.get("recipe", "paper")
        filled = dict(data)
        if isinstance(models := data.get("models"), dict):
            filled["models"] = {name: model_entry(model, recipe) for name, model in models.items()}
        if isinstance(methods := data.get("methods"), list | tuple):
            filled["methods"] = [
                method_entry(method, recipe, number) for number, method in enumerate(methods)
            ]
        return filled

    @model_validator(mode="after")
    def _no_secrets(self) -> Self:
        for place, uri in (("store", self.store), ("mlflow", self.mlflow)):
            if instead := instead_of_secret(uri):
                # Without the address, which would show them.
                raise fault(f"it holds credentials, and it is printed and logged; {instead}", place)
        return self

    @model_validator(mode="after")
    def _store_as_meant(self) -> Self:
        if "$" in self.store:
            raise fault("a variable has no value here; write the path out, or `~/…`", "store")
        if self.store.lower().startswith("s3:") and not self.store.startswith("s3://"):
            raise fault("write it as s3://bucket/prefix", "store")
        return self

    @model_validator(mode="after")
    def _unlike_methods(self) -> Self:
        names = [method.name for method in self.methods]
        for number, name in enumerate(names):
            at = ("methods", number, "name")
            if name == DENSE:
                raise fault(
                    f"{DENSE!r} is the dense model's name; give the method another one", *at
                )
            if name in names[:number]:
                raise fault(
                    f"two methods are called {name!r}; give one of them a `name` of its own", *at
                )
        return self

    @model_validator(mode="after")
    def _unlike_roles(self) -> Self:
        filled: dict[str, str] = {}
        for name, task in self.tasks.items():
            if task.role and (other := filled.setdefault(task.role, name)) != name:
                raise fault(
                    f"{other!r} has the role {task.role!r} too; one task can stand for it",
                    "tasks", name, "role",
                )  # fmt: skip
        return self

    @model_validator(mode="after")
    def _tunable(self) -> Self:
        if self.tune:
            check_tuning(self.tune, self.methods, self.search)
        return self

    @model_validator(mode="after")
    def _work_for_every_worker(self) -> Self:
        workers = self.execution.search.workers
        heads = {f"models.{name}.head": model.head for name, model in self.models.items()}
        for place, training in {"search": self.search, **heads}.items():
            if training is None:
                continue
            pieces = -(-training.batch_size // training.micro_batch)
            if workers > pieces:
                raise fault(
                    f"a batch of {training.batch_size} makes {pieces} micro-batches of "
                    f"{training.micro_batch}, too few for {workers} workers; lower "
                    f"`{place}.micro_batch` or `execution.search.workers`",
                    "execution", "search", "workers",
                )  # fmt: skip
        return self

    @model_validator(mode="after")
    def _known_workers(self) -> Self:
        if self.deciding_workers and self.execution.search.gangs == "auto":
            raise fault(
                "with `gradients: bfloat16` the number of workers changes the result, and `auto` "
                "leaves it open; give a number of gangs", "execution", "search", "gangs",
            )  # fmt: skip
        return self

    @model_validator(mode="after")
    def _recordable(self) -> Self:
        compiled = any(part.search.compile for part in self.parts or (self,))
        if self.execution.search.graphs and compiled:
            raise fault(
                "an encoder under `search.compile` may be compiled anew in the middle of a "
                "recording; leave out one of the two", "execution", "search", "graphs",
            )  # fmt: skip
        return self

    @model_validator(mode="after")
    def _every_method_fits(self) -> Self:
        if self.parts:
            return self
        for number, method in enumerate(self.methods):
            for model in self.models:
                try:
                    method.check(self.grid(model, None))
                    for sparsity in self.sparsities:
                        if complaint := misfit(method.pattern, sparsity):
                            raise fault(complaint, "pattern")
                except PydanticCustomError as error:
                    found = error.context or {}
                    raise fault(found["complaint"], "methods", number, *found["at"]) from error
        return self

    def grid(self, model: str, head: str | None) -> Grid:
        """Return the part of the sweep that a method sees; `head` is the id of the unit that
        trains the model's output head."""
        return Grid(
            name=model, model=self.models[model], models=len(self.models), head=head,
            corpus=self.corpus, training=self.search, sparsities=self.sparsities,
            mask_seeds=self.mask_seeds, workers=self.deciding_workers,
        )  # fmt: skip


def refused() -> Iterator[Refused]:
    """Yield each one once."""
    for registry in (METHODS, OBJECTIVES, TASKS, METRICS):
        yield from registry.refused.values()
