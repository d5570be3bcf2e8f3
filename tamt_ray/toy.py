"""A tiny model with its tokenizer and data, made on the spot."""

import json
import os
import tempfile
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

from tamt_ray.execution.worker.unit_runner import UnitRunner
from tamt_ray.masks.file import mask_from_bytes
from tamt_ray.masks.mask import Mask
from tamt_ray.plan.unit import Unit
from tamt_ray.search.process_group import ProcessGroup
from tamt_ray.spec.sweep import Sweep
from tamt_ray.store.record import MASK, Record
from tamt_ray.store.store import Store

_WORDS = 43
_SPECIAL = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]",
            "mask_token": "[MASK]"}  # fmt: skip


def write_toy(folder: Path) -> None:
    """Write a tiny BERT with random weights, its tokenizer and data in its words `w0` … `w42`.

    `model/`; `text.txt` as a corpus; `train.jsonl` and `validation.jsonl`, rows of `text` and
    `label`, which says whether `w0` is in the text.
    """
    _make_model(folder / "model")
    draw = np.random.default_rng(0)
    lines = [" ".join(f"w{word}" for word in draw.integers(0, _WORDS, 30)) for _ in range(60)]
    (folder / "text.txt").write_text("\n".join(lines) + "\n")
    for part, count in (("train", 96), ("validation", 32)):
        rows: list[str] = []
        for label in draw.integers(0, 2, count).tolist():
            words = draw.integers(1, _WORDS, 8)
            words[draw.integers(8)] *= 1 - label
            text = " ".join(f"w{word}" for word in words)
            rows.append(json.dumps({"text": text, "label": label}) + "\n")
        (folder / f"{part}.jsonl").write_text("".join(rows))


@dataclass(frozen=True)
class Playground:
    """A tiny model and some text in a folder of its own."""

    folder: Path

    def sweep(self, **given: object) -> Sweep:
        """Return a sweep over the tiny model."""
        text = {"source": f"dir:{self.folder / 'text.txt'}"}
        return Sweep.model_validate({
            "name": "check", "store": str(self.folder / "unused"),
            "models": {"tiny": {"source": f"dir:{self.folder / 'model'}", "parameters": 1e4}},
            "corpus": {"train": {**text, "part": "head"}, "validation": {**text, "part": "tail"},
                       "block_size": 16},
            "search": {"batch_size": 4, "micro_batch": 2, "decay_steps": 20, "log_every": 1},
            "mask_seeds": [1], "finetune_seeds": [1], **given,
        })  # fmt: skip

    def store(self, name: str) -> Store:
        """Return the store of that name."""
        return Store(str(self.folder / name))

    def run(self, units: Iterable[Unit], store: str) -> dict[str, Record]:
        """Carry out the units in a store of that name."""
        bench = UnitRunner(self.store(store), ProcessGroup(), "check")
        return {unit.id: bench.perform(unit) for unit in units}

    def mask(self, record: Record, store: str = "first") -> Mask:
        """Return the mask that a unit left."""
        return mask_from_bytes(self.store(store).artifact(record, MASK))


@contextmanager
def playground() -> Generator[Playground]:
    """Yield a tiny BERT, its tokenizer, a text, and a cache of their own."""
    before = os.environ.get("TAMT_CACHE")
    with tempfile.TemporaryDirectory(prefix="tamt-check-") as name:
        folder = Path(name)
        os.environ["TAMT_CACHE"] = str(folder / "cache")
        try:
            write_toy(folder)
            yield Playground(folder)
        finally:
            if before is None:
                del os.environ["TAMT_CACHE"]
            else:
                os.environ["TAMT_CACHE"] = before


def _make_model(folder: Path) -> None:
    words = [*_SPECIAL.values(), *(f"w{number}" for number in range(_WORDS))]
    config = BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=32,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertForMaskedLM(config).save_pretrained(folder)
    vocabulary = {word: number for number, word in enumerate(words)}
    bare = Tokenizer(models.WordLevel(vocabulary, unk_token=_SPECIAL["unk_token"]))
    bare.pre_tokenizer = pre_tokenizers.Whitespace()  # pyright: ignore[reportAttributeAccessIssue]
    wrapped = PreTrainedTokenizerFast(tokenizer_object=bare, model_max_length=32, **_SPECIAL)
    wrapped.save_pretrained(folder)
