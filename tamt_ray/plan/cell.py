"""The coordinates of a unit in a sweep's grid."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace


@dataclass(frozen=True, slots=True)
class Cell:
    """The names and numbers by which a sweep finds one of its units.

    A coordinate that a kind of unit lacks is empty or None. Names are the sweep's own words, and
    nothing here enters an identity.
    """

    model: str = ""
    method: str = ""
    """`full` for the dense model; empty for an MLM head."""
    sparsity: float = 0.0
    mask_seed: int | None = None
    """None for a deterministic method and for the dense model."""
    checkpoint: int | None = None
    """Optimiser steps of a mask that was kept on the way; None in the main results."""
    task: str = ""
    train_size: int | None = None
    """Training examples of a reduced data set; None for all of them."""
    seed: int | None = None
    """Fine-tuning seed."""

    @property
    def given(self) -> Mapping[str, str | float | int]:
        """The coordinates that are set, by name, in the order of the fields."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        if not self.method:
            del values["sparsity"]
        return {name: value for name, value in values.items() if value not in (None, "")}

    @property
    def subnetwork(self) -> "Cell":
        """The subnetwork that a fine-tune or an evaluation is about."""
        return replace(self, task="", train_size=None, seed=None)

    def __str__(self) -> str:
        return " ".join(map(str, self.given.values()))


NOWHERE = Cell()
"""The cell of a unit that belongs to no grid."""
