"""Standard streams that cannot end a run."""

import io
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _Forgiving(io.FileIO):
    """Writes to a descriptor. After the first error the descriptor leads to the null device, also
    for C code and child processes."""

    def write(self, data: "ReadableBuffer", /) -> int:
        """Return the number of bytes taken, which is all of them."""
        try:
            written = super().write(data)
        except OSError:
            written = None
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), self.fileno())
        # None is the answer of a stream that never waits, when it is full.
        return memoryview(data).nbytes if written is None else written


def open_closed_streams() -> None:
    """Connect streams that the caller closed to the null device. Otherwise the next file opened
    would get their descriptors."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere == number:
                os.set_inheritable(number, True)
            else:
                os.dup2(nowhere, number)
                os.close(nowhere)
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115 - until the end


def forgive_output() -> None:
    """Drop output from now on that cannot be written: the reader is gone, the disk is full, or
    the terminal is closed."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        before = getattr(sys, name)
        stream = io.BufferedWriter(_Forgiving(number, "w", closefd=False))
        setattr(
            sys, name,
            io.TextIOWrapper(
                stream, before.encoding, errors="backslashreplace", line_buffering=True
            ),
        )  # fmt: skip
