"""The base of every value read from a sweep file, and the words of complaints about one."""

import difflib
from collections.abc import Callable, Collection, Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)]
"""A label that is safe in a path, a tag and a table head."""
Count = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
OnProgress = Callable[[int, int], None]
"""Called with the steps done and the steps in all, every few steps."""


class Frozen(BaseModel):
    """An immutable value that refuses unknown keys, NaN and infinity."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )

    def identity_extras(self) -> Mapping[str, object]:
        """Return what decides a result and stands in no field, by name; nothing by default."""
        return {}


class Incidental:
    """Marks a field that never changes a result, so that it is no part of an identity."""


INCIDENTAL = Incidental()


def fault(complaint: str, *at: str | int) -> PydanticCustomError:
    """Return the error for a validator to raise: the complaint, and the place that is to blame."""
    return PydanticCustomError("fault", "{complaint}", {"complaint": complaint, "at": at})


def nearest(given: str, known: Collection[str]) -> str:
    """Return the end of a message about a wrong word: the closest valid word, else all of them."""
    if close := difflib.get_close_matches(given, known, n=1, cutoff=0.5):
        return f"; did you mean `{close[0]}`?"
    return f"; valid are: {', '.join(known)}" if known else ""
