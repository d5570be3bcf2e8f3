"""A subnetwork as a checkpoint of its own, for programs that know nothing of this one."""

import errno
from pathlib import Path

import torch

from tamt_ray.data.checkpoint import Checkpoint, tokenizer
from tamt_ray.finetune.model import Encoder
from tamt_ray.masks.file import mask_to_bytes
from tamt_ray.masks.mask import Mask, zero_pruned
from tamt_ray.values.replacement import replacing


def save_subnetwork(checkpoint: Checkpoint, mask: Mask, folder: Path, card: str = "") -> None:
    """Write θ0 ⊙ M with its tokenizer for `from_pretrained`, and `mask.safetensors` and `card` as
    README.md beside it.

    The encoder alone, in float32: an MLM head reads the dense embedding, which a tied checkpoint
    cannot hold beside the pruned one. The folder appears whole or not at all. Raises ValueError for
    another model's mask and OSError, FileExistsError for a folder that holds something.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(errno.EEXIST, "it holds something already")
    encoder = Encoder(checkpoint, torch.device("cpu"))
    zero_pruned(*encoder.masked(mask))
    with replacing(folder) as temporary:
        encoder.save(temporary)
        tokenizer(checkpoint).save_pretrained(temporary)
        beside = temporary / "mask.safetensors"
        beside.write_bytes(mask_to_bytes(mask))
        if card:
            (temporary / "README.md").write_text(card, encoding="utf-8")
        for path in temporary.iterdir():
            # Safetensors writes for the owner alone; the umask says who else may read.
            path.chmod(beside.stat().st_mode)
