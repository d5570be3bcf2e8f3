"""One subnetwork written out of the store."""

from pathlib import Path

from tamt_ray.cli.opened import SweepContext
from tamt_ray.cli.speech import fail
from tamt_ray.plan.unit import Unit

_MASK = "mask.safetensors"


def write_out(opened: SweepContext, unit: Unit, to: Path) -> None:
    """Write the mask to `to` where that ends in .safetensors, else the pruned model as a folder."""
    data = opened.store.artifact(opened.records[unit.id], _MASK)
    try:
        if to.suffix == ".safetensors":
            to.write_bytes(data)
        else:
            _write_model(opened, unit, data, to)
    except OSError as error:
        fail(2, f"{to} cannot be written: {error.strerror}; name a new one in a directory of yours")


def _write_model(opened: SweepContext, unit: Unit, data: bytes, to: Path) -> None:
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
        save_subnetwork(checkpoint, mask_from_bytes(data), to)
    except (SourceError, ValueError) as error:
        fail(2, f"{opened.file}: {error}")
