"""The mask file: one bit a weight in safetensors, shapes and origin as metadata."""

import json
from collections.abc import Mapping

import numpy as np
import torch
from safetensors import SafetensorError, deserialize
from torch import Tensor

from tamt_ray.masks.mask import Mask

_FORMAT = "tamt-mask-1"


class MaskFileError(ValueError):
    """Not a mask file, or a damaged one."""


def mask_to_bytes(mask: Mask, origin: Mapping[str, str] | None = None) -> bytes:
    """A safetensors file of packed bits (most significant first, row-major)."""
    packed = {name: np.packbits(mask[name].numpy().reshape(-1)).tobytes() for name in sorted(mask)}
    shapes = {name: list(matrix.shape) for name, matrix in mask.items()}
    metadata = {**(origin or {}), "format": _FORMAT, "shapes": json.dumps(shapes, sort_keys=True)}
    # The library writes metadata in random order. Equal masks have to be equal files: two workers
    # may commit the same unit, and one's record must vouch for the other's file.
    header: dict[str, object] = {"__metadata__": metadata}
    end = 0
    for name, bits in packed.items():
        start, end = end, end + len(bits)
        header[name] = {"dtype": "U8", "shape": [len(bits)], "data_offsets": [start, end]}
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + b"".join(packed.values())


def mask_from_bytes(data: bytes) -> Mask:
    """The mask in a file. Raises MaskFileError."""
    try:
        tensors = dict(deserialize(data))
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        metadata = header["__metadata__"]
        shapes: dict[str, list[int]] = json.loads(metadata["shapes"])
        if metadata["format"] != _FORMAT:
            raise MaskFileError(f"mask format {metadata['format']!r} is not {_FORMAT!r}")
        if set(shapes) != set(tensors):
            raise MaskFileError("the shapes are those of other matrices")
        return Mask({name: _unpacked(tensors[name]["data"], shapes[name]) for name in shapes})
    except MaskFileError:
        raise
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise MaskFileError(f"not a mask file: {error}") from error


def _unpacked(data: bytes, shape: list[int]) -> Tensor:
    """The matrix [out, in] behind packed bits."""
    rows, columns = shape
    weights = rows * columns
    if len(data) != -(-weights // 8):
        raise MaskFileError(f"{len(data)} bytes do not hold a mask of {rows} × {columns} weights")
    bits = np.unpackbits(np.frombuffer(data, dtype=np.uint8), count=weights)
    return torch.from_numpy(bits.astype(bool).reshape(rows, columns))
