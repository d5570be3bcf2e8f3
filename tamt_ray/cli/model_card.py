"""The model card of an exported subnetwork: a README.md with YAML front matter."""

from pathlib import Path

import polars as pl
import yaml

from tamt_ray.analysis.results import collect, main_rows
from tamt_ray.analysis.stats.averages import AVERAGE, means, runs
from tamt_ray.analysis.stats.summary import markdown
from tamt_ray.analysis.words import counted, spread
from tamt_ray.cli.render import render
from tamt_ray.cli.sweep_context import SweepContext
from tamt_ray.methods.base import Search
from tamt_ray.plan.unit import Unit
from tamt_ray.values.pattern import UNSTRUCTURED
from tamt_ray.values.table import parse_source
from tamt_ray.values.version import __version__

_POOLING = {
    "native": "the architecture's own",
    "mean": "mean over tokens; transformers' classifiers pool in another way",
}


_SELECT = {
    "all": "chosen and measured on the whole validation set",
    "half": "chosen on one half of the validation set and measured on the other",
}


def model_card(opened: SweepContext, unit: Unit, checkpoint: Path, chosen: str = "") -> str:
    """Return the card of a search's subnetwork: base model, method, sparsity, seeds, pooling,
    licence, and the scores that the store holds of it with their number of runs."""
    search, cell = unit.config, unit.cell
    assert isinstance(search, Search)
    licence = licence_of(checkpoint)
    front: dict[str, object] = {
        "library_name": "transformers",
        "license": licence or "other",
        "tags": ["pruning", "lottery-ticket", "tamt_ray"],
        "tamt_ray": {
            "source": search.model.source, "method": cell.method, "sparsity": cell.sparsity,
            "mask_seed": cell.mask_seed, "pattern": str(search.pattern),
            "pooling": search.model.pooling, "unit": unit.id,
        },
    }  # fmt: skip
    if licence is None:
        front["license_name"] = "see-the-source"
    ref = parse_source(search.model.source)
    if ref.scheme == "hf":
        front["base_model"] = ref.name
    found = collect(opened.plan, opened.records)
    return render(
        "model_card.md.jinja", front=yaml.safe_dump(front, sort_keys=False, allow_unicode=True),
        cell=cell, unit=unit.id, sweep=opened.sweep.name, version=__version__, chosen=chosen,
        source=search.model.source.partition("#sha256")[0], licence=licence,
        pattern="" if search.pattern == UNSTRUCTURED else f", pattern {search.pattern}",
        metrics=opened.records[unit.id].metrics, pooling=_POOLING[search.model.pooling],
        scores=_scores(_of_mask(found.downstream, unit)),
        losses=_losses(_of_mask(found.pretrain, unit)), select=_SELECT[opened.sweep.report.select],
    )  # fmt: skip


def licence_of(checkpoint: Path) -> str | None:
    """Return the licence that the model card beside the weights names; None where it names none."""
    card = checkpoint / "README.md"
    if not card.is_file():
        return None
    _, _, rest = card.read_text(encoding="utf-8", errors="replace").partition("---\n")
    try:
        front = yaml.safe_load(rest.partition("\n---")[0])
    except yaml.YAMLError:
        return None
    named = front.get("license") if isinstance(front, dict) else None
    return named if isinstance(named, str) else None


def _of_mask(table: pl.DataFrame, unit: Unit) -> pl.DataFrame:
    cell = unit.cell
    seed = pl.col("mask_seed").eq_missing(pl.lit(cell.mask_seed, pl.Int64))
    return table.filter(seed, model=cell.model, method=cell.method, sparsity=cell.sparsity)


def _scores(downstream: pl.DataFrame) -> str:
    found = means(runs(downstream))
    if not found["n"].sum():
        return "No fine-tune of this mask is done."
    metrics = dict(main_rows(downstream).select("task", "metric").iter_rows())
    rows = [
        {
            "task": row["task"],
            "metric": metrics.get(row["task"], ""),
            "score": counted(spread(row["mean"], row["std"]), row["n"], row["n_expected"]),
            "runs": row["n"],
            "best constant answer": spread(row["baseline"], None),
        }
        for row in found.iter_rows(named=True)
        if row["task"] != AVERAGE or len(metrics) > 1
    ]
    return markdown(pl.DataFrame(rows)).rstrip()


def _losses(pretrain: pl.DataFrame) -> str:
    found = pretrain.filter(pl.col("checkpoint").is_null(), pl.col("mlm_loss").is_not_null())
    if found.is_empty():
        return ""
    mlm, kd = found.select("mlm_loss", "kd_loss").row(0)
    return f" On held-out text its MLM loss is {mlm:.3f} nats per token, its KD loss {kd:.3f}."
