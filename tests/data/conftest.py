"""A cache of its own for every test, and no way to the network."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The empty cache of one test."""
    path = tmp_path / "cache"
    monkeypatch.setenv("TAMT_CACHE", str(path))
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple/")
    monkeypatch.setattr("tamt_ray.data.index.PAUSE", 0.0)
    for name in ("TAMT_MIRROR", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return path


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """HF_HUB_OFFLINE=1, which the libraries read when they are imported."""
    import datasets.config
    import huggingface_hub.constants

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model directory whose tokenizer knows the words a to j as ids 5 to 14."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghij"]
    bare = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    bare.pre_tokenizer = pre_tokenizers.Whitespace()
    # As sentence encoders are published: their file says to cut and to pad.
    bare.enable_truncation(2)
    bare.enable_padding(length=8)
    path = tmp_path / "model"
    PreTrainedTokenizerFast(
        tokenizer_object=bare, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
        sep_token="[SEP]", mask_token="[MASK]", model_max_length=4,
    ).save_pretrained(path)  # fmt: skip
    (path / "config.json").write_text('{"model_type": "bert"}')
    save_file({"weights": torch.zeros(3)}, path / "model.safetensors")
    return path
