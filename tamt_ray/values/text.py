"""The text of a sweep, and how a search or an evaluation reads it."""

from typing import Literal, Self

from pydantic import Field

from tamt_ray.values.base import Frozen
from tamt_ray.values.table import Table

TextForm = Literal["blocks", "shuffled", "documents"]
Corruption = Literal["mlm", "none", "one_token"]
"""`mlm`: a share of the tokens is predicted, drawn anew every time; `none`: clean text;
`one_token`: one token per sequence, drawn once, as in the released code's data for distillation."""


class Text(Frozen):
    """Rows of one table, made into sequences of tokens, and how they are corrupted."""

    table: Table
    column: str = "text"
    """Column that holds the text."""
    form: TextForm = "blocks"
    """`blocks`: strung together and cut, without padding; `shuffled`: the same blocks, the tokens
    of each in random order; `documents`: runs of paragraphs between headings and blank lines, split
    into two parts and padded, as the released code's for KD."""
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


class Corpus(Frozen):
    """Text for the pre-training objectives.

    Text is packed into blocks of `block_size` tokens, CLS and SEP included, without padding.
    """

    train: Table
    """Text that searches and MLM heads are trained on."""
    validation: Table
    """Held-out text on which MLM and KD loss are measured."""
    column: str = "text"
    """Column that holds the text, in both tables."""
    block_size: int = Field(default=512, ge=8)
    """Tokens of a block, CLS and SEP included."""
    mlm_probability: float = Field(default=0.15, gt=0, lt=1)
    """Share of tokens that are predicted; of these 80 % masked, 10 % random, 10 % kept."""
    max_train_blocks: int | None = Field(default=None, ge=1)
    """Only the first so many blocks (sequences with `text: documents`); all by default."""
    max_validation_blocks: int | None = Field(default=None, ge=1)
    """Only the first so many validation blocks; all by default."""

    def training(self, form: TextForm = "blocks", corruption: Corruption = "mlm") -> Text:
        """Return the text that searches and MLM heads are trained on."""
        text = Text(
            table=self.train, column=self.column, form=form, block_size=self.block_size,
            limit=self.max_train_blocks, mlm_probability=self.mlm_probability,
        )  # fmt: skip
        return text.corrupted(corruption)

    def evaluation(self) -> Text:
        """Return the held-out text on which losses are measured."""
        return Text(
            table=self.validation, column=self.column, block_size=self.block_size,
            limit=self.max_validation_blocks, mlm_probability=self.mlm_probability,
        )  # fmt: skip
