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
    for cell, unit in plan.cells["search"].items():
        config = plan.units[unit].config
        if isinstance(config, Search) and cell.checkpoint is None and config.travel is not None:
            found[cell.model, cell.method, cell.sparsity] = config.travel
    return found
