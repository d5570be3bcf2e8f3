"""A stand-in for CUDA graphs on a CPU: it notes down Torch's operations and does them again.

As with a graph, the host's numbers are those of the recording, all replays use the same memory, the
recording itself changes nothing, generators are read anew, and a read by the host is an error.
"""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

from tamt_ray.data.graphs import Recorder, Work

READS = ("_local_scalar", "nonzero", "is_nonzero")


def record(work: Work) -> Work:
    """Record as `data.graphs.Recorder` says."""
    tape = Tape()
    with torch.random.fork_rng(devices=[]), tape:
        work()
    tape.undo()
    return tape.replay


class Counted:
    """A recorder that counts; it is out of memory at the recording number `lacks`."""

    def __init__(self, recorder: Recorder = record, lacks: int = 0) -> None:
        self._record, self._lacks = recorder, lacks
        self.records = self.replays = 0

    def __call__(self, work: Work) -> Work:
        self.records += 1
        replay = self._record(work)
        if self.records == self._lacks:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

        def counted() -> None:
            self.replays += 1
            replay()

        return counted


class Tape(TorchDispatchMode):
    """Operations with their arguments and results."""

    def __init__(self) -> None:
        super().__init__()
        self._done: list[tuple[torch._ops.OpOverload, Any, Any, list[Tensor]]] = []
        self._own: dict[int, Tensor] = {}
        """Tensors that the recording made, by address."""
        self._before: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}
        """Memory of others that it wrote to, and its content before."""

    def __torch_dispatch__(
        self,
        func: torch._ops.OpOverload,
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> object:
        kwargs = kwargs or {}
        assert not any(word in str(func) for word in READS), f"{func} makes the host wait"
        writes = func._schema.is_mutable
        for number, argument in enumerate(func._schema.arguments):
            if argument.alias_info and argument.alias_info.is_write:
                written = args[number] if number < len(args) else kwargs.get(argument.name)
                for tensor in _tensors(written):
                    self._keep(tensor)
        found = func(*args, **kwargs)
        given = {_address(tensor) for tensor in _tensors((args, kwargs))}
        made = [] if writes else _tensors(found)
        if writes or not any(_address(tensor) in given for tensor in made):
            self._own |= {_address(tensor): tensor for tensor in made}
            self._done.append((func, args, kwargs, made))
        return found

    def undo(self) -> None:
        """Restore what was written to; what was made has no values yet."""
        for storage, content in self._before.values():
            storage.copy_(content)
        with torch.no_grad():
            for tensor in self._own.values():
                if tensor.is_floating_point():
                    tensor.data.fill_(float("nan"))

    def replay(self) -> None:
        """Do all of it again on the same memory."""
        plain = torch.autocast("cpu", enabled=False)
        with torch.no_grad(), plain, torch._C._AutoDispatchBelowAutograd():
            for func, args, kwargs, made in self._done:
                again = _tensors(func(*args, **kwargs))
                for old, new in zip(made, again, strict=False):
                    old.copy_(new)

    def _keep(self, tensor: Tensor) -> None:
        address = _address(tensor)
        if address not in self._own and address not in self._before:
            with _disable_current_modes():
                storage = tensor.untyped_storage()
                self._before[address] = storage, storage.clone()


def _tensors(tree: object) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
