"""The mask file: one bit a weight in safetensors, shapes and origin as metadata; and masks of other
formats."""

import json
import operator
from collections.abc import Mapping

import numpy as np
import torch
from safetensors import SafetensorError, deserialize
from safetensors.torch import load
from torch import Tensor

from tamt_ray.masks.bits import Bits
from tamt_ray.masks.mask import Mask
from tamt_ray.values.pattern import UNSTRUCTURED

_FORMAT = "tamt-mask-1"
_SLACK = 0.005
"""Largest difference between the sparsity of a file and that of its cell."""
_SUFFIX = "_mask"


class MaskFileError(ValueError):
    """Not a mask file, or a damaged one."""


def mask_to_bytes(mask: Mask, origin: Mapping[str, str] | None = None) -> bytes:
    """Return a safetensors file of packed bits (most significant first, row-major)."""
    packed = {name: np.packbits(mask[name].numpy().reshape(-1)).tobytes() for name in sorted(mask)}
    shapes = {name: list(matrix.shape) for name, matrix in mask.items()}
    metadata = {**(origin or {}), "format": _FORMAT, "shapes": json.dumps(shapes, sort_keys=True)}
    if mask.pattern != UNSTRUCTURED:
        metadata["pattern"] = mask.pattern
    # The library writes metadata in random order. Equal masks have to be equal files: two workers
    # may commit the same unit, and the record of one must match the file of the other.
    header: dict[str, object] = {"__metadata__": metadata}
    end = 0
    for name, bits in packed.items():
        start, end = end, end + len(bits)
        header[name] = {"dtype": "U8", "shape": [len(bits)], "data_offsets": [start, end]}
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + b"".join(packed.values())


def mask_from_bytes(data: bytes) -> Mask:
    """Return the mask in a file. Raises MaskFileError, also where it breaks its own pattern."""
    packed, shapes, pattern = _parts(data)
    matrices = {name: _unpacked(packed[name], shapes[name]) for name in shapes}
    try:
        return Mask(matrices, pattern)
    except ValueError as error:
        raise MaskFileError(str(error)) from error


def bits_from_bytes(data: bytes) -> Bits:
    """Return the mask in a file, still packed. Raises MaskFileError."""
    packed, shapes, _ = _parts(data)
    return Bits.of(packed, shapes)


def _parts(data: bytes) -> tuple[dict[str, bytes], dict[str, tuple[int, int]], str]:
    """Return the packed bits and the shape of each matrix, and the pattern."""
    try:
        packed = {name: tensor["data"] for name, tensor in deserialize(data)}
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        metadata = header["__metadata__"]
        shapes = {name: _shape(sides) for name, sides in json.loads(metadata["shapes"]).items()}
        if metadata["format"] != _FORMAT:
            raise MaskFileError(f"mask format {metadata['format']!r} is not {_FORMAT!r}")
        if set(shapes) != set(packed):
            raise MaskFileError("the shapes are those of other matrices")
        for name, (rows, columns) in shapes.items():
            if len(packed[name]) != -(-rows * columns // 8):
                raise MaskFileError(
                    f"{len(packed[name])} bytes do not hold a mask of {rows} × {columns} weights"
                )
        if not shapes:
            raise MaskFileError("a mask covers at least one matrix")
    except MaskFileError:
        raise
    except (
        SafetensorError, AttributeError, KeyError, TypeError, ValueError, RecursionError
    ) as error:  # fmt: skip
        raise MaskFileError(f"not a mask file: {error}") from error
    return packed, shapes, metadata.get("pattern", UNSTRUCTURED)


def _shape(sides: list[int]) -> tuple[int, int]:
    """Return the two sides of a matrix. Raises TypeError or ValueError."""
    rows, columns = map(operator.index, sides)
    if min(rows, columns) < 1:
        raise ValueError(f"a mask has no matrix of {rows} × {columns} weights")
    return rows, columns


def _unpacked(data: bytes, shape: tuple[int, int]) -> Tensor:
    """Return the matrix [out, in] behind packed bits."""
    rows, columns = shape
    bits = np.unpackbits(np.frombuffer(data, dtype=np.uint8), count=rows * columns)
    return torch.from_numpy(bits.astype(bool).reshape(rows, columns))


def imported_mask(
    data: bytes,
    weights: Mapping[str, Tensor],
    sparsity: float,
    name: str,
    pattern: str = UNSTRUCTURED,
) -> Mask:
    """Return the mask in a file, which covers just `weights` and prunes `sparsity` of them ± .005.

    Either one bit per weight, as `mask_to_bytes` writes it, or safetensors of flags, 0 or 1 of any
    type, under the names of the weights, behind any prefix such as `bert.`. Where names end in
    `_mask`, as `torch.nn.utils.prune` has them, all other tensors are left out. How the zeros are
    shared out among the matrices is free, but for the `pattern`. Raises MaskFileError, which names
    the file by `name`.
    """
    try:
        return _laid_on(data, weights, sparsity, pattern)
    except MaskFileError as error:
        raise MaskFileError(f"{name}: {error}") from error


def _laid_on(data: bytes, weights: Mapping[str, Tensor], sparsity: float, pattern: str) -> Mask:
    try:
        mask = Mask(mask_from_bytes(data) if _is_ours(data) else _flags(data, weights))
    except MaskFileError:
        raise
    except ValueError as error:
        raise MaskFileError(str(error)) from error
    if missing := weights.keys() - mask.keys():
        raise MaskFileError(
            f"no mask of {min(missing)}: a file has all {len(weights)} matrices that are pruned"
        )
    try:
        mask.check_covers(weights)
        mask = Mask(mask, pattern)
    except ValueError as error:
        raise MaskFileError(str(error)) from error
    if abs(mask.sparsity - sparsity) > _SLACK:
        raise MaskFileError(
            f"{mask.sparsity:.2%} of the weights are pruned, which is no mask at {sparsity:.4g}"
        )
    return mask


def _is_ours(data: bytes) -> bool:
    try:
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        return header["__metadata__"]["format"] == _FORMAT
    except (KeyError, TypeError, ValueError, RecursionError):
        return False


def _flags(data: bytes, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    try:
        tensors = load(data)
    except (SafetensorError, KeyError, ValueError) as error:
        raise MaskFileError(f"not a mask file: {error}") from error
    named = {name: tensor for name, tensor in tensors.items() if name.endswith(_SUFFIX)} or tensors
    found: dict[str, Tensor] = {}
    for name, tensor in named.items():
        if not ((tensor == 0) | (tensor == 1)).all():
            raise MaskFileError(f"{name}: a mask is made of 0 and 1")
        weight = _weight_of(name, weights)
        if weight in found:
            raise MaskFileError(f"{name} is one of several masks of {weight}")
        found[weight] = tensor.to(torch.bool)
    return found


def _weight_of(name: str, weights: Mapping[str, Tensor]) -> str:
    bare = name.removesuffix(_SUFFIX)
    # The longest one: a prefix of its own may make one name the end of another.
    fitting = [weight for weight in weights if f".{bare}".endswith(f".{weight}")]
    if not fitting:
        raise MaskFileError(
            f"{name} is none of the matrices that are pruned; `tamt explain FILE --matrices` "
            "lists them"
        )
    return max(fitting, key=len)
