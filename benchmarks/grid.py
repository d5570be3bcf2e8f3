"""Grids to plan: `main_results`, and the same with so many seeds that it has a million units."""

from pathlib import Path

from tamt_ray.spec.load import load_sweep
from tamt_ray.spec.sweep import Sweep

MAIN_RESULTS = Path(__file__).parents[1] / "sweeps" / "main_results.yaml"


def main_results() -> Sweep:
    """The paper's whole grid."""
    return load_sweep(MAIN_RESULTS)


def million() -> Sweep:
    """`main_results` with 30 mask seeds and 59 fine-tuning seeds."""
    seeds = {"mask_seeds": tuple(range(30)), "finetune_seeds": tuple(range(59))}
    return main_results().model_copy(update=seeds)
