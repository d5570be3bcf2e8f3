"""Text as a search or an evaluation reads it."""

from typing import Literal

from pydantic import Field

from tamt_ray.values.base import Frozen
from tamt_ray.values.table import Table

TextForm = Literal["blocks", "paragraphs"]


class Text(Frozen):
    """Rows of one table, made into sequences of tokens, and how they are corrupted."""

    table: Table
    column: str = "text"
    """Column that holds the text."""
    form: TextForm = "blocks"
    """`blocks`: strung together and cut, without padding; `paragraphs`: one row each, padded."""
    block_size: int = Field(default=512, ge=8)
    """Tokens of a sequence, special ones included."""
    limit: int | None = Field(default=None, ge=1)
    """Only the first so many sequences; all by default."""
    mlm_probability: float = Field(default=0.15, gt=0, lt=1)
    """Share of the tokens that are predicted."""
