"""How close a simulated `main_results` comes to the shortest time there could be."""

from collections.abc import Iterator
from typing import Literal

from benchmarks.answer import Answer, at_most
from benchmarks.grid import main_results
from benchmarks.simulation import Outcome, Simulation, World
from tamt_ray.plan.expand import expand
from tamt_ray.spec.execution import Execution

HOUR = 3600.0


def run() -> Iterator[Answer]:
    """Makespan over max(work ÷ slots, critical path), on 8, 64 and 512 GPUs and on spot ones."""
    sweep = main_results()
    plan, execution = expand(sweep), sweep.execution
    for gpus in (64, 8, 512):
        world = World(nodes=gpus // 8)
        question = f"simulated makespan of main_results on {gpus} GPUs"
        others = {
            f"gangs: {n}, each of 4": Simulation(plan, _with(execution, n), world).run()
            for n in (4, 16)
        }
        measured = [f"{what}: {ratio(found):.3f} x" for what, found in others.items()]
        found = Simulation(plan, _with(execution, "auto"), world).run()
        yield _answer(question, found, gpus == 64, *measured)
    for gpus in (64, 8, 512):
        world = World(nodes=gpus // 8, loss_every=6 * HOUR)
        found = Simulation(plan, _with(execution, "auto"), world).run()
        yield _answer(f"the same on {gpus} spot GPUs, each node lost every 6 hours", found, False)


def _with(execution: Execution, gangs: int | Literal["auto"]) -> Execution:
    search = execution.search.model_copy(update={"gangs": gangs, "workers": 4})
    return execution.model_copy(update={"search": search})


def _answer(question: str, found: Outcome, limited: bool, *others: str) -> Answer:
    measured = [
        f"{found.makespan / HOUR:.2f} h against {found.bound / HOUR:.2f} h",
        f"{found.gangs} gangs",
        *([f"{found.losses} losses"] if found.losses else []),
        *others,
    ]
    if limited:
        return at_most(question, ratio(found), 1.05, "x", "; ".join(measured))
    return Answer(question, ratio(found), detail="; ".join(measured), unit="x")


def ratio(found: Outcome) -> float:
    """Makespan over its lower bound."""
    return found.makespan / found.bound
