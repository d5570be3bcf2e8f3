"""Tiny language models on disk and a corpus in files: no network, a cache of its own."""

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertModel,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForMaskedLM,
)

from tamt_ray.data.blocks import load_blocks
from tamt_ray.data.checkpoint import load_checkpoint
from tamt_ray.data.documents import load_documents
from tamt_ray.data.tokens import Blocks, Documents
from tamt_ray.search.language_model import LanguageModel
from tamt_ray.values.text import Corpus

WORDS = [f"w{number}" for number in range(35)]
USED = 24
"""How many of the words the corpus has; the other rows of the embedding are hardly ever seen."""
SIZES = {
    "vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 32,
}  # fmt: skip
MakeModel = Callable[..., Path]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The empty cache of one test."""
    monkeypatch.setenv("TAMT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TAMT_MIRROR", raising=False)
    return tmp_path / "cache"


def fill(model: PreTrainedModel, seed: int) -> None:
    """Weights that depend on their names only, not on how a library initialises them."""
    for name, parameter in sorted(model.named_parameters()):
        draw = np.random.default_rng([seed, *name.encode()])
        noise = torch.from_numpy(draw.standard_normal(tuple(parameter.shape))).float()
        centre = 1.0 if "norm" in name.lower() and name.endswith("weight") else 0.0
        with torch.no_grad():
            parameter.copy_(centre + (0.3 if parameter.ndim == 2 else 0.1) * noise)


def save_tokenizer(path: Path, special: dict[str, str]) -> None:
    """A word a token; the special ones have the first ids, in order."""
    vocabulary = {word: number for number, word in enumerate([*special.values(), *WORDS])}
    bare = Tokenizer(models.WordLevel(vocabulary, unk_token=special["unk_token"]))
    bare.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=bare, model_max_length=32, cls_token=special["cls_token"],
        sep_token=special["sep_token"], pad_token=special["pad_token"],
        unk_token=special["unk_token"], mask_token=special["mask_token"],
    ).save_pretrained(path)  # fmt: skip


BERT = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]",
        "mask_token": "[MASK]"}  # fmt: skip
ROBERTA = {"cls_token": "<s>", "pad_token": "<pad>", "sep_token": "</s>", "unk_token": "<unk>",
           "mask_token": "<mask>"}  # fmt: skip


@pytest.fixture(scope="session")
def make_model(tmp_path_factory: pytest.TempPathFactory) -> MakeModel:
    """Saves a two-layer model of the named kind with its tokenizer; settings override."""

    def make(kind: str, dropout: float = 0.0, **settings: object) -> Path:
        path = tmp_path_factory.mktemp(kind)
        drop = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
        given = {**SIZES, **drop, **settings}
        with torch.random.fork_rng():
            if kind == "roberta":
                special = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
                model: PreTrainedModel = RobertaForMaskedLM(
                    RobertaConfig(**given, **special, max_position_embeddings=34)
                )
            else:
                form = {"bert": BertForMaskedLM, "headless": BertModel}[kind]
                model = form(BertConfig(**given, max_position_embeddings=32))
        fill(model, 0)
        model.save_pretrained(path)
        save_tokenizer(path, ROBERTA if kind == "roberta" else BERT)
        return path

    return make


@pytest.fixture(scope="session")
def bert(make_model: MakeModel) -> Path:
    """Without dropout."""
    return make_model("bert")


@pytest.fixture(scope="session")
def roberta(make_model: MakeModel) -> Path:
    """Without dropout."""
    return make_model("roberta")


@pytest.fixture(scope="session")
def noisy(make_model: MakeModel) -> Path:
    """BERT with the usual 10 % of dropout."""
    return make_model("bert", dropout=0.1)


@pytest.fixture(params=["bert", "roberta"])
def encoder(request: pytest.FixtureRequest) -> Path:
    """The directory of each architecture, without dropout."""
    return request.getfixturevalue(request.param)


def sentences(rows: int, seed: int) -> list[str]:
    """Walks over a circle of words, one or two places at a time."""
    draw = random.Random(seed)
    found: list[str] = []
    for _ in range(rows):
        place, words = draw.randrange(USED), []
        for _ in range(draw.randint(5, 30)):
            words.append(WORDS[place])
            place = (place + draw.randint(1, 2)) % USED
        found.append(" ".join(words))
    return found


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """About 150 blocks of 16 tokens to train on, from parquet, and 30 to validate, from text.

    Three sentences to train on are a document.
    """
    path = tmp_path_factory.mktemp("corpus")
    lines = sentences(120, 1)
    rows = [row for n in range(0, 120, 3) for row in ("", *lines[n : n + 3])]
    pq.write_table(pa.table({"text": rows}), path / "train.parquet")
    (path / "validation.txt").write_text("\n".join(sentences(25, 2)) + "\n")
    return Corpus.model_validate(
        {
            "train": {"source": f"dir:{path}/train.parquet"},
            "validation": {"source": f"dir:{path}/validation.txt"},
            "block_size": 16,
        }
    )


@pytest.fixture
def train_blocks(corpus: Corpus) -> Callable[[Path], Blocks]:
    """The training blocks for a model."""
    return lambda path: load_blocks(corpus.training(), f"dir:{path}")


@pytest.fixture
def train_documents(corpus: Corpus) -> Callable[[Path], Documents]:
    """The training documents for a model, of 13 words at most in one or two parts."""
    return lambda path: load_documents(corpus.training("documents"), f"dir:{path}")


@pytest.fixture
def validation_blocks(corpus: Corpus) -> Callable[[Path], Blocks]:
    """The validation blocks for a model."""
    return lambda path: load_blocks(corpus.evaluation(), f"dir:{path}")


@pytest.fixture
def load() -> Callable[[Path], LanguageModel]:
    """θ0 from a directory."""
    return lambda path: LanguageModel(load_checkpoint(f"dir:{path}").path)
