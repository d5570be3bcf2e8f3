"""What a unit of the fleet costs beside its own work.

500 toy fine-tunes on a local Ray: board, Tune, logs and records on disk, as in any sweep. Overhead
is (wall time × slots - seconds measured within the units) ÷ units, once every slot has done its
first one. Short units share a trial of Tune for ten seconds, as they do in any sweep.
"""

import json
import os
import random
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

from benchmarks.answer import Answer, at_most
from tamt_ray.execution.actors import on_head
from tamt_ray.execution.cluster.connection import connected
from tamt_ray.execution.fleet.fleet import run_fleet
from tamt_ray.execution.scheduler.actor import BoardActor
from tamt_ray.execution.scheduler.client import BoardClient
from tamt_ray.execution.scheduler.placement import fleet_slots
from tamt_ray.plan.cost import ROUGH
from tamt_ray.plan.expand import Plan, expand
from tamt_ray.spec.execution import Execution
from tamt_ray.spec.sweep import Sweep
from tamt_ray.store.record import Record
from tamt_ray.store.store import Store

TRIALS = 500
SLOTS = 2


def run() -> Iterator[Answer]:
    """Milliseconds a unit."""
    with tempfile.TemporaryDirectory(prefix="tamt-benchmark-") as scratch:
        sweep = _toy(Path(scratch))
        whole = expand(sweep)
        tunes = {i: u for i, u in whole.units.items() if u.kind == "finetune" and not u.parents}
        store = Store(sweep.store)
        os.environ["OMP_NUM_THREADS"] = "1"
        with connected(None) as nodes:
            board = BoardClient(on_head(BoardActor, "board").remote(0, 1800.0))
            board.open(Plan(tunes, {}), [], [], prices=ROUGH)
            slots = fleet_slots(sweep.execution, nodes.resources, 0.0)
            slots.total = SLOTS
            run_fleet("board", store, slots, Execution())
        yield _answer(store, store.done(tunes))


def _answer(store: Store, records: Mapping[str, Record]) -> Answer:
    assert store.files.local
    folder = store.files.local / "units" / "finetune"
    ends = {unit_id: (folder / unit_id / "record.json").stat().st_mtime for unit_id in records}
    firsts: dict[str, float] = {}
    for unit_id, end in sorted(ends.items(), key=lambda each: each[1]):
        firsts.setdefault(records[unit_id].place, end)
    if len(firsts) < SLOTS:
        raise RuntimeError(f"{len(firsts)} of {SLOTS} places did a unit: this needs {SLOTS} CPUs")
    begin = sorted(firsts.values())[SLOTS - 1]
    later = [unit_id for unit_id, end in ends.items() if end > begin]
    work = sum(records[unit_id].seconds for unit_id in later)
    wall = max(ends.values()) - begin
    overhead = (wall * SLOTS - work) / len(later)
    return at_most(
        f"fleet: overhead of each of {len(records)} fine-tunes", 1e3 * overhead, 60, "ms",
        f"{SLOTS} slots, {len(firsts)} processes, {1e3 * work / len(later):.0f} ms of own work",
    )  # fmt: skip


def _toy(folder: Path) -> Sweep:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh"]
    bare = Tokenizer(models.WordLevel(dict(zip(words, range(len(words)), strict=True)), "[UNK]"))
    bare.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=bare, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
        sep_token="[SEP]", mask_token="[MASK]",
    ).save_pretrained(folder / "model")  # fmt: skip
    torch.manual_seed(0)
    BertForMaskedLM(
        BertConfig(
            vocab_size=len(words), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
            intermediate_size=64, max_position_embeddings=64,
        )
    ).save_pretrained(folder / "model")  # fmt: skip
    draw = random.Random(0)
    for name, rows in (("train", 64), ("validation", 32)):
        lines = (
            json.dumps({"text": " ".join(draw.choices("abcdefgh", k=6)), "label": number % 2})
            for number in range(rows)
        )
        (folder / f"{name}.jsonl").write_text("\n".join(lines))
    source = {"source": f"dir:{folder / 'train.jsonl'}"}
    return Sweep.model_validate({
        "name": "fleet",
        "store": str(folder / "results"),
        "models": {"tiny": {"source": f"dir:{folder / 'model'}"}},
        "corpus": {"train": source, "validation": source},
        "methods": ["omp"],
        "sparsities": [0.5],
        "finetune_seeds": list(range(TRIALS)),
        "tasks": {
            "toy": {
                "kind": "classification", "text": ["text"], "epochs": 1, "train": source,
                "validation": [{"source": f"dir:{folder / 'validation.jsonl'}"}],
            }
        },
        "execution": {"finetune": {"cpus": 1, "gpus": 0}},
    })  # fmt: skip
