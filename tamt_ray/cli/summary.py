"""The words, numbers and tables about a sweep that MLflow shows."""

import io
import time
from collections.abc import Collection, Mapping
from dataclasses import replace

import polars as pl

from tamt_ray.analysis.results import Results, collect
from tamt_ray.analysis.stats.answer import answer
from tamt_ray.analysis.stats.averages import AVERAGE, means, runs
from tamt_ray.analysis.stats.summary import markdown, summary
from tamt_ray.analysis.tuning import best_frame
from tamt_ray.cli.sweep_context import SweepContext
from tamt_ray.plan.expand import Plan
from tamt_ray.store.record import Record
from tamt_ray.tracking.summary import Summary
from tamt_ray.tracking.tracker import Describe

_LONGEST_NOTE = 7900
"""Characters that MLflow takes in the description of a run."""


def describer(plan: Plan) -> Describe:
    """Return the function that sums up the records of a plan."""

    def sum_up(records: Mapping[str, Record], failed: Collection[str]) -> Summary:
        found = collect(plan, records)
        numbers = {"done": float(len(records)), "failed": float(len(failed))}
        return Summary(_note(found), numbers | _scores(found), len(records), time.time())

    return sum_up


def final_summary(opened: SweepContext, files: Mapping[str, bytes]) -> Summary:
    """Return the summary of a sweep that is over, with the files of its report."""
    opened = opened.whole
    summed = describer(opened.plan)(opened.records, opened.failures)
    outcomes = opened.survey.outcomes if opened.survey else ()
    objectives = {
        f"{outcome.study.path}/objective": outcome.objective(best)
        for outcome in outcomes
        if (best := outcome.best())
    }
    note = markdown(best_frame(outcomes)) if outcomes else summed.note
    tables = _as_tables(files)
    return replace(
        summed, note=note, metrics={**summed.metrics, **objectives}, files={**files, **tables},
        tables=tuple(tables), over=True,
    )  # fmt: skip


def _as_tables(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return each Parquet file of a report in the form of MLflow's `log_table`, which its pages
    show and `mlflow.load_table` reads."""
    tables: dict[str, bytes] = {}
    for name, data in files.items():
        if name.endswith(".parquet"):
            table = pl.read_parquet(io.BytesIO(data))
            flat = [column for column, kind in table.schema.items() if not kind.is_nested()]
            text = io.StringIO()
            table[flat].to_pandas().to_json(text, orient="split", index=False, double_precision=15)
            tables[f"{name.removesuffix('.parquet')}.json"] = text.getvalue().encode()
    return tables


def _note(found: Results) -> str:
    """Return the answer and as many rows of the table as there is room for."""
    head = f"{answer(found).text}\n\n"
    lines = markdown(summary(found)).splitlines(keepends=True)
    size, kept = len(head), list[str]()
    for line in lines:
        size += len(line)
        if size > _LONGEST_NOTE:
            kept.append(f"\nand {len(lines) - len(kept)} more rows, in the report's tables\n")
            break
        kept.append(line)
    return head + "".join(kept)


def _scores(found: Results) -> dict[str, float]:
    """Return the mean score of each method at each sparsity, as a fraction, by task."""
    several = found.downstream["model"].n_unique() > 1
    scores: dict[str, float] = {}
    rows = means(runs(found.downstream)).drop_nulls("mean")
    # The first metric stands at the top of the run's page.
    for row in rows.sort(pl.col("task") != AVERAGE, maintain_order=True).iter_rows(named=True):
        task = "average" if row["task"] == AVERAGE else row["task"]
        model = f"{row['model']} " if several else ""
        scores[f"{task}/{model}{row['method']} {row['sparsity']:g}"] = row["mean"] / 100
    return scores
