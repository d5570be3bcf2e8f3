"""Tensors derived from sources, on the local disk: made once a machine, mapped into memory by all
processes.

Losing them costs time and nothing else.
"""

import functools
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from tamt_ray.data.cache import cache_dir, locked, text_digest
from tamt_ray.values.replacement import replacing

Tensors = Mapping[str, Tensor]


def derived(room: str, key: tuple[str, ...], make: Callable[[], Tensors]) -> Tensors:
    """Return the tensors kept in `room` under `key`, else what `make` returns, kept from now on.

    They share memory among processes and must not be written to. What was damaged is made again.
    Raises SourceError where the cache cannot be written, and whatever `make` raises.
    """
    path = cache_dir() / room / f"{text_digest(*key)}.safetensors"
    with locked(path):
        found = _read(path)
        if found is None:
            _write(path, make())
            found = _read(path)
    assert found is not None
    return found


def _write(path: Path, tensors: Tensors) -> None:
    plain = {name: tensor.contiguous() for name, tensor in tensors.items()}
    with replacing(path) as temporary:
        save_file(plain, temporary, {"sha256": _digest(plain)})


def _read(path: Path) -> Tensors | None:
    """None where there is no file or not what was written."""
    try:
        return _verified(path, path.stat().st_mtime_ns)
    except (FileNotFoundError, SafetensorError):
        return None


@functools.lru_cache(maxsize=8)
def _verified(path: Path, _stamp: int) -> Tensors:
    """Raises SafetensorError for a file that does not hold what was written."""
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        stored = (file.metadata() or {}).get("sha256")
    if _digest(tensors) != stored:
        raise SafetensorError(f"{path} is damaged")
    return tensors


def _digest(tensors: Tensors) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.numpy().data)
    return digest.hexdigest()
