"""The text of a sweep: what is trained on, and what is held out."""

from pydantic import Field

from tamt_ray.values.base import Frozen
from tamt_ray.values.table import Table
from tamt_ray.values.text import Corruption, Text, TextForm


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
