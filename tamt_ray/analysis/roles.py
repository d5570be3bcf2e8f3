"""Methods of a sweep by the paper's method that they stand for."""

from collections.abc import Callable, Sequence

from tamt_ray.methods.base import Method
from tamt_ray.methods.trained import TrainedMethod
from tamt_ray.spec.sweep import Sweep
from tamt_ray.values.pattern import UNSTRUCTURED

TAMT_ROLES = ("tamt_mlm", "tamt_kd", "tamt_mlm_kd")


def roles(sweep: Sweep) -> dict[str, str]:
    """Return the sweep's name for each method of the paper that it has.

    If several have one role, prefer the first of the sweep's own recipe. Methods without a role
    (`Method.paper_role`) stand for none, nor do masks under a pattern.
    """
    found: dict[str, str] = {}
    for method in sorted(sweep.methods, key=lambda method: method.recipe != sweep.recipe):
        if method.paper_role and method.pattern == UNSTRUCTURED:
            found.setdefault(method.paper_role, method.name)
    return found


def cost_pairs(sweep: Sweep) -> list[tuple[str, str]]:
    """Return each trained method, behind the IMP that its cost is compared with."""
    imp = roles(sweep).get("imp")
    trained = [method for method in sweep.methods if isinstance(method, TrainedMethod)]
    return [(imp, m.name) for m in trained if imp and m.paper_role != "imp"]


def unstructured_twins(methods: Sequence[Method]) -> dict[str, str]:
    """Return, by each method under a pattern, the one that differs in its pattern alone."""
    return _twins(
        methods,
        lambda one: (
            None
            if one.pattern == UNSTRUCTURED
            else one.model_copy(update={"pattern": UNSTRUCTURED})
        ),
    )


def controlled(methods: Sequence[Method]) -> dict[str, str]:
    """Return, by each control (`Method.control_of`), the method of the sweep that it controls."""
    return _twins(methods, lambda one: one.control_of)


def random_starts(methods: Sequence[Method]) -> dict[str, str]:
    """Return, by each method that starts from OMP, the one that differs in a random start alone."""
    return _twins(
        methods,
        lambda one: one.model_copy(update={"init": "random"}) if one.start == "omp" else None,
    )


def _twins(methods: Sequence[Method], changed: Callable[[Method], Method | None]) -> dict[str, str]:
    """Return, by name, the method that equals the `changed` one but for its name."""
    found: dict[str, str] = {}
    for one in methods:
        twin = changed(one)
        for other in methods:
            if twin is not None and other == twin.model_copy(update={"name": other.name}):
                found[one.name] = other.name
    return found
