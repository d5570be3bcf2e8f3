"""The figures that a sweep has the data for."""

from collections.abc import Callable, Iterator

from tamt_ray.analysis.figures import cost, losses, masks, scores
from tamt_ray.analysis.figures.vega import Figure
from tamt_ray.analysis.report_data import ReportData

_FIGURES: tuple[Callable[[ReportData], Iterator[Figure]], ...] = (
    scores.main_results,
    scores.pruning_alone,
    losses.losses_by_sparsity,
    losses.mlm_loss_by_task,
    losses.kd_loss_by_task,
    losses.pretraining_vs_downstream,
    cost.search_cost,
    cost.search_cost_by_task,
    cost.initialisation,
    masks.mask_distances,
    masks.distance_over_search,
    scores.training_sizes,
    scores.models_compared,
    masks.search_losses,
    masks.density,
)


def figures(data: ReportData) -> list[Figure]:
    """Return those that the sweep has data for, in the paper's order; a figure is one function."""
    return [figure for draw in _FIGURES for figure in draw(data) if figure.panels]
