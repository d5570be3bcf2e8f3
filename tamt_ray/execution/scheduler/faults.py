"""What ends an attempt at a unit, by class."""

from enum import Enum


class Fault(Enum):
    """A class of failures; the value is the reason for people."""

    ERROR = "an error of its own"
    """Deterministic, divergence included: the same unit would meet it again."""
    MEMORY = "out of memory"
    PLACE = "its machine did not give what it needs"
    """A source, the store, a disk or a GPU that did not answer there and then."""
    DIED = "its worker died"
    HUNG = "no progress"
    NODE = "its node was lost or is about to be"
    SHUNNED = "its machine fails all it gets"
    """Died, hung or lacked something, like other units there, while other machines do well."""
    STOP = "stopped with the run"


class LeavingError(RuntimeError):
    """A worker gives a unit back unfinished; what could be saved is saved."""

    def __init__(self, fault: Fault) -> None:
        """`fault`: NODE or STOP."""
        super().__init__(fault)
        self.fault = fault

    def __str__(self) -> str:
        return self.fault.value
