"""Ways to spoil a folder with a sound sweep, its model and its data."""

import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pyarrow
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from pyarrow import parquet
from safetensors.torch import load_file, save_file

SWEEP = """\
name: first
models:
  tiny:
    source: "dir:model"
corpus:
  train: {source: "dir:train.txt"}
  validation: {source: "dir:validation.txt"}
  block_size: 16
methods:
  - omp
  - {method: tamt_kd, steps: 4}
sparsities: [0.5]
mask_seeds: [1]
finetune_seeds: [1]
tasks:
  words:
    kind: classification
    train: {source: "dir:train.jsonl"}
    validation: [{source: "dir:validation.jsonl"}]
    text: [text]
"""
TRAIN = '{source: "dir:train.jsonl"}'
Mistake = Callable[[Path, pytest.MonkeyPatch], object]
"""Spoils the folder that the command is typed in, or its environment."""


def edit(old: str, new: str) -> Mistake:
    assert SWEEP.count(old) == 1, old
    return lambda folder, _: (folder / "my.yaml").write_text(SWEEP.replace(old, new))


def write(name: str, content: str) -> Mistake:
    return lambda folder, _: (folder / name).write_bytes(content.encode("latin-1"))


def no_right(name: str, mode: int = 0) -> Mistake:
    """Give a file or a folder, which need not be there, a mode of little use to its owner."""

    def change(folder: Path, _: pytest.MonkeyPatch) -> None:
        path = folder / name
        if not path.exists():
            path.mkdir()
        path.chmod(mode)

    return change


def file(name: str, mode: int) -> Mistake:
    """Write an empty file with this mode."""

    def change(folder: Path, _: pytest.MonkeyPatch) -> None:
        path = folder / name
        path.parent.mkdir(parents=True)
        path.touch(mode)

    return change


def rows(part: str = "train", **columns: Callable[[int], object]) -> Mistake:
    """Write forty rows, some columns of them by the row's number."""
    lines = [
        json.dumps(
            {"text": "good a", "label": number % 2}
            | {name: value(number) for name, value in columns.items()}
        )
        for number in range(40)
    ]
    return write(f"{part}.jsonl", "\n".join(lines) + "\n")


def variable(name: str, value: str) -> Mistake:
    return lambda _, patch: patch.setenv(name, value)


def both(*mistakes: Mistake) -> Mistake:
    return lambda folder, patch: [each(folder, patch) for each in mistakes]


def no_tokenizer(folder: Path, _patch: pytest.MonkeyPatch) -> None:
    for file in (folder / "model").glob("*token*"):
        file.unlink()


def several_labels(folder: Path, _patch: pytest.MonkeyPatch) -> None:
    path = folder / "model/config.json"
    config = json.loads(path.read_text()) | {"problem_type": "multi_label_classification"}
    path.write_text(json.dumps(config))


def pickled(folder: Path, _patch: pytest.MonkeyPatch) -> None:
    (folder / "model/model.safetensors").rename(folder / "model/pytorch_model.bin")


def another_directory(folder: Path, patch: pytest.MonkeyPatch) -> None:
    (folder / "below").mkdir()
    (folder / "my.yaml").rename(folder / "below/my.yaml")
    patch.chdir(folder / "below")


def no_home(_folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.delenv("TAMT_CACHE")
    patch.delenv("XDG_CACHE_HOME", raising=False)
    patch.setenv("HOME", "/proc/nobody")
    patch.setenv("RAY_AUTH_TOKEN_PATH", "token")


def no_model_hub(folder: Path, patch: pytest.MonkeyPatch) -> None:
    def unreachable(*_given: object, **_named: object) -> str:
        raise LocalEntryNotFoundError("Got: ConnectError: Name or service not known\nAn error …")

    patch.setattr("tamt_ray.data.checkpoint.snapshot_download", unreachable)
    edit('"dir:model"', "hf:bert-base-uncased")(folder, patch)


def hub(message: str) -> Mistake:
    """The library `datasets` raises an error with this message."""

    def change(folder: Path, patch: pytest.MonkeyPatch) -> None:
        def load_dataset(*_given: object, **_named: object) -> None:
            raise ValueError(message)

        library, exceptions = ModuleType("datasets"), ModuleType("datasets.exceptions")
        vars(library)["load_dataset"] = load_dataset
        vars(exceptions)["DatasetsError"] = ConnectionError
        patch.setitem(sys.modules, "datasets", library)
        patch.setitem(sys.modules, "datasets.exceptions", exceptions)
        edit(TRAIN, '{source: "hf:glue#sst3", split: trian}')(folder, patch)

    return change


def mirrored(source: str) -> Mistake:
    """A mirror that has the split `train` of glue#sst2."""

    def change(folder: Path, patch: pytest.MonkeyPatch) -> None:
        (folder / "mirror/datasets/glue/sst2").mkdir(parents=True)
        (folder / "mirror/datasets/glue/sst2/train.parquet").touch()
        patch.setenv("TAMT_MIRROR", "mirror")
        edit(TRAIN, source)(folder, patch)

    return change


def cut_off(name: str) -> Mistake:
    """Leave the first half of a file."""
    return lambda folder, _: os.truncate(folder / name, (folder / name).stat().st_size // 2)


def config(**values: object) -> Mistake:
    """Change the model's configuration."""

    def change(folder: Path, _: pytest.MonkeyPatch) -> None:
        path = folder / "model/config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return change


def flat_weights(folder: Path, _: pytest.MonkeyPatch) -> None:
    path = folder / "model/model.safetensors"
    save_file({n: w.flatten() for n, w in load_file(path).items()}, path, {"format": "pt"})


def mask(make: Callable[[torch.Tensor], torch.Tensor] | None) -> Mistake:
    """Import a mask: one made of the model's weights, or a pipe."""

    def change(folder: Path, patch: pytest.MonkeyPatch) -> None:
        edit("- omp", '- {method: imported, masks: "dir:m.safetensors"}')(folder, patch)
        weights = load_file(folder / "model/model.safetensors")
        if make is None:
            os.mkfifo(folder / "m.safetensors")
        else:
            pruned = [name for name in weights if re.search(r"encoder.*dense\.weight", name)]
            save_file({name: make(weights[name]) for name in pruned}, "m.safetensors")

    return change


def damaged_page(folder: Path, patch: pytest.MonkeyPatch) -> None:
    table = pyarrow.table({"text": ["good a"] * 1000, "label": [0, 1] * 500})
    parquet.write_table(table, "train.parquet", write_page_checksum=True, use_dictionary=False)
    data = bytearray(Path("train.parquet").read_bytes())
    data[60:68] = bytes(255 - byte for byte in data[60:68])
    Path("train.parquet").write_bytes(data)
    edit("dir:train.jsonl", "dir:train.parquet")(folder, patch)


def bytes_as_text(folder: Path, patch: pytest.MonkeyPatch) -> None:
    table = pyarrow.table({"text": [b"good a"] * 40, "label": [0, 1] * 20})
    parquet.write_table(table, "train.parquet")
    edit("dir:train.jsonl", "dir:train.parquet")(folder, patch)


def empty_tokenizer(folder: Path, _: pytest.MonkeyPatch) -> None:
    """A tokenizer without a single word."""
    path = folder / "model/tokenizer.json"
    found = json.loads(path.read_text())
    found["model"]["vocab"], found["added_tokens"] = {}, []
    path.write_text(json.dumps(found))
