"""Registries of plug-ins: our own modules and the entry points of other people's packages."""

import importlib
import inspect
import pkgutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property, reduce
from importlib.metadata import Distribution, EntryPoint, entry_points
from importlib.util import find_spec
from operator import or_
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Generic, TypeVar

from pydantic import Discriminator, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticKnownError, core_schema

from tamt_ray.values.base import fault

T = TypeVar("T")

OURS = "tamt_ray"
HEAVY = ("torch", "ray", "mlflow", "transformers")
"""Libraries that a plug-in's module may import only inside the function that computes."""

RESERVED = frozenset({"version", "package", "measured"})
"""Names that identities have beside the fields."""
GROUPS = ("tamt_ray.methods", "tamt_ray.objectives", "tamt_ray.tasks", "tamt_ray.metrics")
"""The groups of entry points that plug-ins are declared in."""


def package_of(kind: type) -> str:
    """Return the installed package that a class comes from; empty for our own."""
    top = kind.__module__.partition(".")[0]
    if top == OURS:
        return ""
    found = plugin_packages().get(top)
    return found.name if found else top


@cache
def plugin_packages() -> Mapping[str, Distribution]:
    """Return every installed package with plug-ins, by the top-level module that has them."""
    entries = [entry for group in GROUPS for entry in entry_points(group=group)]
    return {entry.module.partition(".")[0]: entry.dist for entry in entries if entry.dist}


def code_of(top: str) -> Mapping[str, Path]:
    """Return the files of a top-level module or package, by their place below where it lies."""
    spec = find_spec(top)
    if spec is None or spec.origin is None:
        return {}
    if not spec.submodule_search_locations:
        return {f"{top}.py": Path(spec.origin)}
    root = Path(spec.origin).parent
    return {
        str(path.relative_to(root.parent)): path
        for path in sorted(root.rglob("*"))
        if path.is_file() and "__pycache__" not in path.relative_to(root).parts
    }


@dataclass(frozen=True)
class Refused:
    """A plug-in of another package that cannot be used."""

    name: str
    """Its name in a sweep file."""
    package: str
    reason: str

    def __str__(self) -> str:
        return (
            f"the plug-in {self.name!r} of the package {self.package} cannot be used: "
            f"{self.reason}; correct the package, or remove it: pip uninstall {self.package}"
        )


class Registry(Generic[T]):
    """The classes of one kind of plug-in, by the name that a sweep file uses.

    Ours are all classes of that kind in the modules of one package; other people's are named by
    entry points of a group. Only installed packages are loaded, whatever a file says.
    """

    def __init__(
        self, package: str, group: str, base: type[T], names: Callable[[type[T]], tuple[str, ...]]
    ) -> None:
        """`names` gives the names of a class; it raises ValueError where a contract is not kept."""
        self._package = package
        self._group = group
        self._base = base
        self._names = names

    @property
    def classes(self) -> Mapping[str, type[T]]:
        """Every usable class by its names, ours first."""
        return self._loaded[0]

    @property
    def refused(self) -> Mapping[str, Refused]:
        """Installed plug-ins that cannot be used, by name."""
        return self._loaded[1]

    @property
    def distinct(self) -> tuple[type[T], ...]:
        """Every usable class once."""
        return tuple(dict.fromkeys(self.classes.values()))

    @cached_property
    def _loaded(self) -> tuple[dict[str, type[T]], dict[str, Refused]]:
        found: dict[str, type[T]] = {}
        refused: dict[str, Refused] = {}
        for kind in self._ours():
            found.update(dict.fromkeys(self._names(kind), kind))
        for entry in sorted(entry_points(group=self._group), key=lambda entry: entry.value):
            package = entry.dist.name if entry.dist else entry.module.partition(".")[0]
            try:
                kind = self._load(entry)
                names = self._names(kind)
                own = [name.rpartition("/")[2] for name in names]
                if entry.name not in own:
                    raise ValueError(
                        f"its entry point is called {entry.name!r}, its class {own[0]!r}; give "
                        "both one name"
                    )
                if taken := sorted(found.keys() & set(names)):
                    owner = package_of(found[taken[0]]) or OURS
                    raise ValueError(f"{taken[0]!r} is a name of {owner} already")
            except Exception as error:  # noqa: BLE001 - whatever a foreign module raises, it is refused
                words = " ".join(str(error).split()) or type(error).__name__
                refused[entry.name] = Refused(
                    entry.name, package, f"{type(error).__name__}: {words}"
                )
                continue
            found.update(dict.fromkeys(names, kind))
        return found, refused

    def _ours(self) -> Iterator[type[T]]:
        package = importlib.import_module(self._package)
        for module in sorted(pkgutil.iter_modules(package.__path__), key=lambda one: one.name):
            if module.ispkg or module.name in {"base", "registry"}:
                continue
            loaded = importlib.import_module(f"{self._package}.{module.name}")
            for kind in vars(loaded).values():
                if (
                    inspect.isclass(kind)
                    and issubclass(kind, self._base)
                    and kind.__module__ == loaded.__name__
                    and not inspect.isabstract(kind)
                    and not kind.__name__.startswith("_")
                ):
                    yield kind

    def _load(self, entry: EntryPoint) -> type[T]:
        before = {name for name in HEAVY if name in sys.modules}
        kind = entry.load()
        added = {name for name in HEAVY if name in sys.modules and name not in before}
        if added := sorted(added | _held(sys.modules[entry.module])):
            raise ImportError(
                f"{entry.module} imports {added[0]} when it is loaded; import it inside the "
                "function that computes, so that a plan needs none of it"
            )
        if not inspect.isclass(kind) or not issubclass(kind, self._base):
            raise TypeError(f"{entry.value} is no {self._base.__name__}")
        if inspect.isabstract(kind):
            missing = ", ".join(sorted(getattr(kind, "__abstractmethods__", ())))
            raise TypeError(f"{entry.value} lacks {missing}")
        return kind

    def entry(self, field: str) -> Any:  # noqa: ANN401 - pydantic reads it, no type checker
        """Return the type of an entry in a sweep file: a mapping whose `field` names the class,
        or the name alone."""
        union = reduce(or_, self.distinct)
        tagged = union if len(self.distinct) == 1 else Annotated[union, Discriminator(field)]
        return Annotated[tagged, _Entry(self, field)]


class _Entry:
    """Lets a name stand for a mapping, and says why a plug-in that is named cannot be used."""

    def __init__(self, registry: Registry[Any], field: str) -> None:
        self._registry = registry
        self._field = field

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self._spelled_out, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        names = {"type": "string", "enum": list(self._registry.classes)}
        return {"anyOf": [names, handler(schema)]}

    def _spelled_out(self, entry: object) -> object:
        if isinstance(entry, str):
            entry = {self._field: entry}
        if not isinstance(entry, dict) or not isinstance(entry.get(self._field), str):
            return entry
        name, known = entry[self._field], self._registry.classes
        if name in known:
            return entry
        if refused := self._registry.refused.get(name):
            raise fault(str(refused), self._field)
        raise PydanticKnownError(
            "union_tag_invalid",
            {
                "discriminator": f"'{self._field}'",
                "tag": name,
                "expected_tags": ", ".join(f"'{each}'" for each in known),
            },
        )


def _held(module: ModuleType) -> set[str]:
    """Return the heavy libraries that names of a module stand for: another one may have loaded
    them before."""
    tops = {
        (value.__name__ if isinstance(value, ModuleType) else str(getattr(value, "__module__", "")))
        .partition(".")[0]
        for value in vars(module).values()
    }  # fmt: skip
    return tops & set(HEAVY)


def literal_values(kind: type, field: str) -> tuple[str, ...]:
    """Return the values of the Literal field that names a pydantic class.

    Raises ValueError for a class without such a field, or with one that an identity has beside.
    """
    known = getattr(kind, "model_fields", {})
    if taken := sorted(known.keys() & RESERVED):
        raise ValueError(f"{kind.__name__} has a field `{taken[0]}`; give it another name")
    values = getattr(known[field].annotation, "__args__", ()) if field in known else ()
    if not values or not all(isinstance(value, str) for value in values):
        raise ValueError(f'{kind.__name__} needs a field `{field}: Literal["…"] = "…"`')
    return tuple(values)
