"""Masks that other programs wrote."""

import json
from collections.abc import Mapping

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from tamt_ray.masks.file import FORMAT, MaskFileError, mask_from_bytes
from tamt_ray.masks.mask import Mask
from tamt_ray.values.pattern import UNSTRUCTURED

_SLACK = 0.005
"""Largest difference between the sparsity of a file and that of its cell."""
_SUFFIX = "_mask"


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
        return header["__metadata__"]["format"] == FORMAT
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
