"""What the tests of several rooms share: a tiny model, and file systems of their own."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

# For tensors this small; on a busy machine threads that wait for each other take ten times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")
torch.set_num_threads(1)

LETTERS = "abcdefghijklmnopqrst"
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", ".", *LETTERS]
PIECES = [f"##{letter}" for letter in LETTERS]


def pytest_configure() -> None:
    """Take Ctrl-C back: a shell that starts the tests in its background has them ignore it, and so
    would each run that a test starts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests of real servers need what a head of a cluster has installed."""
    missing = [name for name in ("grpc", "psycopg2") if find_spec(name) is None]
    if item.get_closest_marker("cluster") and missing:
        pytest.fail(f'no {" and no ".join(missing)}: pip install -e ".[test,cluster]"', False)


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layers, hidden 32, random weights; published as a masked language model, no pooler."""
    path = tmp_path_factory.mktemp("model")
    vocabulary = {word: number for number, word in enumerate([*WORDS, *PIECES])}
    bare = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    bare.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    bare.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    # Published sentence encoders ship these two; neither may reach the features.
    bare.enable_truncation(4)
    bare.enable_padding(length=9)
    PreTrainedTokenizerFast(
        tokenizer_object=bare, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
        sep_token="[SEP]", mask_token="[MASK]", model_max_length=128,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    ).save_pretrained(path)  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertForMaskedLM(
            BertConfig(
                vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=2,
                num_attention_heads=2, intermediate_size=64, max_position_embeddings=128,
                initializer_range=0.2,
            )
        ).save_pretrained(path)  # fmt: skip
    return path


class NoWaiting(TorchDispatchMode):
    """Raises where the host would wait until a GPU has taken a tensor."""

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> object:
        kwargs = kwargs or {}
        name = func.__name__.partition(".")[0]
        found = func(*args, **kwargs)
        if name in {"_to_copy", "copy_"} and found.device.type == "meta":
            source = args[name == "copy_"]
            at_once = kwargs.get("non_blocking") or (name == "copy_" and args[2:] == (True,))
            assert source.device.type == "meta" or at_once, f"{name} of {source.shape} waits"
        return found


@pytest.fixture
def meta(monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """Torch's device of shapes without values, on which the fused AdamW works.

    Whatever copies a value to the host raises there: `.item()`, `float()`, flags as an index,
    `nonzero`, `.cpu()`. So does work on two devices at once. `NoWaiting` finds the other direction.
    """
    library = torch.library.Library("aten", "IMPL", "Meta")
    library.impl("_fused_adamw_", lambda *tensors, **numbers: None)
    optimizer = sys.modules[torch.optim.Optimizer.__module__]
    fused = "_get_fused_kernels_supported_devices"
    monkeypatch.setattr(optimizer, fused, lambda: ["cpu", "meta"])
    yield torch.device("meta")
    library._destroy()


@pytest.fixture
def mount_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a real file system of a size such as `512k`; it takes memory only as it fills."""
    path = tmp_path / "disk"

    def mount(size: str) -> Path:
        path.mkdir()
        made = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if made.returncode:
            pytest.skip(f"a small disk can only be mounted by root: {made.stderr.strip()}")
        return path

    yield mount
    if path.is_mount():
        # A worker may still be ending with a file of it open.
        subprocess.run(["umount", "--lazy", str(path)], check=True)
