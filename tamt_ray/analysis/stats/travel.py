"""How far the scores of a mask training can move."""

from tamt_ray.methods.base import Search
from tamt_ray.plan.expand import Plan

ENOUGH = 10.0
"""Thresholds φ below which a mask can hardly leave its start.

Scores start at αφ and 0, 2 φ apart in the paper, and only weights whose scores cross φ change. The
paper's searches at 70 % have 59 φ (MLM) and 24 φ (KD).
"""


def travels(plan: Plan) -> dict[tuple[str, str, float], float]:
    """Return `Search.travel` of the final masks by (model, method, sparsity)."""
    found: dict[tuple[str, str, float], float] = {}
    for cell in plan.cells:
        config, labels = plan.units[cell.unit].config, cell.labels
        if not isinstance(config, Search) or cell.kind != "search" or "steps" in labels:
            continue
        if config.travel is not None:
            place = str(labels["model"]), str(labels["method"]), float(labels["sparsity"])
            found[place] = config.travel
    return found
