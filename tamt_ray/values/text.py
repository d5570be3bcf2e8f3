"""Text as a search or an evaluation reads it."""

from typing import Literal, Self

from pydantic import Field

from tamt_ray.values.base import Frozen
from tamt_ray.values.table import Table

TextForm = Literal["blocks", "documents"]
Corruption = Literal["mlm", "none", "one_token"]
"""`mlm`: a share of the tokens is predicted, drawn anew every time; `none`: clean text;
`one_token`: one token per sequence, drawn once, as in the released code's data for distillation."""


class Text(Frozen):
    """Rows of one table, made into sequences of tokens, and how they are corrupted."""

    table: Table
    column: str = "text"
    """Column that holds the text."""
    form: TextForm = "blocks"
    """`blocks`: strung together and cut, without padding; `documents`: runs of paragraphs between
    headings and blank lines, split into two parts and padded, as the released code's for KD."""
    block_size: int = Field(default=512, ge=8)
    """Tokens of a sequence, special ones included."""
    limit: int | None = Field(default=None, ge=1)
    """Only the first so many sequences; all by default."""
    mlm_probability: float = Field(default=0.15, ge=0, lt=1)
    """Share of the tokens that are predicted, drawn anew every time; 0 for clean text."""
    one_token: bool = False
    """Predict one token per sequence instead, the same every time."""

    def corrupted(self, how: Corruption) -> Self:
        """Return the text with another corruption; `mlm` is the text itself."""
        if how == "mlm":
            return self
        return self.model_copy(update={"mlm_probability": 0.0, "one_token": how == "one_token"})
