"""Every field of every config, changed alone: which of them are part of the id."""

from collections.abc import Iterator

import pytest

from tamt_ray.methods.base import Search
from tamt_ray.methods.registry import METHODS
from tamt_ray.plan.unit import FinetuneConfig, UnitConfig, parse_config
from tamt_ray.tasks.base import TASKS
from tamt_ray.values.base import Frozen
from tamt_ray.values.identity import identity
from tamt_ray.values.plugin import package_of

from .test_pinned_ids import SPELLED_OUT

Path = tuple[str | int, ...]

HEAD_OF_MODEL = {
    f"model.head{field}" for field in ("", ".steps", ".batch_size", ".micro_batch", ".lr", ".seed")
}
"""The unit that trains the head has its settings, and those that need it have its id."""
NOWHERE = {"model.parameters", "model.role", *HEAD_OF_MODEL}
SEARCH = {*NOWHERE, "model.pooling"}
TRAINED = {*SEARCH, "training.log_every"}
FINETUNE = {*NOWHERE, "model.prune", "model.pooler", "task.metric", "task.role"}

DO_NOT_MOVE: dict[str, set[str]] = {
    "head": {*NOWHERE, "model.prune", "model.pooler", "model.pooling"},
    "random": SEARCH,
    "omp": SEARCH,
    "imported": SEARCH,
    "wanda": SEARCH,
    "fisher": SEARCH,
    "shuffled": SEARCH,
    "movement": TRAINED,
    "imp": TRAINED,
    "tamt": TRAINED,
    "pretrain_eval": SEARCH,
    "classification": FINETUNE,
    "regression": FINETUNE,
    "spans": FINETUNE,
}
"""Fields that decide no result of such a unit. All others do."""

OTHER_WORDS = {
    "accuracy": "matthews", "pearson": "spearman", "f1": "exact_match", "native": "mean",
    "omp": "random",
    "unstructured": "2:4", "matrix": "row",
    "signed": "magnitude", "at_least": "above", "all": "tensor", "float32": "bfloat16",
    "blocks": "documents", "documents": "blocks",
}  # fmt: skip


def config_of(name: str) -> UnitConfig:
    """The config with every optional part in place, so that its fields are changed as well."""
    whole = {**SPELLED_OUT[name][0]}
    whole["model"] = {**whole["model"], "head": {"steps": 5}}
    if name == "classification":
        whole["task"] = {**whole["task"], "cut": {"above": 1.0, "below": 0.0}}
    return parse_config(whole)


def paths(value: Frozen, at: Path = ()) -> Iterator[Path]:
    """Every field, those of values inside included."""
    for name in type(value).model_fields:
        yield (*at, name)
        inner = getattr(value, name)
        if isinstance(inner, Frozen):
            yield from paths(inner, (*at, name))
        elif isinstance(inner, tuple):
            for number, item in enumerate(inner):
                if isinstance(item, Frozen):
                    yield from paths(item, (*at, name, number))


def changed(value: Frozen, path: Path) -> Frozen:
    """The value with another one in one place."""
    name, *rest = path
    inner = getattr(value, str(name))
    if not rest:
        new = other(inner)
    elif isinstance(inner, tuple):
        number, *below = rest
        new = tuple(changed(v, tuple(below)) if n == number else v for n, v in enumerate(inner))
    else:
        new = changed(inner, tuple(rest))
    return value.model_copy(update={str(name): new})


def other(value: object) -> object:
    """Another value of the same type where there is one."""
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case float():
            return value / 2 + 0.01
        case str():
            return OTHER_WORDS.get(value, f"{value}x")
        case tuple():
            return (*value, *value[:1])
        case dict():
            return {**value, 10: 2}
        case Frozen():
            return None
        case _:
            return 1


@pytest.mark.parametrize("name", SPELLED_OUT)
def test_each_field_moves_the_id_or_stands_in_the_table(name: str) -> None:
    config = config_of(name)
    whole = identity(config)
    still = {
        ".".join(map(str, path))
        for path in paths(config)
        if identity(changed(config, path)) == whole
    }
    assert still == DO_NOT_MOVE[name]


def test_every_kind_of_unit_of_ours_is_in_the_table() -> None:
    kinds = [config_of(name) for name in DO_NOT_MOVE]
    searches = {type(config) for config in kinds if isinstance(config, Search)}
    tasks = {type(config.task) for config in kinds if isinstance(config, FinetuneConfig)}
    assert searches == {method.unit for method in METHODS.distinct if not package_of(method)}
    assert tasks == {kind for kind in TASKS.distinct if not package_of(kind)}
    assert {config.kind for config in kinds} == {"head", "search", "pretrain_eval", "finetune"}


def test_a_trajectory_is_a_search_but_for_its_length() -> None:
    config = config_of("tamt")
    assert isinstance(config, Search)
    moving = {path for path in paths(config) if identity(changed(config, path)) != identity(config)}
    same = {path for path in moving if changed(config, path).trajectory == config.trajectory}
    assert same == {("steps",)}
