"""Sizes for the price: read from heads of files, unknown where there is none."""

import json
import struct
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from tamt_ray.plan.cost import operations
from tamt_ray.plan.expand import expand
from tamt_ray.plan.sizes import rows, tokens, weights
from tamt_ray.spec.load import parse_sweep


@pytest.fixture(autouse=True)
def forgotten() -> None:
    for size in (rows, tokens, weights):
        size.cache_clear()


def checkpoint(folder: Path, *shapes: tuple[int, ...]) -> None:
    """The head of a safetensors file; nobody reads its data."""
    folder.mkdir(parents=True, exist_ok=True)
    header = {f"w{n}": {"dtype": "F32", "shape": shape} for n, shape in enumerate(shapes)}
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)


def test_sizes_on_this_machine_and_in_a_mirror(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint(tmp_path / "m", (3, 4), (5,))
    assert weights(f"dir:{tmp_path / 'm'}") == 17
    checkpoint(tmp_path / "mirror/models/me/it", (2, 2))
    (tmp_path / "mirror/datasets/me/rows/small").mkdir(parents=True)
    parquet.write_table(
        pa.table({"a": [1, 2, 3]}), tmp_path / "mirror/datasets/me/rows/small/train.parquet"
    )
    assert weights("hf:me/it") is None
    weights.cache_clear()
    monkeypatch.setenv("TAMT_MIRROR", str(tmp_path / "mirror"))
    assert weights("hf:me/it") == 4
    assert rows("hf:me/rows#small", "train") == 3
    (tmp_path / "a.txt").write_text("one line\nand another\n")
    assert rows(f"dir:{tmp_path / 'a.txt'}") == 2
    assert tokens(f"dir:{tmp_path / 'a.txt'}") == 21 / 4


@pytest.mark.parametrize("content", [b"", b"\xff" * 8, struct.pack("<Q", 5) + b"abc"])
def test_a_broken_checkpoint_has_no_size(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    assert weights(f"dir:{tmp_path}") is None
    assert weights("dir:/absent") is None
    assert rows("dir:/absent.csv") is None


def test_prices_follow_the_sizes(tmp_path: Path) -> None:
    """6 operations per weight and token of a training step, 2 of an evaluation."""
    checkpoint(tmp_path / "m", (100, 10))
    (tmp_path / "a.txt").write_text("x" * 400)
    (tmp_path / "s.csv").write_text("a,label\n" * 10)
    sweep = parse_sweep(f"""
name: small
models: {{mini: {{source: "dir:{tmp_path / "m"}"}}}}
corpus:
  train: {{source: "dir:{tmp_path / "a.txt"}"}}
  validation: {{source: "dir:{tmp_path / "a.txt"}"}}
  block_size: 8
search: {{batch_size: 4}}
methods: [{{method: tamt_mlm, steps: 5}}]
sparsities: [0.5]
mask_seeds: [1]
finetune_seeds: [1]
tasks:
  t: {{kind: regression, train: {{source: "dir:{tmp_path / "s.csv"}"}},
       validation: [{{source: "dir:{tmp_path / "s.csv"}"}}], text: [a], max_length: 8, epochs: 3}}
""")
    found = {
        (unit.kind, unit.cell.method): operations(unit) for unit in expand(sweep).units.values()
    }
    assert found["search", "tamt_mlm"] == 6 * (5 * 4 * 8) * 1000
    assert found["finetune", "tamt_mlm"] == (6 * 10 * 3 + 2 * 10) * 8 * 1000
    assert found["pretrain_eval", "tamt_mlm"] == pytest.approx(2 * (1 + 2) * 100 * 1000, rel=1)
