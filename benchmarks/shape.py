"""Models and text of a given size: random weights, nothing downloaded."""

from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import BertConfig, BertForMaskedLM
from transformers.utils import logging

from tamt_ray.data.tokens import Blocks, Special
from tamt_ray.search.mlm_corruption import Stream

SPECIAL = Special(101, 102, 103, 0, frozenset({0, 100, 101, 102, 103}), 30522)


@dataclass(frozen=True)
class Shape:
    """An encoder with the vocabulary of BERT, and the batch it reads."""

    name: str
    layers: int
    hidden: int
    batch: int = 16
    length: int = 128
    blocks: int = 64
    """Blocks of text."""

    def save(self, path: Path, **changes: float) -> None:
        """Write a masked language model to the directory `path`, its config with `changes`."""
        config = BertConfig(
            num_hidden_layers=self.layers, hidden_size=self.hidden, num_attention_heads=12,
            intermediate_size=4 * self.hidden,
        )  # fmt: skip
        config.update(changes)
        logging.disable_progress_bar()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            BertForMaskedLM(config).save_pretrained(path)

    def stream(self) -> Stream:
        """Random words; every contestant draws its batches from one of these."""
        generator = torch.Generator().manual_seed(0)
        ids = torch.randint(
            999, 30522, (self.blocks, self.length), generator=generator, dtype=torch.int32
        )
        ids[:, 0], ids[:, -1] = SPECIAL.cls, SPECIAL.sep
        return Stream(Blocks(ids, SPECIAL), self.batch, 0, 0.15)


MINI = Shape("6 layers, hidden 384", 6, 384)
BASE = Shape("BERT-base", 12, 768)
