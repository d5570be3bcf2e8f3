"""Which method of a sweep stands for which of the paper's."""

from collections.abc import Sequence

from tamt_ray.spec.method import Given, Method, Tamt
from tamt_ray.spec.sweep import Sweep

OBJECTIVES = ("tamt_mlm", "tamt_kd", "tamt_mlm_kd")


def roles(sweep: Sweep) -> dict[str, str]:
    """The sweep's name for `random`, `omp`, `imp`, `tamt_mlm`, `tamt_kd`, `tamt_mlm_kd`.

    Of several, the first of the sweep's own recipe. TAMT from a random mask stands for none, nor do
    masks out of files.
    """
    found: dict[str, str] = {}
    for method in sorted(sweep.methods, key=lambda method: method.recipe != sweep.recipe):
        if isinstance(method, Tamt) and method.init == "random":
            continue
        if not isinstance(method, Given):
            found.setdefault(method.method, method.name)
    return found


def cost_pairs(sweep: Sweep) -> list[tuple[str, str]]:
    """Each TAMT method, behind the IMP that its cost is compared with."""
    imp = roles(sweep).get("imp")
    return [(imp, m.name) for m in sweep.methods if imp and isinstance(m, Tamt)]


def random_starts(methods: Sequence[Method]) -> dict[str, str]:
    """By a TAMT method that starts from OMP: the one that differs in the random start alone."""
    trained = [method for method in methods if isinstance(method, Tamt)]
    return {
        one.name: other.name
        for one in trained
        for other in trained
        if one.init == "omp"
        and other == one.model_copy(update={"init": "random", "name": other.name})
    }
