"""The tables of the report as HTML."""

from collections.abc import Iterator

import polars as pl

from tamt_ray.analysis.report.html import Html, folded, join, table, tag
from tamt_ray.analysis.report_data import ReportData
from tamt_ray.analysis.stats.averages import AVERAGE
from tamt_ray.analysis.stats.baselines import no_better
from tamt_ray.analysis.stats.correlation import LOSSES, interval_words
from tamt_ray.analysis.stats.summary import CONSTANT, MISSING
from tamt_ray.plan.expand import DENSE

_LOSS_NAMES = {"mlm_loss": "MLM", "kd_loss": "KD"}
_LONG = 40
"""Rows from which on a table is folded."""


def scores_table(material: ReportData) -> Html:
    """Method × task, a block a sparsity, the dense model first, the best of a block marked."""
    return join(_scores_of(material, model) for model in material.sweep.models)


def _scores_of(material: ReportData, model: str) -> Html:
    tasks = material.tasks
    each = material.averages.filter(pl.col("model") == model)
    rows = {(r["method"], r["sparsity"], r["task"]): r for r in each.iter_rows(named=True)}
    best = _best(each)
    order = each.select("sparsity", "method").unique(maintain_order=True)
    constant = {
        task: value
        for task, value in each.group_by("task").agg(pl.col("baseline").max()).iter_rows()
        if value is not None
    }
    body: list[list[str] | Html] = []
    if constant:
        cells = [_number(constant[task], 1) if task in constant else MISSING for task in tasks]
        body.append(["best constant answer", *cells, MISSING])
    for sparsity in sorted(order["sparsity"].unique().to_list()):
        methods = order.filter(pl.col("sparsity") == sparsity)["method"].to_list()
        for method in methods:
            if method == methods[0]:
                words = "dense model" if method == DENSE else removed(sparsity)
                body.append(group_row(words, len(tasks) + 2))
            found = {task: rows.get((method, sparsity, task)) for task in tasks}
            n, expected = next((row["n"], row["n_expected"]) for row in found.values() if row)
            # What no part of a union asks for is not missing.
            cells = [
                _score(row, (method, sparsity, task) in best) if row else MISSING
                for task, row in found.items()
            ]
            body.append([method, *cells, f"{n}" if n == expected else f"{n} of {expected}"])
    head = ["method", *("average" if task == AVERAGE else task for task in tasks), "runs"]
    caption = (
        "Percent. Mean ± standard deviation over runs; below it the 95 % interval of the mean, "
        "where there are two mask seeds and two fine-tuning seeds. Underlined: the highest mean of "
        "its sparsity so far, which is no test of a difference. “≤ constant”: no better than the "
        "best constant answer. “runs”: complete ones behind the first column."
    )
    return join([tag("h3", model), table(head, body, caption)])


def _best(averages: pl.DataFrame) -> set[tuple[str, float, str]]:
    """(method, sparsity, task) with the highest mean among two or more, ties included."""
    present = averages.filter(pl.col("method") != DENSE).drop_nulls("mean")
    group = ["sparsity", "task"]
    top = present.filter(
        (pl.col("mean") == pl.col("mean").max().over(group)) & (pl.len().over(group) > 1)
    )
    return set(top.select("method", "sparsity", "task").iter_rows())


def _score(row: dict[str, float | str | None], best: bool) -> Html:
    if row["mean"] is None:
        gone = f": {row['missing_tasks']}" if row["task"] == AVERAGE else ""
        return tag("td", MISSING, tag("small", f"missing{gone}"), class_="missing")
    parts = [tag("b", _number(row["mean"], 1))]
    if row["std"] is not None:
        parts.append(tag("small", f" ± {_number(row['std'], 1)}", class_="same"))
    interval = ""
    if row["low"] is not None:
        interval = f"[{_number(row['low'], 1)}, {_number(row['high'], 1)}]"
        parts.append(tag("small", interval))
    if no_better(row):
        parts.append(tag("small", CONSTANT, class_="warn"))
    if row["missing"]:
        parts.append(tag("small", f"{row['n']} of {row['n_expected']} runs", class_="warn"))
    title = f"95 % interval {interval}, {row['n']} of {row['n_expected']} runs"
    return tag("td", *parts, class_="best" if best else "", title=title)


def losses_table(material: ReportData) -> Html:
    """MLM and KD loss of every method and sparsity, the lowest of a block marked."""
    blocks: list[Html] = []
    for model in material.sweep.models:
        each = material.losses.filter(pl.col("model") == model)
        body: list[list[str] | Html] = []
        for group in each.sort("sparsity", maintain_order=True).partition_by(
            "sparsity", maintain_order=True
        ):
            sparsity: float = group["sparsity"][0]
            dense = group["method"][0] == DENSE
            words = "dense model" if dense else removed(sparsity)
            body.append(group_row(words, 4))
            lowest = {loss: group[loss].min() for loss in LOSSES}
            for row in group.iter_rows(named=True):
                cells = [
                    _loss(row, loss, len(group) > 1 and row[loss] == lowest[loss])
                    for loss in LOSSES
                ]
                body.append([row["method"], *cells, f"{row['n']} of {row['n_expected']}"])
        head = ["method", "MLM loss (nats)", "KD loss (cosine distance)", "masks"]
        caption = (
            "Mean ± standard deviation over masks; lower is better; underlined: the lowest of its "
            "sparsity. All subnetworks were asked for the same masked positions."
        )
        blocks += [tag("h3", model), table(head, body, caption)]
    return join(blocks)


def _loss(row: dict[str, float | None], loss: str, best: bool) -> Html:
    if row[loss] is None:
        return tag("td", MISSING, tag("small", "missing"), class_="missing")
    std = row[f"{loss.removesuffix('_loss')}_std"]
    parts = [tag("b", _number(row[loss], 3))]
    if std is not None:
        parts.append(tag("small", f" ± {_number(std, 3)}", class_="same"))
    return tag("td", *parts, class_="best" if best else "")


def correlations_table(material: ReportData) -> Html:
    """r, ρ and τ of each loss with the average score; tasks one by one behind a click."""
    tasks = material.tasks
    blocks = [_correlations_of(material, tasks[0])] if tasks else []
    for task in tasks[1:]:
        blocks.append(folded(f"Correlations with {task}", _correlations_of(material, task)))
    return join(blocks)


def _correlations_of(material: ReportData, task: str) -> Html:
    table_ = material.correlations.filter(pl.col("task") == task)
    several = len(material.sweep.models) > 1
    body: list[list[str] | Html] = []
    for (model, loss), group in table_.group_by("model", "loss", maintain_order=True):
        words = f"{_LOSS_NAMES[str(loss)]} loss"
        body.append(group_row(f"{model}, {words}" if several else words, 5))
        body += [list(row) for row in _scopes(group)]
    head = ["points", "Pearson r", "Spearman ρ", "Kendall τ", "n"]
    what = "average over tasks" if task == AVERAGE else task
    caption = (
        f"With the score ({what}). A point is a subnetwork, its score the mean over fine-tuning "
        "seeds; a negative value means that a lower loss goes with a better score. In brackets "
        "the bootstrap 95 % interval over methods at a sparsity."
    )
    return table(head, body, caption)


def _scopes(group: pl.DataFrame) -> Iterator[list[str]]:
    for (scope, sparsity), part in group.group_by("scope", "sparsity", maintain_order=True):
        rows = part.to_dicts()
        match scope:
            case "all":
                words = "all, with the dense model"
            case "subnetworks":
                words = "all subnetworks"
            case "chosen":
                words = f"sparsity {sparsity:.3g} without random masks"
            case _:
                words = f"sparsity {sparsity:.3g}"
        n, expected, partial = rows[0]["n"], rows[0]["n_expected"], rows[0]["n_partial"]
        count = join([f"{n}" if n == expected else f"{n} of {expected}"])
        if partial:
            count = join([count, tag("small", f"{partial} with runs missing", class_="warn")])
        if rows[0]["reason"]:
            cells = [tag("td", MISSING, tag("small", rows[0]["reason"]), class_="missing")] * 3
        else:
            cells = [
                tag(
                    "td",
                    tag("b", _number(row["value"], 2)),
                    tag("small", interval_words(row)),
                )
                for row in rows
            ]
        yield [words, *cells, tag("td", count)]


def masks_table(material: ReportData) -> Html:
    """Zeros asked and found, steps, time and device of every mask."""
    found = material.searches.drop_nulls("zeros")
    several = len(material.sweep.models) > 1
    rows = [_mask(row, several) for row in material.searches.iter_rows(named=True)]
    worst = (found["zeros"] / found["weights"] - found["sparsity"]).abs().max()
    words = f"{len(found):,} of {len(rows):,} masks are there."
    if isinstance(worst, float):
        words += (
            " Between the share of zeros asked for and the share found, the largest difference is "
            f"{worst:.2g} (each matrix is rounded to a whole number of weights)."
        )
    head = ["mask", "seed", "sparsity", "zeros asked", "zeros found", "steps", "search", "device"]
    content = table(head, rows)
    if len(rows) > _LONG:
        content = folded(f"All {len(rows):,} masks", content)
    return join([tag("p", words), content])


def _mask(row: dict[str, float | str | None], several: bool) -> list[str]:
    name = f"{row['model']} {row['method']}" if several else str(row["method"])
    seed = MISSING if row["mask_seed"] is None else str(row["mask_seed"])
    share = f"{row['sparsity']:.3g}"
    zeros, weights, seconds = row["zeros"], row["weights"], row["seconds"]
    if zeros is None or weights is None:
        return [name, seed, share, *[tag("td", MISSING, class_="missing")] * 4, "missing"]
    asked = round(float(row["sparsity"] or 0) * float(weights))
    steps = "0" if row["steps"] is None else f"{row['steps']:,}"
    time = MISSING if seconds is None else f"{float(seconds):,.1f} s"
    return [name, seed, share, f"{asked:,}", f"{zeros:,}", steps, time, str(row["device"])]


def removed(sparsity: float) -> str:
    """A sparsity in words."""
    return f"{sparsity * 100:.4g} % of the weights removed"


def group_row(words: str, columns: int) -> Html:
    """A row that names those below it."""
    return tag("tr", tag("th", words, colspan=str(columns), scope="colgroup"), class_="group")


def _number(value: float | str | None, digits: int) -> str:
    return f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")
