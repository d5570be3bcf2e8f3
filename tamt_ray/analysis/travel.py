"""How far the scores of a mask training can move."""

from tamt_ray.plan.config import TamtConfig
from tamt_ray.plan.expand import Plan

ENOUGH = 10.0
"""Thresholds φ below which a mask can hardly leave its start.

Scores start at αφ and 0, 2 φ apart in the paper, and only weights whose scores cross φ change. The
paper's searches at 70 % have 59 φ (MLM) and 24 φ (KD).
"""


def score_travel(lr: float, decay_steps: int, steps: int, threshold: float) -> float:
    """Σ lr / φ over the steps: the way that a score can go, in thresholds.

    The learning rate falls linearly from `lr` to 0 over `decay_steps`. Adam moves a score by about
    the learning rate per step, if all gradients point one way.
    """
    done = min(steps, decay_steps)
    return lr * (done - done * (done - 1) / (2 * decay_steps)) / threshold


def travels(plan: Plan) -> dict[tuple[str, str, float], float]:
    """`score_travel` of the final masks by (model, method, sparsity)."""
    found: dict[tuple[str, str, float], float] = {}
    for cell in plan.cells:
        config = plan.units[cell.unit].config
        if isinstance(config, TamtConfig) and cell.kind == "search" and "steps" not in cell.labels:
            place = (
                str(cell.labels["model"]),
                str(cell.labels["method"]),
                float(cell.labels["sparsity"]),
            )
            found[place] = score_travel(
                config.optimizer.lr, config.training.horizon, config.steps, config.scoring.threshold
            )
    return found
