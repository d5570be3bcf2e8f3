"""The model card of an exported subnetwork: a README.md with YAML front matter."""

from pathlib import Path

import polars as pl
import yaml

from tamt_ray import __version__
from tamt_ray.analysis.results import collect, main_rows
from tamt_ray.analysis.stats.averages import AVERAGE, means, runs
from tamt_ray.analysis.words import counted, spread
from tamt_ray.cli.opened import SweepContext
from tamt_ray.methods.base import Search
from tamt_ray.plan.unit import Unit
from tamt_ray.values.pattern import UNSTRUCTURED
from tamt_ray.values.table import parse_source

_CARD = """\
---
{front}---

# {title}

The encoder of `{source}` with {pruned:,} of {weights:,} weights set to zero by `{method}`
({share:.1%}). It comes from the sweep `{sweep}` of tamt_ray {version}. {chosen}

| | |
|---|---|
| method | `{method}` |
| sparsity | {sparsity:g}{pattern} |
| mask seed | {seed} |
| pooling for sentence tasks | {pooling} |
| licence | {licence} |
| unit | `{unit}` |

## Scores

{scores}

Scores are percent, the best evaluation of each fine-tune, {select}; `runs` counts fine-tuning
seeds of this mask.{losses}

## Use

`AutoModel.from_pretrained` reads this folder. Pruned weights grow again when they are trained;
these lines keep them at zero:

```python
from pathlib import Path

from transformers import AutoModel

from tamt_ray.masks.file import mask_from_bytes
from tamt_ray.masks.mask import apply_mask

model = AutoModel.from_pretrained("FOLDER")
mask = mask_from_bytes(Path("FOLDER/mask.safetensors").read_bytes())
apply_mask({{name: model.get_parameter(name) for name in mask}}, mask)
```
"""
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
    metrics = opened.records[unit.id].metrics
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
    source = search.model.source.partition("#sha256")[0]
    if ref.scheme == "hf":
        front["base_model"] = ref.name
    pattern = "" if search.pattern == UNSTRUCTURED else f", pattern {search.pattern}"
    return _CARD.format(
        front=yaml.safe_dump(front, sort_keys=False, allow_unicode=True),
        title=f"{cell.model}, {cell.method} at {cell.sparsity:.0%} sparsity",
        source=source,
        method=cell.method,
        sweep=opened.sweep.name,
        version=__version__,
        chosen=chosen,
        pruned=int(metrics["zeros"]),
        weights=int(metrics["weights"]),
        share=metrics["zeros"] / metrics["weights"],
        sparsity=cell.sparsity,
        pattern=pattern,
        seed="none, one mask by definition" if cell.mask_seed is None else cell.mask_seed,
        pooling=_POOLING[search.model.pooling],
        licence=licence or f"not known here; see the source, `{source}`",
        unit=unit.id,
        scores=_scores(opened, unit),
        losses=_losses(opened, unit),
        select=_SELECT[opened.sweep.report.select],
    )


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
    return table.filter(
        pl.col("model") == cell.model,
        pl.col("method") == cell.method,
        pl.col("sparsity") == cell.sparsity,
        pl.col("mask_seed").eq_missing(pl.lit(cell.mask_seed, pl.Int64)),
    )


def _scores(opened: SweepContext, unit: Unit) -> str:
    downstream = _of_mask(collect(opened.plan, opened.records).downstream, unit)
    found = means(runs(downstream))
    if not found["n"].sum():
        return "No fine-tune of this mask is done."
    metrics = dict(main_rows(downstream).select("task", "metric").iter_rows())
    lines = ["| task | metric | score | runs | best constant answer |", "|---|---|---|---|---|"]
    for row in found.iter_rows(named=True):
        if row["task"] == AVERAGE and len(metrics) == 1:
            continue
        score = counted(spread(row["mean"], row["std"]), row["n"], row["n_expected"])
        lines.append(
            f"| {row['task']} | {metrics.get(row['task'], '')} | {score} | {row['n']} | "
            f"{spread(row['baseline'], None)} |"
        )
    return "\n".join(lines)


def _losses(opened: SweepContext, unit: Unit) -> str:
    table = _of_mask(collect(opened.plan, opened.records).pretrain, unit)
    found = table.filter(pl.col("checkpoint").is_null(), pl.col("mlm_loss").is_not_null())
    if found.is_empty():
        return ""
    mlm, kd = found.select("mlm_loss", "kd_loss").row(0)
    return f" On held-out text its MLM loss is {mlm:.3f} nats per token, its KD loss {kd:.3f}."
