"""The whole sweep file."""

from collections import Counter
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from tamt_ray.spec.address import instead_of_secret
from tamt_ray.spec.execution import Execution
from tamt_ray.spec.method import Given, Imp, Method, Tamt, steps_at
from tamt_ray.spec.recipe import Recipe, method_entry, model_entry
from tamt_ray.spec.task import Task
from tamt_ray.spec.tuning import Tuning, check_tuning
from tamt_ray.values.base import Count, Fraction, Frozen, Name, fault
from tamt_ray.values.model import Model
from tamt_ray.values.table import Corpus
from tamt_ray.values.training import Training

_PLURALS = {"model": "models", "sparsity": "sparsities"}
DENSE = "full"
"""What the unpruned model is called in every table."""


def _no_repeats(values: tuple[float, ...]) -> tuple[float, ...]:
    twice = [value for value, count in Counter(values).items() if count > 1]
    if twice:
        raise ValueError(f"given more than once: {', '.join(map(str, twice))}")
    return values


Seeds = Annotated[tuple[int, ...], Field(min_length=1), AfterValidator(_no_repeats)]
Sparsities = Annotated[tuple[Fraction, ...], Field(min_length=1), AfterValidator(_no_repeats)]


class PretrainEval(Frozen):
    """How each subnetwork's MLM and KD loss is measured: same masked positions for all."""

    batch_size: Count = 16
    """Blocks of one forward pass; changes nothing but rounding."""
    seed: int = 0
    """Of the masked positions, the same for every subnetwork."""


class Sweep(Frozen):
    """A grid of model × method × sparsity × seed × task, and how to carry it out."""

    name: Name
    """Also the name of the MLflow experiment."""
    store: str = "results"
    """Directory or `pyarrow.fs` URI (`s3://…`) that holds every result."""
    mlflow: str = "sqlite:///mlflow.db"
    """MLflow tracking URI; credentials come from the environment only."""
    recipe: Recipe = "paper"
    """Where the defaults of models and methods come from; a method may name its own."""
    models: Annotated[dict[Name, Model], Field(min_length=1)]
    """The pre-trained encoders θ0, by name."""
    corpus: Corpus
    """Text of the searches and of the pre-training evaluation."""
    search: Training = Training()
    """Batch, schedule and precision that all trained searches share."""
    methods: Annotated[tuple[Method, ...], Field(min_length=1)]
    """How masks are found: a name such as `omp`, or a mapping with `method` and its settings."""
    sparsities: Sparsities
    """Shares of the weights of each matrix that are pruned, in [0, 1)."""
    mask_seeds: Seeds = (1, 2, 3)
    """One mask each of `random`, `imp`, TAMT and of `given` files with `{seed}` in their names; OMP
    is deterministic and has one."""
    tasks: dict[Name, Task] = {}
    """What every mask and the dense model are fine-tuned on, by name; none: only losses are
    measured."""
    finetune_seeds: Seeds = (1, 2, 3)
    """One fine-tune each: head initialisation, order of the data, dropout, `max_train` subset."""
    pretrain_eval: PretrainEval = PretrainEval()
    """How MLM and KD loss of each mask are measured on the validation blocks."""
    execution: Execution = Execution()
    """Where, how wide and how often units run; no part of what they are, but for the workers with
    `gradients: bfloat16`."""
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
            filled["methods"] = [method_entry(method, recipe) for method in methods]
        return filled

    @model_validator(mode="after")
    def _no_secrets(self) -> Self:
        for place, uri in (("store", self.store), ("mlflow", self.mlflow)):
            if instead := instead_of_secret(uri):
                # What was given is not repeated.
                raise fault(f"it holds credentials, and it is printed and logged; {instead}", place)
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
    def _every_sparsity_reachable(self) -> Self:
        if self.parts:
            return self
        for number, method in enumerate(self.methods):
            if isinstance(method, Given):
                many = {"model": len(self.models), "sparsity": len(self.sparsities)}
                for place, count in many.items():
                    if count > 1 and f"{{{place}}}" not in method.masks:
                        raise fault(
                            f"one file cannot be the mask of {count} {_PLURALS[place]}; put "
                            f"{{{place}}} where its name tells them apart",
                            "methods", number, "masks",
                        )  # fmt: skip
            for sparsity in self.sparsities:
                if isinstance(method, Tamt) and steps_at(method.steps, sparsity) is None:
                    raise fault(
                        f"method {method.name!r} has no steps for sparsity {sparsity}; "
                        f"give `steps: <number>` or add {sparsity} to its table",
                        "methods", number, "steps",
                    )  # fmt: skip
                if isinstance(method, Imp) and sparsity > 0:
                    levels = sparsity / method.step
                    if round(levels) < 1 or abs(levels - round(levels)) > 1e-6:
                        raise fault(
                            f"IMP with `step: {method.step}` never meets sparsity {sparsity}; "
                            f"choose a step that divides it",
                            "methods", number, "step",
                        )  # fmt: skip
        return self
