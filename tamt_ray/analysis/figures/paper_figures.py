"""The figures of the paper that a sweep has the data for."""

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl
from matplotlib.figure import Figure

from tamt_ray.analysis.figures.cost import initialisation, search_cost, search_cost_by_task
from tamt_ray.analysis.figures.distances import distance_over_search, mask_distances
from tamt_ray.analysis.figures.layout import LOSS_NAMES, percent
from tamt_ray.analysis.figures.losses import losses_by_sparsity, losses_by_task
from tamt_ray.analysis.figures.main import main_results
from tamt_ray.analysis.figures.panels import title_of
from tamt_ray.analysis.figures.pruning import models_compared, pruning_alone
from tamt_ray.analysis.figures.sizes import training_sizes
from tamt_ray.analysis.figures.training import density_over_steps, search_losses
from tamt_ray.analysis.report_data import ReportData
from tamt_ray.analysis.roles import random_starts, roles
from tamt_ray.analysis.stats.averages import averages, leading_task, runs
from tamt_ray.analysis.stats.correlation import LOSSES
from tamt_ray.analysis.stats.curves import search_curves
from tamt_ray.analysis.stats.drift import drift
from tamt_ray.analysis.stats.trajectories import searched_lengths, trajectories
from tamt_ray.plan.expand import DENSE

_INTERVALS = (
    "Bands: 95 % intervals of the mean over mask seeds and fine-tuning seeds (Student's t); none "
    "where there is one seed of either. Hollow markers: some runs are missing; a gap: all are. "
    "Grey dots: the best constant answer, where scores come near it."
)


@dataclass(frozen=True)
class PaperFigure:
    """A figure with the words around it."""

    name: str
    """Of its file, without the ending."""
    numbers: str
    """In the paper: "Fig. 6, 14–16"; empty for a figure it does not have."""
    title: str
    caption: str
    figure: Figure


def paper_figures(material: ReportData) -> list[PaperFigure]:
    """Those that the sweep has data for, in the paper's order, which begins with `main_results`;
    what the sweep has not planned, or not measured yet, is left out."""
    return [
        figure
        for part in (_scores, _losses, _lengths, _distances, _sizes, _models, _training)
        for figure in part(material)
    ]


def _scores(material: ReportData) -> Iterator[PaperFigure]:
    if not material.tasks:
        return
    over = len(material.sweep.sparsities) > 1
    form = (
        "Score over the share of weights removed, a colour a method."
        if over
        else "One row a method: the large marker and number are the mean, the bar its interval, "
        "the small dots below single runs."
    )
    yield PaperFigure(
        "main_results", "Fig. 3, 4", "Downstream score of every method",
        f"{form} The dashed line is the dense model. {_INTERVALS}",
        main_results(material.averages, material.runs),
    )  # fmt: skip
    names = roles(material.sweep)
    alone = [names[method] for method in ("random", "omp") if method in names]
    if over and len(alone) == 2:
        yield PaperFigure(
            "pruning_alone", "Fig. 1, 10", "One-shot and random pruning",
            "Downstream score and both pre-training losses over the share of weights removed, "
            f"without any search. The dashed line is the dense model. {_INTERVALS} Bands of "
            "losses: one standard deviation over masks.",
            pruning_alone(material.averages, material.losses, alone),
        )  # fmt: skip


def _losses(material: ReportData) -> Iterator[PaperFigure]:
    points = material.points.drop_nulls("score")
    task = leading_task(material.sweep.tasks)
    if task is None or points.filter(pl.col("task") == task).is_empty():
        return
    caption = (
        "Each marker is a subnetwork: its loss on the pre-training validation text against its "
        "downstream score, mean over fine-tuning seeds. Small: masks kept at other search "
        "lengths; hollow: some runs are missing; star: the dense model. A method far from all "
        "others is written into the corner: its mean score and loss. "
    )
    for number, model in enumerate(material.sweep.models):
        here = pl.col("model") == model
        each, coefficients = points.filter(here), material.correlations.filter(here)
        if each.filter(pl.col("method") != DENSE).is_empty():
            continue
        published = None if number else material.published
        boxes = " Boxes: published averages over five tasks, lowest to highest."
        beside = "" if published is None else boxes
        yield PaperFigure(
            _of_model("losses_by_sparsity", model, material), "Fig. 5",
            f"Pre-training losses against {title_of(task)}, {model}",
            f"{caption}Over each panel Pearson's r of its subnetworks, the dense model left out, "
            f"with its bootstrap 95 % interval, and r without random masks.{beside}",
            losses_by_sparsity(each, coefficients, task, published),
        )  # fmt: skip
        for loss, of_paper in zip(LOSSES, (12, 13), strict=True):
            if len(material.sweep.tasks) > 1:
                yield PaperFigure(
                    _of_model(f"{loss}_by_task", model, material), f"Fig. {of_paper}",
                    f"{LOSS_NAMES[loss]} against each task, {model}",
                    f"{caption}A row a task, a column a sparsity; over each panel Pearson's r of "
                    "its subnetworks without random masks and the dense model.",
                    losses_by_task(each, coefficients, loss),
                )  # fmt: skip


def _lengths(material: ReportData) -> Iterator[PaperFigure]:
    task = leading_task(material.sweep.tasks)
    if task is None:
        return
    table = trajectories(material.results).filter(pl.col("n") > 0)
    omp = roles(material.sweep).get("omp")
    whole = table.filter(pl.col("task") == task)
    caption = (
        "A point a search length, its cost the mean over masks: optimiser steps of all levels "
        "together, and seconds of training on the device named. Dotted: one-shot magnitude "
        f"pruning, which is not searched. {_INTERVALS}"
    )
    if searched_lengths(whole).height:
        yield PaperFigure(
            "search_cost", "Fig. 6", "Score against what the search took", caption,
            search_cost(whole, task, omp),
        )  # fmt: skip
    each = table.filter(pl.col("task").is_in(material.sweep.tasks.keys()))
    several = len(material.sweep.tasks) > 1
    for sparsity in sorted(set(searched_lengths(each)["sparsity"])) if several else ():
        yield PaperFigure(
            f"search_cost_by_task_{sparsity * 100:g}", "Fig. 14–16",
            f"Score of each task against what the search took, {percent(sparsity)}", caption,
            search_cost_by_task(each, sparsity, omp),
        )  # fmt: skip
    starts = random_starts(material.sweep.methods)
    pairs = {
        method.word: (method.name, starts[method.name])
        for method in reversed(material.sweep.methods)
        if method.name in starts
    }
    named = {name for pair in pairs.values() for name in pair}
    both = whole.filter(pl.col("method").is_in(named))
    if searched_lengths(both).height:
        at = searched_lengths(both)
        yield PaperFigure(
            "initialisation", "Fig. 7", "Where the scores start",
            "Mask training from scores of one-shot magnitude pruning (solid) and of a random mask "
            f"(dashed) over its steps. {_INTERVALS}",
            initialisation(both.join(at, on=["model", "sparsity"], how="semi"), task, pairs),
        )  # fmt: skip


def _distances(material: ReportData) -> Iterator[PaperFigure]:
    final = material.distances.filter(
        pl.col("checkpoint_a").is_null(), pl.col("checkpoint_b").is_null()
    )
    for model in material.sweep.models:
        each = final.filter(pl.col("model") == model)
        if each.is_empty():
            continue
        yield PaperFigure(
            _of_model("mask_distances", model, material), "Fig. 8, 17",
            f"Distances between masks, {model}",
            "1 − Jaccard of the kept weights, unweighted mean over matrices, between the final "
            "masks of one sparsity. White lines part the methods; numbers are means over the "
            "pairs of two methods.",
            mask_distances(each),
        )  # fmt: skip
    omp = roles(material.sweep).get("omp", "")
    moved = drift(material.distances, material.searches, omp)
    if moved.group_by("model", "sparsity", "method").len()["len"].max() in (None, 1):
        return
    yield PaperFigure(
        "distance_over_search", "Fig. 8", "How far masks move away from OMP's",
        "1 − Jaccard to the mask of one-shot magnitude pruning over search iterations, mean over "
        "masks with its 95 % interval.",
        distance_over_search(moved),
    )  # fmt: skip


def _sizes(material: ReportData) -> Iterator[PaperFigure]:
    each = runs(material.results.downstream, by="train_size")
    if each["score"].drop_nulls().is_empty() or not each["train_size"].count():
        return
    table = averages(each, by=("train_size",))
    yield PaperFigure(
        "training_sizes", "Fig. 9", "Scores on smaller training sets",
        "Score over the number of training examples, which stand side by side without a scale; "
        f"black: the dense model. {_INTERVALS}",
        training_sizes(table),
    )  # fmt: skip


def _models(material: ReportData) -> Iterator[PaperFigure]:
    omp, over = roles(material.sweep).get("omp"), len(material.sweep.sparsities) > 1
    if not omp or not over or len(material.sweep.models) < 2 or not material.tasks:
        return
    yield PaperFigure(
        "models_compared", "Fig. 11", "How well models bear one-shot pruning",
        "The dense model (black) and one-shot magnitude pruning over the share of weights "
        f"removed, a kind of line a model. {_INTERVALS}",
        models_compared(material.averages, [omp]),
    )  # fmt: skip


def _training(material: ReportData) -> Iterator[PaperFigure]:
    curves = search_curves(material.plan, material.histories)
    logged = set(curves["name"])
    if logged & set(LOSS_NAMES):
        yield PaperFigure(
            "search_losses", "", "Losses during the searches",
            "Training losses over optimiser steps, mean over masks, of an IMP mask its last "
            "level. The text that is read at a step is a random draw, hence the noise.",
            search_losses(curves),
        )  # fmt: skip
    if "density" in logged:
        yield PaperFigure(
            "density", "", "Density during the searches",
            "Share of kept weights over all masked matrices over optimiser steps, mean over "
            "masks; dotted: as asked. It drifts where the threshold is not chosen anew every "
            "step.",
            density_over_steps(curves),
        )  # fmt: skip


def _of_model(name: str, model: str, material: ReportData) -> str:
    return f"{name}_{model}" if len(material.sweep.models) > 1 else name
