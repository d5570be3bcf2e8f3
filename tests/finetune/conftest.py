"""A tiny BERT on disk and toy tasks in files: no network, no cache."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pydantic import TypeAdapter
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, RobertaConfig, RobertaForMaskedLM

from tamt_ray.finetune.finetuner import Finetuner
from tamt_ray.tasks.base import TASKS, Task
from tamt_ray.values.model import Model
from tests.tasks.squad_rows import squad_rows

LETTERS = "abcdefghijklmnopqrst"

Rows = list[dict[str, object]]
WriteTask = Callable[..., Task]


@pytest.fixture(params=["native", "mean"])
def model(request: pytest.FixtureRequest, model_dir: Path) -> Model:
    """The tiny model, once with each pooling."""
    return Model(source=f"dir:{model_dir}", pooling=request.param)


@pytest.fixture
def native(model_dir: Path) -> Model:
    return Model(source=f"dir:{model_dir}")


@pytest.fixture
def roberta_dir(tmp_path: Path) -> Path:
    """Two layers of RoBERTa, random weights: no segments, positions count from the padding on."""
    path = tmp_path / "roberta"
    words = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "good", "bad", *LETTERS]
    bare = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    bare.pre_tokenizer = pre_tokenizers.Whitespace()
    bare.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=True)
    PreTrainedTokenizerFast(
        tokenizer_object=bare, pad_token="<pad>", unk_token="<unk>",
        model_input_names=["input_ids", "attention_mask"],
    ).save_pretrained(path)  # fmt: skip
    RobertaForMaskedLM(
        RobertaConfig(
            vocab_size=len(words), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
            intermediate_size=64, max_position_embeddings=82, type_vocab_size=1,
            initializer_range=0.2, pad_token_id=1, bos_token_id=0, eos_token_id=2,
        )
    ).save_pretrained(path)  # fmt: skip
    return path


@pytest.fixture
def write_task(tmp_path: Path) -> WriteTask:
    """A task over the given rows, written as JSON lines; more settings override the defaults."""

    def write(kind: str, train: Rows, *validation: Rows, **settings: object) -> Task:
        tables: list[dict[str, str]] = []
        for number, rows in enumerate((train, *validation)):
            path = tmp_path / f"{kind}-{number}-{len(list(tmp_path.iterdir()))}.jsonl"
            path.write_text("\n".join(map(json.dumps, rows)) + "\n")
            tables.append({"source": f"dir:{path}"})
        text = {} if kind == "spans" else {"text": ["text"]}
        given = {"kind": kind, "train": tables[0], "validation": tables[1:], "lr": 2e-3, **text}
        return TypeAdapter(TASKS.entry("kind")).validate_python({**given, **settings})

    return write


@pytest.fixture
def sentiment() -> Callable[[int, int], Rows]:
    """Rows whose label is 1 where the word `good` stands among 1 to 12 letters, else `bad`."""

    def rows(count: int, seed: int) -> Rows:
        draw = random.Random(seed)
        found: Rows = []
        for _ in range(count):
            label = draw.randrange(2)
            words = [*draw.choices(LETTERS, k=draw.randint(1, 12)), ("bad", "good")[label]]
            draw.shuffle(words)
            found.append({"text": " ".join(words), "label": label})
        return found

    return rows


@pytest.fixture
def lookup() -> Callable[[int, int], Rows]:
    """SQuAD rows: the answer is `good bad` in a passage of 20 to 60 words."""
    return squad_rows


@pytest.fixture
def finetuner() -> Finetuner:
    return Finetuner(torch.device("cpu"))


@pytest.fixture
def toy(write_task: WriteTask, sentiment: Callable[[int, int], Rows]) -> Task:
    return write_task("classification", sentiment(60, 1), sentiment(40, 2), epochs=2, batch_size=8)
