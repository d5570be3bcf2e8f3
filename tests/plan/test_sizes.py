"""Sizes for the price: read from heads of files, unknown where there is none."""

import json
import struct
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from tamt_ray.plan.cost import operations
from tamt_ray.plan.expand import expand
from tamt_ray.plan.sizes import Sizes, TableSize, model_size, table_size
from tamt_ray.spec.load import parse_sweep
from tamt_ray.values.model import ModelSize


def checkpoint(folder: Path, words: int = 50, *layers: tuple[int, ...]) -> None:
    """The head of a safetensors file; nobody reads its data."""
    folder.mkdir(parents=True, exist_ok=True)
    shapes = {
        "bert.embeddings.word_embeddings.weight": (words, 10),
        "bert.embeddings.position_embeddings.weight": (8, 10),
        "bert.embeddings.LayerNorm.weight": (10,),
        "cls.predictions.decoder.weight": (words, 10),
        **{f"bert.encoder.layer.{n}.dense.weight": shape for n, shape in enumerate(layers)},
    }
    header = {name: {"dtype": "F32", "shape": shape} for name, shape in shapes.items()}
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)


def test_sizes_on_this_machine_and_in_a_mirror(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint(tmp_path / "m", 50, (3, 4), (5,), (2, 2))
    assert model_size(f"dir:{tmp_path / 'm'}") == ModelSize(body=16, decoder=500)
    checkpoint(tmp_path / "mirror/models/me/it", 30, (2, 2))
    (tmp_path / "mirror/datasets/me/rows/small").mkdir(parents=True)
    parquet.write_table(
        pa.table({"a": [1, 2, 3]}), tmp_path / "mirror/datasets/me/rows/small/train.parquet"
    )
    assert model_size("hf:me/it") is None
    monkeypatch.setenv("TAMT_MIRROR", str(tmp_path / "mirror"))
    assert model_size("hf:me/it") == ModelSize(4, 300)
    assert table_size("hf:me/rows#small", "train") == TableSize(3, 0)
    (tmp_path / "a.txt").write_text("one line\nand another\n")
    assert table_size(f"dir:{tmp_path / 'a.txt'}") == TableSize(2, 21 / 4 / 2)


def test_a_relative_source_is_another_one_in_another_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, layer in (("one", (3, 4)), ("other", (5, 6))):
        checkpoint(tmp_path / name / "m", 50, layer)
        monkeypatch.chdir(tmp_path / name)
        assert model_size("dir:m") == ModelSize(layer[0] * layer[1], 500)
    monkeypatch.chdir(tmp_path)
    assert model_size("dir:m") is None


@pytest.mark.parametrize("content", [b"", b"\xff" * 8, struct.pack("<Q", 5) + b"abc"])
def test_a_broken_checkpoint_has_no_size(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    assert model_size(f"dir:{tmp_path}") is None
    assert model_size("dir:/absent") is None
    assert table_size("dir:/absent.csv") is None


@pytest.mark.parametrize(
    ("parameters", "hidden", "words"),
    [(22e6, 384, 30522), (110e6, 768, 30522), (335e6, 1024, 30522)],
)
def test_a_model_of_usual_proportions(parameters: float, hidden: int, words: int) -> None:
    """MiniLM, BERT-base and BERT-large: 12 h² weights per layer, and one row per word."""
    layers = {384: 6, 768: 12, 1024: 24}[hidden]
    size = ModelSize.usual(parameters)
    assert size.body == pytest.approx(layers * 12 * hidden**2, rel=0.15)
    assert size.decoder == pytest.approx(words * hidden, rel=0.3)


SWEEP = """
name: small
models: {mini: {source: "dir:m"}}
corpus:
  train: {source: "dir:a.txt"}
  validation: {source: "dir:a.txt"}
  block_size: 8
search: {batch_size: 4}
methods: [{method: tamt_mlm, steps: 5}]
sparsities: [0.5]
mask_seeds: [1]
finetune_seeds: [1]
tasks:
  t: {kind: regression, train: {source: "dir:s.csv"}, validation: [{source: "dir:s.csv"}],
      text: [a], max_length: 8, epochs: 3}
"""


def work(sizes: Sizes, limits: str = "") -> dict[str, float]:
    """Operations of a search, an evaluation and a fine-tune of a mask."""
    sweep = parse_sweep(SWEEP.replace("epochs: 3", f"epochs: 3{limits}"))
    units = expand(sweep).units.values()
    return {unit.kind: operations(unit, sizes) for unit in units if unit.cell.method == "tamt_mlm"}


def test_prices_follow_the_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """6 operations per weight and token of a training step, 2 of an evaluation; .15 of the tokens
    of a text are predicted."""
    monkeypatch.chdir(tmp_path)
    checkpoint(tmp_path / "m", 40, (100, 10))
    (tmp_path / "a.txt").write_text("x" * 399 + "\n")
    (tmp_path / "s.csv").write_text(("a" * 47 + "\n") * 10)
    found = work(Sizes())
    assert found["search"] == pytest.approx(6 * (5 * 4 * 8) * (1000 + 0.15 * 400))
    assert found["finetune"] == (6 * 10 * 3 + 2 * 10) * 8 * 1000
    assert found["pretrain_eval"] == pytest.approx(2 * 100 * (3 * 1000 + 0.15 * 400))


def test_limits_of_the_file_bound_what_is_unknown() -> None:
    """10,000 rows and 20 tokens are a guess; `max_train`, `max_validation` and `max_length` are
    not."""
    body = ModelSize.usual(110e6).body
    assert work(Sizes())["finetune"] == pytest.approx((6 * 10_000 * 3 + 2 * 1000 * 19) * 8 * body)
    limited = work(Sizes(), ", max_train: 64, max_validation: 10")
    assert limited["finetune"] == pytest.approx((6 * 64 * 3 + 2 * 10) * 8 * body)


def test_what_a_run_has_read_comes_before_guesses() -> None:
    sweep = parse_sweep(SWEEP)
    task = sweep.tasks["t"]
    sizes = Sizes(
        {"dir:m": ModelSize(7, 3)}, {(task.train, task.columns): TableSize(20, 5)},
        {sweep.corpus.validation: 50},
    )  # fmt: skip
    found = work(sizes)
    assert found["finetune"] == (6 * 20 * 3 + 2 * 20) * 5 * 7
    assert found["pretrain_eval"] == pytest.approx(2 * 50 * (3 * 7 + 0.15 * 3))
