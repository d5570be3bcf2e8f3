"""Errors of the store; every message ends in the next command or action."""


class StoreError(RuntimeError):
    """The store cannot be used; the message says what to do."""


class DamagedError(StoreError):
    """A file of the store is missing or has other content than its record says."""

    def __init__(self, uri: str, path: str, why: str) -> None:
        super().__init__(uri, path, why)
        self.path = path
        self.why = why

    def __str__(self) -> str:
        return (
            f"{self.args[0]}/{self.path}: {self.why}; `tamt verify SWEEP --quarantine` sets it "
            "aside, and the next run computes it again"
        )


class UnwritableError(StoreError):
    """The store could not be written, or its leases not be read: no space, no permission, no
    connection."""


class NotSharedError(UnwritableError):
    """On this node the store's path leads elsewhere than on the driver's."""


class HeldError(StoreError):
    """Another driver runs the sweep."""


class LeaseLostError(StoreError):
    """Another driver has taken the sweep over; nothing may be written for this one any more."""
