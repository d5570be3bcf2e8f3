"""Subnetworks written out of the store: masks, and pruned models with their cards."""

from pathlib import Path

import polars as pl

from tamt_ray.cli.speech import fail, out
from tamt_ray.cli.sweep_context import SweepContext
from tamt_ray.plan.expand import DENSE
from tamt_ray.plan.unit import Unit
from tamt_ray.store.files import Files
from tamt_ray.store.record import MASK


def write_out(opened: SweepContext, unit: Unit, to: Path, chosen: str = "") -> None:
    """Write the mask to `to` where that ends in .safetensors, else the pruned model as a folder.

    `chosen`: a sentence for the model's card on how the mask was chosen.
    """
    data = opened.store.artifact(opened.records[unit.id], MASK)
    try:
        if to.suffix == ".safetensors":
            Files(str(to.parent.resolve(strict=True))).write(to.name, data)
        else:
            _write_model(opened, unit, data, to, chosen)
    except OSError as error:
        fail(2, f"{to} cannot be written: {error.strerror}; name a new one in a directory of yours")


def enter(opened: SweepContext, unit: Unit, folder: Path) -> None:
    """Enter an exported model into MLflow, which is brought up to date first. Raises
    TrackingError."""
    from tamt_ray.data.cache import file_digest
    from tamt_ray.tracking.sync import sync
    from tamt_ray.tracking.tracker import prepare_mlflow

    prepare_mlflow()
    from tamt_ray.tracking.logged_model import log_model

    whole = opened.whole
    sync(whole.sweep, whole.plan, whole.store, whole.records)
    digests = {path.name: file_digest(path) for path in sorted(folder.iterdir())}
    out.print(f"MLflow has it as {log_model(whole.sweep, unit.id, folder, digests)}")


def write_best(opened: SweepContext, folder: Path) -> dict[Path, Unit]:
    """Write the best subnetwork of each model and sparsity as `folder/<model>-<sparsity>`; return
    which is where.

    The best mask has the highest average over tasks and fine-tuning seeds; masks of which a
    fine-tune is missing do not take part.
    """
    written: dict[Path, Unit] = {}
    for (model, sparsity), (unit, among) in _best(opened).items():
        to = folder / f"{model}-{sparsity:g}"
        chosen = (
            f"It is the best of {among} masks at this sparsity by the average below, which "
            "therefore flatters it."
        )
        write_out(opened, unit, to, chosen)
        written[to] = unit
    if not written:
        fail(2, f"no mask of {opened.file} has all its fine-tunes: tamt status {opened.words}")
    return written


def _best(opened: SweepContext) -> dict[tuple[str, float], tuple[Unit, int]]:
    """Return the best mask of each model and sparsity, and of how many it is the best."""
    from tamt_ray.analysis.results import collect
    from tamt_ray.analysis.stats.averages import AVERAGE, runs

    mask = ["model", "sparsity", "method", "mask_seed"]
    table = runs(collect(opened.plan, opened.records).downstream)
    ranked = (
        table.filter(task=AVERAGE)
        .filter(pl.col("method") != DENSE)
        .group_by(mask, maintain_order=True)
        .agg(mean=pl.col("score").mean(), missing=pl.col("score").null_count())
        .filter(missing=0)
        .sort("mean", descending=True, maintain_order=True)
    )
    searches = {
        (cell.model, cell.sparsity, cell.method, cell.mask_seed): opened.plan.units[unit]
        for cell, unit in opened.plan.cells["search"].items()
        if cell.checkpoint is None and unit in opened.records
    }
    found: dict[tuple[str, float], list[Unit]] = {}
    for model, sparsity, method, seed in ranked.select(mask).iter_rows():
        if unit := searches.get((model, sparsity, method, seed)):
            found.setdefault((model, sparsity), []).append(unit)
    return {place: (units[0], len(units)) for place, units in sorted(found.items())}


def _write_model(opened: SweepContext, unit: Unit, data: bytes, to: Path, chosen: str) -> None:
    from tamt_ray.cli.model_card import model_card
    from tamt_ray.data.cache import SourceError
    from tamt_ray.data.checkpoint import load_checkpoint
    from tamt_ray.finetune.subnetwork import save_subnetwork
    from tamt_ray.masks.file import mask_from_bytes

    source = unit.config.model.source
    try:
        checkpoint = load_checkpoint(source)
        known = opened.records[unit.id].sources[source]
        if checkpoint.fingerprint != known:
            fail(
                2,
                f"{source} is not what it was when the mask was found: {known[:12]} then, "
                f"{checkpoint.fingerprint[:12]} now; the mask alone: "
                f"tamt export {opened.words} {unit.id[:8]} {to}.safetensors",
            )
        card = model_card(opened, unit, checkpoint.path, chosen)
        save_subnetwork(checkpoint, mask_from_bytes(data), to, card)
    except (SourceError, ValueError) as error:
        fail(2, f"{opened.file}: {error}")
