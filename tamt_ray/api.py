"""Results in a notebook: data frames, masks and pruned models of a sweep.

Scores, sparsities and everything else that is a share are fractions of 1; MLM losses are nats per
predicted token, KD losses cosine distances, times seconds.
"""

import html
import sys
from argparse import ArgumentParser
from functools import cache, cached_property
from os import PathLike
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from transformers import AutoModel, PreTrainedModel

from tamt_ray.analysis.figures.catalogue import figures
from tamt_ray.analysis.figures.vega import Figure
from tamt_ray.analysis.report_data import ReportData, gather
from tamt_ray.analysis.results import collect_searches, main_rows
from tamt_ray.analysis.stats.averages import AVERAGE, fractions
from tamt_ray.analysis.stats.mcnemar import counted_answers, mcnemar_table
from tamt_ray.analysis.stats.summary import summary
from tamt_ray.analysis.stats.trajectories import search_curves
from tamt_ray.cli.notebook import changing_output, follow_run
from tamt_ray.cli.results import artifact_reader
from tamt_ray.cli.sweep_context import SweepContext, open_sweep
from tamt_ray.data.checkpoint import load_checkpoint
from tamt_ray.finetune.subnetwork import save_subnetwork
from tamt_ray.masks.file import mask_from_bytes
from tamt_ray.masks.mask import Mask
from tamt_ray.plan.expand import DENSE
from tamt_ray.plan.unit import FinetuneConfig, Unit
from tamt_ray.store.record import MASK
from tamt_ray.tasks.predictions import PREDICTIONS, from_parquet
from tamt_ray.tasks.scores import counted_steps
from tamt_ray.values.base import nearest
from tamt_ray.values.scratch import Scratch

__all__ = ["RunError", "SweepResults", "load", "run"]

_NOT_DONE = "this fine-tune is not done"
_NOT_KEPT = "this fine-tune is from before predictions were kept"
_LISTED = 20
"""Masks that a message lists."""


class RunError(RuntimeError):
    """A sweep could not be run; its own words say why."""


def load(file: str | PathLike[str], *settings: str) -> "SweepResults":
    """Return what the store holds of a sweep; `settings` are those of `--set`, such as
    "search.batch_size=8". Raises SpecError or StoreError."""
    return SweepResults(open_sweep(Path(file), overrides=settings))


def run(file: str | PathLike[str], *options: str) -> "SweepResults":
    """Run what is missing of a sweep in a process of its own; return what the store holds then.

    `options` are those of the command line, such as "--set", "search.batch_size=8". A notebook
    shows the live view of the run in the cell. Units that failed are no error here: they are
    missing in the tables. Raises RunError.
    """
    command = [sys.executable, "-m", "tamt_ray.sweep", str(file), *options]
    code, last = follow_run(command, changing_output())
    if code not in {0, 1}:
        raise RunError(last)
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--set", action="append", default=[])
    return load(file, *parser.parse_known_args(options)[0].set)


class SweepResults:
    """Results of one sweep, as the store had them when they were loaded."""

    def __init__(self, opened: SweepContext) -> None:
        self._opened = opened

    @cached_property
    def scores(self) -> pl.DataFrame:
        """A row per fine-tune; `score` is null where none is there yet.

        `model`, `method` ("full": the dense model), `sparsity`, `mask_seed`, `checkpoint` (steps,
        null for the main results), `task`, `role`, `train_size`, `seed`; `score` and `last`: the
        headline `metric` at its best and at its last evaluation; every other metric at the best
        one; `baseline/<metric>`: the best constant answer.
        """
        return self._data.results.downstream.rename({"best": "score"})

    @cached_property
    def losses(self) -> pl.DataFrame:
        """A row per mask, and one for the dense model: `mlm_loss`, `kd_loss`, and the loss of every
        further term that some method trains on."""
        return self._data.results.pretrain

    @cached_property
    def masks(self) -> pl.DataFrame:
        """A row per mask: `zeros` of `weights`, `iterations`, `search_seconds`, `device`."""
        return collect_searches(self._opened.plan, self._opened.records)

    @cached_property
    def searches(self) -> pl.DataFrame:
        """A row per logged point of the searches' curves: `step`, `name`, `value`."""
        return search_curves(self._opened.plan, self._data.histories)

    @cached_property
    def averages(self) -> pl.DataFrame:
        """A row per method, sparsity and task, and for the average over tasks (`task` is
        "(average)"): `mean`, `std`, and `low` to `high`, its 95 % interval, of `n` of `n_expected`
        runs."""
        return fractions(self._data.averages)

    def differences(self, task: str = AVERAGE) -> pl.DataFrame:
        """Return a row per two methods at a sparsity.

        `effect`: the mean of a − b over pairs of runs that share their seeds; `low` to `high`, its
        95 % interval; `p`, and `p_holm`, corrected over all pairs; the `reason` where there is no
        interval.
        """
        found = fractions(self._data.comparisons)
        return found.filter(pl.col("task") == task) if found.height else found

    def predictions(self, unit: str) -> pl.DataFrame:
        """Return the answers of a fine-tune, by its `unit` in `scores`, to every example at every
        evaluation: `example`, `half`, `step`, and `gold` and `predicted`, or `exact_match` and
        `f1`. Raises LookupError where it is not done or has kept none."""
        record = self._opened.records.get(unit)
        if record is None or PREDICTIONS not in record.artifacts:
            raise LookupError(_NOT_DONE if record is None else _NOT_KEPT)
        return from_parquet(self._opened.store.artifact(record, PREDICTIONS))

    def mcnemar(self, a: str, b: str) -> pl.DataFrame:
        """Return McNemar's exact test of each two fine-tunes of methods `a` and `b` ("full": the
        dense model) that share their seeds (`mcnemar.mcnemar_table`)."""

        def right(unit: str) -> NDArray[np.bool_] | str:
            config, record = self._opened.plan.units[unit].config, self._opened.records.get(unit)
            assert isinstance(config, FinetuneConfig)
            if record is None:
                return _NOT_DONE
            select = self._opened.sweep.report.select
            steps = counted_steps(config.task.metric, record.metrics, select)
            if steps is None or PREDICTIONS not in record.artifacts:
                return _NOT_KEPT
            return counted_answers(self.predictions(unit), steps)

        methods = [DENSE, *(entry.name for entry in self._opened.sweep.methods)]
        for name in (a, b):
            if name not in methods:
                raise LookupError(f"there is no method {name!r}{nearest(name, methods)}")
        return mcnemar_table(main_rows(self._data.results.downstream), a, b, cache(right))

    def mask(
        self, method: str, sparsity: float, seed: int | None = None, model: str | None = None
    ) -> Mask:
        """Return the mask of a search. Raises LookupError where there is none, or several."""
        unit = self._search(method, sparsity, seed, model)
        return mask_from_bytes(self._opened.store.artifact(self._opened.records[unit.id], MASK))

    def model(
        self, method: str, sparsity: float, seed: int | None = None, model: str | None = None
    ) -> PreTrainedModel:
        """Return the pruned encoder θ0 ⊙ M. Training it as it is lets pruned weights grow again:
        `masks.mask.apply_mask` keeps them at zero. Raises LookupError as `mask` does."""
        unit = self._search(method, sparsity, seed, model)
        with Scratch("model") as folder:
            place = folder / "subnetwork"
            checkpoint = load_checkpoint(unit.config.model.source)
            save_subnetwork(checkpoint, self.mask(method, sparsity, seed, model), place)
            return AutoModel.from_pretrained(place, local_files_only=True)

    def figure(self, name: str = "main_results") -> Figure:
        """Return a figure of the report, which a notebook shows and `save` writes as .svg, .pdf or
        .png. Raises LookupError where there is none of the name."""
        found = {figure.name: figure for figure in figures(self._data)}
        if name not in found:
            raise LookupError(f"there is no figure {name!r}{nearest(name, found)}")
        return found[name]

    @cached_property
    def table(self) -> pl.DataFrame:
        """The table that a run ends with, ready to print."""
        return summary(self._data.results)

    @property
    def answer(self) -> str:
        """The best method at each sparsity in a sentence, by how much, and on how many runs."""
        return self._data.answer.text

    def _repr_html_(self) -> str:
        title, words = html.escape(self._title), html.escape(self.answer)
        return f"<p><b>{title}</b>. {words}</p>{self.table._repr_html_()}"

    def __repr__(self) -> str:
        return f"<{self._title}>"

    @property
    def _title(self) -> str:
        done, planned = len(self._opened.records), len(self._opened.plan.units)
        return f"{self._opened.sweep.name}: {done:,} of {planned:,} units"

    @cached_property
    def _data(self) -> ReportData:
        opened = self._opened
        return gather(
            opened.grid, opened.plan, opened.records, opened.failures, artifact_reader(opened)
        )

    def _search(self, method: str, sparsity: float, seed: int | None, model: str | None) -> Unit:
        """Return the one search of the main results that is meant and done."""
        methods = [entry.name for entry in self._opened.grid.methods]
        if method not in methods:
            raise LookupError(f"there is no method {method!r}{nearest(method, methods)}")
        units, records = self._opened.plan.units, self._opened.records
        all_of = {
            cell: units[unit]
            for cell, unit in self._opened.plan.cells["search"].items()
            if cell.checkpoint is None and cell.method == method
        }
        found = [
            cell
            for cell in all_of
            if abs(cell.sparsity - sparsity) < 1e-9
            and seed in {None, cell.mask_seed}
            and model in {None, cell.model}
        ]
        if len(found) != 1:
            remedy = "give `seed` or `model`" if found else "there are"
            listed = ", ".join(map(str, (found or [*all_of])[:_LISTED]))
            raise LookupError(f"{len(found)} masks of {method} are meant; {remedy}: {listed}")
        unit = all_of[found[0]]
        if unit.id not in records:
            raise LookupError(f"{unit} is not done yet: tamt status {self._opened.words}")
        return unit
