"""The tables of the report that answer a question: what beats what, at what cost, who was right."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import polars as pl

from tamt_ray.analysis.claims.catalogue import CLAIMS, Judged, Rule
from tamt_ray.analysis.claims.evidence import Evidence
from tamt_ray.analysis.claims.sizes import advantages
from tamt_ray.analysis.claims.verdict import ALPHA, Finding, percent, shown, times
from tamt_ray.analysis.report.html import Html, folded, join, table, tag
from tamt_ray.analysis.report.opening import duration
from tamt_ray.analysis.report.tables import group_row
from tamt_ray.analysis.report_data import ReportData
from tamt_ray.analysis.stats.averages import AVERAGE
from tamt_ray.analysis.stats.baselines import no_better
from tamt_ray.analysis.stats.effect import design, effect
from tamt_ray.analysis.stats.summary import CONSTANT, MISSING, counted, spread

_TEST = (
    "Differences are paired: same mask seed, same fine-tuning seed; a method with one mask is "
    "compared under every mask of the other. The interval treats masks and fine-tuning seeds as "
    "two crossed random factors and uses Student's t; with one seed of either there is neither an "
    "interval nor a p value. Tasks are not resampled."
)
_MANY = 4
"""Tables of one kind from which on they are folded."""
_MARKS = {
    "supported": "best", "contradicted": "missing", "does not hold here": "missing",
    "not decidable": "",
}  # fmt: skip


def comparisons_table(material: ReportData) -> Html:
    """Every two methods: a row a pair, a column a sparsity; tasks one by one behind a click."""
    tasks = material.tasks
    if material.comparisons.is_empty():
        return Html("")
    found = [tag("p", _TEST), _comparisons_of(material, tasks[0])]
    for task in tasks[1:]:
        found.append(folded(f"Differences in {task}", _comparisons_of(material, task)))
    return join(found)


def _comparisons_of(material: ReportData, task: str) -> Html:
    what = "average over tasks" if task == AVERAGE else task
    caption = (
        f"Mean difference of two methods in points ({what}), in brackets its 95 % interval. "
        "Marked: p < 0.05 after Holm's correction over all pairs of one model and sparsity."
    )
    blocks: list[Html] = []
    for (model,), each in material.comparisons.filter(pl.col("task") == task).group_by(
        "model", maintain_order=True
    ):
        sparsities: list[float] = each["sparsity"].unique().sort().to_list()
        rows: list[list[str]] = []
        for (a, b), pair in each.group_by("a", "b", maintain_order=True):
            at = {row["sparsity"]: row for row in pair.iter_rows(named=True)}
            rows.append([f"{a} − {b}", *(_difference(at.get(s)) for s in sparsities)])
        head = ["", *map(percent, sparsities)]
        blocks.append(join([tag("h3", str(model)), table(head, rows, caption)]))
    return join(blocks)


def _difference(row: dict[str, Any] | None) -> Html:
    if row is None or row["effect"] is None:
        return tag("td", MISSING, class_="" if row is None else "missing")
    parts = [tag("b", _signed(row["effect"]))]
    if row["low"] is not None and row["high"] is not None:
        parts.append(tag("small", f"[{_signed(row['low'])}, {_signed(row['high'])}]"))
    else:
        parts.append(tag("small", row["reason"], class_="warn"))
    if row["masks"] and row["runs"] and row["masks"] * row["runs"] < (row["n_expected"] or 0):
        words = f"{row['masks'] * row['runs']} of {row['n_expected']} pairs"
        parts.append(tag("small", words, class_="warn"))
    p = row["p_holm"]
    return tag("td", *parts, class_="best" if p is not None and p < ALPHA else "",
               title="" if p is None else f"p after Holm's correction {p:.2g}")  # fmt: skip


def costs_table(material: ReportData) -> Html:
    """What each TAMT method needs for IMP's best score: iterations, time, and the ratios."""
    costs = material.costs
    if costs.is_empty():
        return Html("")
    several = len(material.sweep.models) > 1
    body: list[list[str] | Html] = []
    for (model, sparsity), part in costs.group_by("model", "sparsity", maintain_order=True):
        rows = part.to_dicts()
        place = (
            f"{model}, {percent(float(str(sparsity)))}"
            if several
            else percent(float(str(sparsity)))
        )
        best = rows[0]
        words = (
            f"{place}: {best['imp']} is best at {best['target']:.1f} after "
            f"{best['imp_iterations']:,.0f} iterations, {_time(best['imp_seconds'])}"
        )
        body += [group_row(words, 5), *map(_cost, rows)]
    tasks, devices = costs["tasks"][0], "; ".join(costs["device"].unique().sort().to_list())
    head = ["method", "iterations to get there", "times fewer", "time to get there", "times less"]
    caption = (
        f"Score: mean over {tasks}, percent. IMP is best at the largest mean of its prune "
        "intervals; TAMT gets there where its mean curve first meets that score, between "
        "checkpoints by a straight line. “≤”: its first checkpoint is there already. Training "
        f"time only, on {devices or 'no device yet'}; two devices joined by a stroke do not "
        "compare. In brackets the 95 % interval of the ratio: mask and fine-tuning seeds resampled "
        "for both at once, widened for their small number by Student's t; none where more than "
        "2.5 % of the resamples do not get there. (paper: 8.4 times fewer, 8.7 times less)"
    )
    return table(head, body, caption)


def _cost(row: dict[str, float | str | None]) -> list[str]:
    if row["iterations"] is None:
        gone = tag("td", "not reached", class_="missing")
        return [str(row["method"]), gone, MISSING, gone, MISSING]
    most = "≤ " if row["at_first"] else ""
    return [
        str(row["method"]), f"{most}{row['iterations']:,.0f}", _ratio(row, "iterations"),
        MISSING if row["seconds"] is None else f"{most}{_time(row['seconds'])}",
        _ratio(row, "seconds"),
    ]  # fmt: skip


def _ratio(row: dict[str, float | str | None], of: str) -> Html:
    ratio, low, high = (row[f"{of}_{name}"] for name in ("ratio", "low", "high"))
    if ratio is None:
        return tag("td", MISSING)
    parts = [tag("b", f"{'≥ ' if row['at_first'] else ''}{times(ratio)}×")]
    if low is not None and high is not None:
        parts.append(tag("small", f"[{times(low)}, {times(high)}]"))
    return tag("td", *parts)


def _time(value: float | str | None) -> str:
    return "time unknown" if value is None else duration(float(value))


def reduced_table(material: ReportData) -> Html:
    """Mean ± std of every method on each training-set size, a block a task."""
    found = material.reduced.drop_nulls("mean")
    blocks: list[tuple[str, Html]] = []
    for (model, task, sparsity), group in found.filter(pl.col("sparsity") > 0).group_by(
        "model", "task", "sparsity", maintain_order=True
    ):
        dense = found.filter(
            (pl.col("model") == model) & (pl.col("task") == task) & (pl.col("sparsity") == 0)
        )
        every = pl.concat([dense, group])
        sizes = every["train_size"].unique().sort(nulls_last=True).to_list()
        rows = [
            [str(method), *(_reduced(part, size) for size in sizes)]
            for (method,), part in every.group_by("method", maintain_order=True)
        ]
        words = f"{task}, {float(str(sparsity)) * 100:.4g} % removed"
        title = f"{model}, {words}" if len(material.sweep.models) > 1 else words
        head = ["method", *("all" if size is None else f"{size:,}" for size in sizes)]
        blocks.append((title, table(head, rows)))
    if not blocks:
        return Html("")
    caption = (
        "Percent, mean ± standard deviation over runs, by the number of training examples; "
        "“(n/m)”: n of m runs are there; “≤ constant”: no better than the best constant answer."
    )
    if len(blocks) > _MANY:
        return join([tag("p", caption), *(folded(*block) for block in blocks)])
    return join([tag("p", caption), *(join([tag("h3", t), content]) for t, content in blocks)])


def _reduced(rows: pl.DataFrame, size: int | None) -> str:
    row = rows.filter(pl.col("train_size").eq_missing(size)).to_dicts()
    if not row:
        return MISSING
    text = counted(spread(row[0]["mean"], row[0]["std"]), row[0]["n"], row[0]["n_expected"])
    return tag("td", text, tag("small", CONSTANT, class_="warn")) if no_better(row[0]) else text


def advantages_table(evidence: Mapping[str, Evidence]) -> Html:
    """TAMT's advantage over IMP by training-set size, a row a task (Fig. 9)."""
    blocks: list[Html] = []
    for model, each in evidence.items():
        rows: list[list[str]] = []
        for task in each.reduced["task"].unique(maintain_order=True):
            found = [
                shown(effect(design(values)), "all" if size is None else f"{size:,}")
                for size, values in advantages(task, each).items()
            ]
            if found:
                rows.append([task, "; ".join(found)])
        if rows:
            caption = (
                f"{model}: TAMT − IMP at 70 %, points, mean over TAMT's objectives with its 95 % "
                "interval, by the number of training examples."
            )
            blocks.append(table(["task", "advantage"], rows, caption, kind="words"))
    return join(blocks)


def claims_table(judged: Judged) -> Html:
    """Each statement of the paper, the statistic that tests it, its value here, the verdict."""
    several = len({model for _, model, _ in judged if model}) > 1
    rows: list[Html] = []
    for claim in CLAIMS:
        found = [(model, finding) for other, model, finding in judged if other is claim]
        measured = join(
            [claim.statistic, tag("small", f"rule: {claim.rule.title}", class_="under")]
        )
        said = join([claim.statement, tag("small", claim.where, class_="under")])
        for number, (model, finding) in enumerate(found):
            cells = _verdict(finding, model if several else None)
            if number == 0:
                span = f"{len(found)}"
                cells = [
                    tag("th", said, scope="rowgroup", rowspan=span),
                    tag("td", measured, rowspan=span),
                    *cells,
                ]
            rows.append(tag("tr", *cells))
    head = ["the paper says", "what is measured", "value here", "verdict"]
    tally = Counter(finding.verdict for _, _, finding in judged)
    words = ", ".join(f"{tally[verdict]} {verdict}" for verdict in _MARKS)
    about = (
        f"{len(judged)} verdicts: {words}. A verdict takes evidence beyond the noise of this "
        "sweep's seeds; all else is “not decidable” from its data. Each statement is about "
        "BERT-base, RoBERTa-base or both; what would contradict it on another model is “does not "
        "hold here”. There is no correction over the statements: each has its own 5 %, so of "
        "twenty that are false by a hair one may count as supported by chance."
    )
    rules = folded("The rules", tag("ul", *(tag("li", rule.value) for rule in Rule)))
    return join([tag("p", about), table(head, rows, kind="words claims"), rules])


def _verdict(finding: Finding, model: str | None) -> list[Html]:
    name = [tag("small", f"{model}: ")] if model else []
    why = [tag("small", finding.why)] if finding.why else []
    return [
        tag("td", *name, finding.value or MISSING),
        tag("td", tag("b", finding.verdict), *why, class_=_MARKS[finding.verdict]),
    ]


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "\N{MINUS SIGN}")
