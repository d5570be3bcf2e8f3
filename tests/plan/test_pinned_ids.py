"""Ids, with all defaults behind them, stay what they are."""

import hashlib
import json
from pathlib import Path

import pytest

from tamt_ray.methods.omp import OmpSearch
from tamt_ray.methods.tamt import TamtSearch
from tamt_ray.objectives.kd import Kd
from tamt_ray.objectives.mlm import Mlm
from tamt_ray.plan.expand import expand
from tamt_ray.plan.unit import Cell, FinetuneConfig, Unit, parse_config
from tamt_ray.spec.load import load_sweep
from tamt_ray.tasks.classification import Classification
from tamt_ray.values.identity import written

ROOT = Path(__file__).parents[2]

TABLE = {"split": None, "delimiter": None, "header": True, "encoding": "utf-8", "part": "all",
         "tail": 0.1}  # fmt: skip
MODEL = {"source": "dir:m", "head": None, "prune": ["*"], "pooler": False, "pooling": "native",
         "parameters": 110e6, "role": None}  # fmt: skip
TEXT = {"column": "text", "form": "blocks", "block_size": 512, "limit": None,
        "mlm_probability": 0.15, "one_token": False}  # fmt: skip
TRAIN = {"table": {"source": "dir:a.txt", **TABLE}, **TEXT}
VALIDATION = {"table": {"source": "dir:b.txt", **TABLE}, **TEXT}
TRAINING = {"batch_size": 16, "micro_batch": 4, "decay_steps": 27920, "log_every": 50,
            "precision": "float32", "gradients": "float32", "compile": False}  # fmt: skip
OPTIMIZER = {
    "lr": 5e-5, "head_lr": None, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.0,
    "bias_correction": True, "early_eps": False, "clip": 1.0, "clip_per": "all",
}  # fmt: skip
SCORING = {
    "init": "omp", "threshold": 0.01, "scale": 2.0, "ranking": "signed", "comparison": "at_least",
    "rerank_every": 1, "rerank_early": False,
}  # fmt: skip
HALF = {"sparsity": 0.5, "pattern": "unstructured"}
MLM = {"objective": "mlm", "weight": 1.0}
KD = {"objective": "kd", "weight": 1.0, "pads": False, "teacher_dropout": False}
TASK = {
    "train": {"source": "dir:s.csv", **TABLE}, "validation": [{"source": "dir:t.csv", **TABLE}],
    "role": None,
    "max_train": None, "max_validation": None, "reduced": {}, "weight_decay": 0.0, "eps": 1e-8,
    "clip": 1.0, "precision": "float32",
}  # fmt: skip
GLUE = {
    **TASK, "text": ["s"], "label": "label", "lr": 2e-5, "batch_size": 32, "epochs": 3,
    "max_length": 128, "eval_every": 50,
}  # fmt: skip

SPELLED_OUT: dict[str, tuple[dict[str, object], str]] = {
    "head": (
        {"kind": "head", "model": MODEL, "text": TRAIN,
         "training": {"steps": 5, "batch_size": 16, "micro_batch": 4, "lr": 1e-3, "seed": 1}},
        '{"kind":"head","model":{"source":"dir:m"},"text":{"table":{"source":"dir:a.txt"}},'
        '"training":{"steps":5}}',
    ),
    "random": (
        {"kind": "search", "method": "random", "model": MODEL, **HALF, "seed": 1},
        '{"kind":"search","method":"random","model":{"source":"dir:m"},"seed":1,"sparsity":0.5}',
    ),
    "omp": (
        {"kind": "search", "method": "omp", "model": MODEL, **HALF, "per": "matrix"},
        '{"kind":"search","method":"omp","model":{"source":"dir:m"},"sparsity":0.5}',
    ),
    "imported": (
        {"kind": "search", "method": "imported", "model": MODEL, **HALF,
         "file": "dir:m.st"},
        '{"file":"dir:m.st","kind":"search","method":"imported","model":{"source":"dir:m"},'
        '"sparsity":0.5}',
    ),
    "imp": (
        {"kind": "search", "method": "imp", "model": MODEL, "text": TRAIN, "training": TRAINING,
         "optimizer": OPTIMIZER, **HALF, "sparsity": 0.2, "seed": 1, "steps": 2792, "start": 0.1,
         "rewind": True, "level_below": None, "head": None, "workers": None},
        '{"kind":"search","method":"imp","model":{"source":"dir:m"},"optimizer":{},"seed":1,'
        '"sparsity":0.2,"start":0.1,"steps":2792,"text":{"table":{"source":"dir:a.txt"}},'
        '"training":{},"version":2}',
    ),
    "tamt": (
        {"kind": "search", "method": "tamt", "model": MODEL,
         "text": {**TRAIN, "form": "documents"},
         "training": TRAINING, "optimizer": {**OPTIMIZER, "lr": 2e-5}, "scoring": SCORING,
         "objective": [MLM, {**KD, "weight": 0.5}], **HALF, "seed": 1, "steps": 11000,
         "head": None, "workers": None},
        '{"kind":"search","method":"tamt","model":{"source":"dir:m"},"objective":['
        '{"objective":"mlm"},{"objective":"kd","weight":0.5}],"optimizer":{"lr":2e-05},"seed":1,'
        '"sparsity":0.5,"steps":11000,"text":{"form":"documents","table":{"source":"dir:a.txt"}},'
        '"training":{},"version":2}',
    ),
    "movement": (
        {"kind": "search", "method": "movement", "model": MODEL, "text": TRAIN,
         "training": TRAINING, "optimizer": OPTIMIZER, **HALF, "seed": 1, "steps": 11000,
         "settle": 0.25, "head": None, "workers": None},
        '{"kind":"search","method":"movement","model":{"source":"dir:m"},"optimizer":{},"seed":1,'
        '"sparsity":0.5,"steps":11000,"text":{"table":{"source":"dir:a.txt"}},"training":{}}',
    ),
    "wanda": (
        {"kind": "search", "method": "wanda", "model": MODEL, "text": TRAIN, **HALF, "seed": 1,
         "per": "matrix", "batches": 64, "batch_size": 4, "head": None},
        '{"batch_size":4,"batches":64,"kind":"search","method":"wanda",'
        '"model":{"source":"dir:m"},"seed":1,"sparsity":0.5,'
        '"text":{"table":{"source":"dir:a.txt"}}}',
    ),
    "fisher": (
        {"kind": "search", "method": "fisher", "model": MODEL, "text": TRAIN, **HALF, "seed": 1,
         "per": "matrix", "batches": 256, "batch_size": 1, "head": None},
        '{"batch_size":1,"batches":256,"kind":"search","method":"fisher",'
        '"model":{"source":"dir:m"},"seed":1,"sparsity":0.5,'
        '"text":{"table":{"source":"dir:a.txt"}}}',
    ),
    "shuffled": (
        {"kind": "search", "method": "shuffled", "model": MODEL, **HALF, "of": "x",
         "within": "matrix", "seed": 1},
        '{"kind":"search","method":"shuffled","model":{"source":"dir:m"},"of":"x","seed":1,'
        '"sparsity":0.5,"within":"matrix"}',
    ),
    "pretrain_eval": (
        {"kind": "pretrain_eval", "model": MODEL, "text": VALIDATION, "objectives": [MLM, KD],
         "evaluation": {"batch_size": 16, "seed": 0, "precision": "float32"},
         "mask": None, "head": None},
        '{"evaluation":{},"kind":"pretrain_eval","model":{"source":"dir:m"},"objectives":'
        '[{"objective":"mlm"},{"objective":"kd"}],"text":{"table":{"source":"dir:b.txt"}},'
        '"version":2}',
    ),
    "classification": (
        {"kind": "finetune", "model": MODEL, "seed": 1, "mask": None,
         "task": {**GLUE, "kind": "classification", "classes": 2, "cut": None,
                  "metric": "accuracy"}},
        '{"kind":"finetune","model":{"source":"dir:m"},"seed":1,"task":{"kind":"classification",'
        '"text":["s"],"train":{"source":"dir:s.csv"},"validation":[{"source":"dir:t.csv"}]},'
        '"version":3}',
    ),
    "regression": (
        {"kind": "finetune", "model": MODEL, "seed": 1, "mask": "f" * 64,
         "task": {**GLUE, "kind": "regression", "metric": "pearson"}},
        '{"kind":"finetune","mask":"' + "f" * 64 + '","model":{"source":"dir:m"},"seed":1,'
        '"task":{"kind":"regression","text":["s"],"train":{"source":"dir:s.csv"},'
        '"validation":[{"source":"dir:t.csv"}]},"version":3}',
    ),
    "spans": (
        {"kind": "finetune", "model": MODEL, "seed": 1, "mask": None,
         "task": {**TASK, "kind": "spans", "metric": "f1", "lr": 3e-5, "batch_size": 16,
                  "epochs": 2, "max_length": 384, "doc_stride": 128, "max_query": 64,
                  "n_best": 20, "max_answer": 30, "eval_every": 1000}},
        '{"kind":"finetune","model":{"source":"dir:m"},"seed":1,"task":{"kind":"spans",'
        '"train":{"source":"dir:s.csv"},"validation":[{"source":"dir:t.csv"}]},"version":3}',
    ),
}  # fmt: skip
"""Each kind with every default written out by hand, and the text behind its id.

A changed or added default changes what stands behind old ids: raise the kind's `version`.
"""


@pytest.mark.parametrize(("whole", "text"), SPELLED_OUT.values(), ids=SPELLED_OUT)
def test_the_defaults_behind_an_id_are_pinned(whole: dict[str, object], text: str) -> None:
    config = parse_config(whole)
    assert Unit(config).id == hashlib.sha256(text.encode()).hexdigest()
    assert config.model_dump(mode="json") == whole
    assert parse_config(json.loads(text)) == config


def test_one_digest_in_full() -> None:
    """sha256sum of the text for `omp` above, computed by coreutils."""
    config = parse_config(SPELLED_OUT["omp"][0])
    assert Unit(config).id == "fa3fe14aeed5862e656ea1a5f00c3c8e51b7ca9ce9496d953295b7890eb7e630"


def test_every_unit_of_the_main_results_survives_its_own_description() -> None:
    plan = expand(load_sweep(ROOT / "sweeps" / "main_results.yaml"))
    for unit in plan.units.values():
        stored = json.loads(json.dumps(written(unit.config)))
        assert Unit(parse_config(stored)).id == unit.id


@pytest.mark.parametrize(
    ("kind", "parts"),
    [("omp", [OmpSearch]), ("tamt", [TamtSearch, Kd, Mlm]), ("pretrain_eval", [Kd]),
     ("classification", [Classification, FinetuneConfig])],
)  # fmt: skip
def test_the_version_of_whatever_computes_is_part_of_the_id(
    kind: str, parts: list[type], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = parse_config(SPELLED_OUT[kind][0])
    for part in parts:
        before = Unit(config).id
        monkeypatch.setattr(part, "version", 9)
        assert Unit(config).id != before


def test_the_cell_never_enters() -> None:
    config = parse_config(SPELLED_OUT["omp"][0])
    assert Unit(config, Cell("a")).id == Unit(config, Cell("b", seed=1)).id
