"""A unit is what decides its result: nothing less enters the identity, and nothing more."""

import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamt_ray.plan.config import config_dict, parse_config
from tamt_ray.plan.expand import Plan, expand
from tamt_ray.plan.unit import Unit
from tamt_ray.spec.load import load_sweep, parse_sweep
from tamt_ray.values.identity import canonical, identity

ROOT = Path(__file__).parents[2]

TABLE = {"split": None, "delimiter": None, "header": True, "encoding": "utf-8", "part": "all",
         "tail": 0.1}  # fmt: skip
MODEL = {"source": "dir:m", "head": None, "prune": ["*"], "pooler": False, "pooling": "native",
         "parameters": 110e6}  # fmt: skip
CORPUS = {
    "train": {"source": "dir:a.txt", **TABLE}, "validation": {"source": "dir:b.txt", **TABLE},
    "column": "text", "block_size": 512, "mlm_probability": 0.15, "max_train_blocks": None,
    "max_validation_blocks": None,
}  # fmt: skip
TRAINING = {"batch_size": 16, "micro_batch": 4, "horizon": 27920, "log_every": 50,
            "precision": "float32", "gradients": "float32", "compile": False}  # fmt: skip
OPTIMIZER = {
    "lr": 5e-5, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.0, "bias_correction": True,
    "clip": 1.0, "clip_per": "all",
}  # fmt: skip
SCORING = {
    "init": "omp", "threshold": 0.01, "scale": 2.0, "ranking": "signed", "comparison": "at_least",
    "rerank_every": 1, "rerank_first": False,
}  # fmt: skip
DISTILLATION = {"kd_text": "blocks", "kd_pads": False, "teacher_dropout": False}
TASK = {
    "train": {"source": "dir:s.csv", **TABLE}, "validation": [{"source": "dir:t.csv", **TABLE}],
    "max_train": None, "max_validation": None, "reduced": {}, "weight_decay": 0.0, "eps": 1e-8,
    "clip": 1.0,
}  # fmt: skip
GLUE = {
    **TASK, "text": ["s"], "label": "label", "lr": 2e-5, "batch_size": 32, "epochs": 3,
    "max_length": 128, "eval_every": 50,
}  # fmt: skip

SPELLED_OUT: dict[str, tuple[dict[str, object], str]] = {
    "head": (
        {"kind": "head", "model": MODEL, "corpus": CORPUS,
         "training": {"steps": 5, "batch_size": 16, "micro_batch": 4, "lr": 1e-3, "seed": 1}},
        '{"corpus":{"train":{"source":"dir:a.txt"},"validation":{"source":"dir:b.txt"}},'
        '"kind":"head","model":{"source":"dir:m"},"training":{"steps":5},"version":1}',
    ),
    "random": (
        {"kind": "search", "method": "random", "model": MODEL, "sparsity": 0.5, "seed": 1},
        '{"kind":"search","method":"random","model":{"source":"dir:m"},"seed":1,"sparsity":0.5,'
        '"version":1}',
    ),
    "omp": (
        {"kind": "search", "method": "omp", "model": MODEL, "sparsity": 0.5},
        '{"kind":"search","method":"omp","model":{"source":"dir:m"},"sparsity":0.5,"version":1}',
    ),
    "given": (
        {"kind": "search", "method": "given", "model": MODEL, "sparsity": 0.5, "file": "dir:m.st"},
        '{"file":"dir:m.st","kind":"search","method":"given","model":{"source":"dir:m"},'
        '"sparsity":0.5,"version":1}',
    ),
    "imp": (
        {"kind": "search", "method": "imp", "model": MODEL, "corpus": CORPUS, "training": TRAINING,
         "optimizer": OPTIMIZER, "sparsity": 0.2, "seed": 1, "steps": 2792, "start": 0.1,
         "rewind": True, "below": None, "head": None, "workers": None},
        '{"corpus":{"train":{"source":"dir:a.txt"},"validation":{"source":"dir:b.txt"}},'
        '"kind":"search","method":"imp","model":{"source":"dir:m"},"optimizer":{},"seed":1,'
        '"sparsity":0.2,"start":0.1,"steps":2792,"training":{},"version":2}',
    ),
    "tamt": (
        {"kind": "search", "method": "tamt_kd", "model": MODEL, "corpus": CORPUS,
         "training": TRAINING, "optimizer": {**OPTIMIZER, "lr": 2e-5}, "scoring": SCORING,
         "distillation": DISTILLATION, "sparsity": 0.5, "seed": 1, "steps": 11000, "head": None,
         "workers": None},
        '{"corpus":{"train":{"source":"dir:a.txt"},"validation":{"source":"dir:b.txt"}},'
        '"kind":"search","method":"tamt_kd","model":{"source":"dir:m"},"optimizer":{"lr":2e-05},'
        '"seed":1,"sparsity":0.5,"steps":11000,"training":{},"version":1}',
    ),
    "pretrain_eval": (
        {"kind": "pretrain_eval", "model": MODEL, "corpus": CORPUS,
         "evaluation": {"batch_size": 16, "seed": 0}, "mask": None, "head": None},
        '{"corpus":{"train":{"source":"dir:a.txt"},"validation":{"source":"dir:b.txt"}},'
        '"evaluation":{},"kind":"pretrain_eval","model":{"source":"dir:m"},"version":1}',
    ),
    "classification": (
        {"kind": "finetune", "model": MODEL, "seed": 1, "mask": None,
         "task": {**GLUE, "kind": "classification", "classes": 2, "cut": None,
                  "metric": "accuracy"}},
        '{"kind":"finetune","model":{"source":"dir:m"},"seed":1,"task":{"kind":"classification",'
        '"text":["s"],"train":{"source":"dir:s.csv"},"validation":[{"source":"dir:t.csv"}]},'
        '"version":2}',
    ),
    "regression": (
        {"kind": "finetune", "model": MODEL, "seed": 1, "mask": "f" * 64,
         "task": {**GLUE, "kind": "regression", "metric": "pearson"}},
        '{"kind":"finetune","mask":"' + "f" * 64 + '","model":{"source":"dir:m"},"seed":1,'
        '"task":{"kind":"regression","text":["s"],"train":{"source":"dir:s.csv"},'
        '"validation":[{"source":"dir:t.csv"}]},"version":2}',
    ),
    "spans": (
        {"kind": "finetune", "model": MODEL, "seed": 1, "mask": None,
         "task": {**TASK, "kind": "spans", "metric": "f1", "lr": 3e-5, "batch_size": 16,
                  "epochs": 2, "max_length": 384, "doc_stride": 128, "max_query": 64,
                  "n_best": 20, "max_answer": 30, "eval_every": 1000}},
        '{"kind":"finetune","model":{"source":"dir:m"},"seed":1,"task":{"kind":"spans",'
        '"train":{"source":"dir:s.csv"},"validation":[{"source":"dir:t.csv"}]},"version":2}',
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
    short = {key: value for key, value in json.loads(text).items() if key != "version"}
    assert parse_config(short) == config


def test_one_digest_in_full() -> None:
    """sha256sum of the text for `omp` above, computed by coreutils."""
    config = parse_config(SPELLED_OUT["omp"][0])
    assert Unit(config).id == "0846161df41b67179571d377f7bf060afabd81276abd87fa6e978c12734d09a6"


def test_every_unit_of_the_main_results_survives_its_own_description() -> None:
    plan = expand(load_sweep(ROOT / "sweeps" / "main_results.yaml"))
    for unit in plan.units.values():
        written = json.loads(json.dumps(config_dict(unit.config)))
        assert Unit(parse_config(written)).id == unit.id


SWEEP = """
name: small
models: {mini: {source: "dir:m", head: {steps: 5}}}
corpus: {train: {source: "dir:a.txt"}, validation: {source: "dir:b.txt"}}
methods: [random, omp, {method: imp, steps: 7}, {method: tamt_mlm, steps: 40},
          {method: tamt_kd, steps: 50}]
sparsities: [0.2]
mask_seeds: [1]
finetune_seeds: [1]
tasks:
  stsb: {kind: regression, train: {source: "dir:s.csv"}, validation: [{source: "dir:t.csv"}],
         text: [a, b]}
  squad: {kind: spans, train: {source: "dir:q.jsonl"}, validation: [{source: "dir:r.jsonl"}]}
  movies: {kind: classification, train: {source: "dir:u.csv"}, validation: [{source: "dir:v.csv"}],
           text: [c]}
"""
METHODS = ("random", "omp", "imp", "tamt_mlm", "tamt_kd")
TRAINED = ("imp", "tamt_mlm", "tamt_kd")
TASKS = ("stsb", "squad", "movies")


def cells(plan: Plan) -> dict[str, str]:
    """`kind method task` of each cell, and the unit in it."""
    words = {
        " ".join(map(str, (c.kind, c.labels.get("method", ""), c.labels.get("task", "")))): c.unit
        for c in plan.cells
    }
    assert len(words) == len(plan.cells)
    return words


def follow(*methods: str) -> set[str]:
    """The searches, and all that reads their masks."""
    return {f"search {m} " for m in methods} | evaluations(*methods) | finetunes(*methods)


def evaluations(*methods: str) -> set[str]:
    return {f"pretrain_eval {m} " for m in methods}


def finetunes(*methods: str, tasks: tuple[str, ...] = TASKS) -> set[str]:
    return {f"finetune {m} {task}" for m in methods for task in tasks}


ALL_EVALUATIONS = evaluations("full", *METHODS)
BY_HEAD = {"head  "} | follow("imp", "tamt_mlm") | ALL_EVALUATIONS
BY_CORPUS = {"head  "} | follow(*TRAINED) | ALL_EVALUATIONS
Edit = Callable[[str], str]


def put(old: str, new: str) -> Edit:
    def edit(text: str) -> str:
        assert text.count(old) == 1, old
        return text.replace(old, new)

    return edit


def more(line: str) -> Edit:
    return lambda text: f"{text}{line}\n"


def task(name: str, words: str) -> tuple[Edit, set[str]]:
    edit = put(f"  {name}: {{", f"  {name}: {{{words}, ")
    return edit, finetunes("full", *METHODS, tasks=(name,))


DECIDES: list[tuple[Edit, set[str]]] = [
    (put("dir:m", "dir:n"), set(cells(expand(parse_sweep(SWEEP))))),
    (put('"dir:m"', '"dir:m", pooling: mean'), finetunes("full", *METHODS)),
    (put("{steps: 5}", "{steps: 6}"), BY_HEAD),
    (put("{steps: 5}", "{steps: 5, lr: 1e-4}"), BY_HEAD),
    (put("{steps: 5}", "{steps: 5, seed: 2}"), BY_HEAD),
    (put("dir:a.txt", "dir:c.txt"), BY_CORPUS),
    (put("dir:b.txt", "dir:c.txt"), BY_CORPUS),
    (put('"dir:a.txt"', '"dir:a.txt", part: head'), BY_CORPUS),
    (put('"dir:a.txt"', '"dir:a.txt", encoding: latin-1'), BY_CORPUS),
    (put("corpus: {", "corpus: {block_size: 64, "), BY_CORPUS),
    (put("corpus: {", "corpus: {mlm_probability: 0.2, "), BY_CORPUS),
    (put("corpus: {", "corpus: {max_train_blocks: 9, "), BY_CORPUS),
    (put("corpus: {", "corpus: {column: words, "), BY_CORPUS),
    *((more(f"search: {{{word}}}"), follow(*TRAINED)) for word in (
        "batch_size: 32", "micro_batch: 2", "horizon: 100")),
    (put("steps: 7", "steps: 8"), follow("imp")),
    (put('"dir:m"', '"dir:m", pooler: true'), follow(*METHODS) | ALL_EVALUATIONS),
    (put('"dir:m"', '"dir:m", prune: ["*dense*"]'), follow(*METHODS) | ALL_EVALUATIONS),
    *((put("steps: 7", f"steps: 7, {word}"), follow("imp")) for word in (
        "lr: 1e-4", "rewind: false", "weight_decay: 0.1", "eps: 1e-6", "clip: 2",
        "clip_per: tensor", "bias_correction: false", "betas: [0.9, 0.98]")),
    (put("steps: 7", "steps: 7, step: 0.05"), follow("imp")),
    *((put("steps: 40", word), follow("tamt_mlm")) for word in (
        "steps: 41", "steps: 40, lr: 1e-4", "steps: 40, init: random",
        "steps: 40, threshold: 0.02", "steps: 40, scale: 3", "steps: 40, ranking: magnitude",
        "steps: 40, comparison: above", "steps: 40, rerank_every: 9", "steps: 40, eps: 1e-6",
        "steps: 40, rerank_first: true", "steps: 40, recipe: released_code")),
    *((put("steps: 50", word), follow("tamt_kd")) for word in (
        "steps: 50, kd_text: paragraphs", "steps: 50, kd_pads: true",
        "steps: 50, teacher_dropout: true", "steps: 50, recipe: released_code")),
    (put("sparsities: [0.2]", "sparsities: [0.4]"), follow(*METHODS) - {"search full "}),
    (put("mask_seeds: [1]", "mask_seeds: [2]"), follow("random", *TRAINED)),
    (put("finetune_seeds: [1]", "finetune_seeds: [2]"), finetunes("full", *METHODS)),
    (more("pretrain_eval: {seed: 1}"), ALL_EVALUATIONS),
    *(task("stsb", word) for word in (
        "metric: spearman", "lr: 1e-4", "batch_size: 8", "epochs: 5", "max_length: 64",
        "eval_every: 10", "label: score", "max_train: 10", "max_validation: 10", "eps: 1e-6",
        "weight_decay: 0.1", "clip: 5")),
    *(task("squad", word) for word in (
        "metric: exact_match", "doc_stride: 64", "n_best: 5", "max_answer: 20", "max_query: 32")),
    *(task("movies", word) for word in ("classes: 3", "cut: {above: 1, below: 0}", "metric: f1")),
]  # fmt: skip


@pytest.mark.parametrize(("edit", "changes"), DECIDES, ids=range(len(DECIDES)))
def test_what_decides_a_result_changes_that_unit_and_what_reads_it(
    edit: Edit, changes: set[str]
) -> None:
    before, after = cells(expand(parse_sweep(SWEEP))), cells(expand(parse_sweep(edit(SWEEP))))
    assert before.keys() == after.keys()
    assert {cell for cell in before if before[cell] != after[cell]} == changes


@pytest.mark.parametrize(
    "edit",
    [
        put("name: small", "name: other\nstore: elsewhere\nmlflow: sqlite:///else.db"),
        put("mini:", "bert:"),
        put("stsb:", "similarity:"),
        put("steps: 40", "steps: 40, name: mine"),
        put("[random, omp,", "[omp, {method: random, name: luck},"),
        put('"dir:m"', '"dir:m", parameters: 5e6'),
        put("steps: 40", "steps: {0.2: 40, 0.3: 10}"),
        put("sparsities: [0.2]", "sparsities: [0.20]"),
        more("execution: {search: {workers: 2, gangs: 3, cpus: 2}, finetune: {gpus: 0.5}}"),
        more("execution: {retries: 0}"),
        more("search: {horizon: 27_920, batch_size: 16}"),
    ],
    ids=range(11),
)
def test_names_places_and_pace_change_no_unit(edit: Edit) -> None:
    before, after = expand(parse_sweep(SWEEP)), expand(parse_sweep(edit(SWEEP)))
    assert before.units.keys() == after.units.keys()


def test_the_version_of_a_kind_is_part_of_the_id(monkeypatch: pytest.MonkeyPatch) -> None:
    config = parse_config(SPELLED_OUT["omp"][0])
    before = Unit(config).id
    monkeypatch.setattr(type(config), "version", 2)
    assert Unit(config).id != before


def test_labels_never_enter() -> None:
    config = parse_config(SPELLED_OUT["omp"][0])
    assert Unit(config, {"model": "a"}).id == Unit(config, {"model": "b", "x": 1}).id


class Thing:
    pass


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, -math.inf, {1, 2}, frozenset(), Thing(), b"x", {1: 2}, {None: 1}, {2.5: 1},
     [1, [math.nan]], {"a": {"b": {3}}}, Path("x"), complex(1)],
)  # fmt: skip
def test_what_has_no_one_form_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        identity({"value": value})


def test_canonical_text_by_hand() -> None:
    value = {"b": [1, 2.5, (True, None)], "a": {"ü": "x y", "A": -0.0}, "c": 5e-5, "d": 1e21}
    assert canonical(value) == (
        '{"a":{"A":0,"\\u00fc":"x y"},"b":[1,2.5,[true,null]],"c":5e-05,"d":1000000000000000000000}'
    )


def test_one_and_one_point_zero_are_one_setting() -> None:
    assert canonical({"a": [1, 2.0]}) == canonical({"a": (1.0, 2)}) == '{"a":[1,2]}'
    assert canonical(True) != canonical(1)
    assert canonical("1") != canonical(1)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(PLAIN)
def test_canonical_text_keeps_the_value_and_is_a_fixed_point(value: object) -> None:
    text = canonical(value)
    assert json.loads(text) == value
    assert canonical(json.loads(text)) == text


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.text(), st.integers(), max_size=5), st.randoms())
def test_the_order_of_keys_does_not_matter(value: dict[str, int], draw: object) -> None:
    keys = list(value)
    draw.shuffle(keys)
    assert identity({key: value[key] for key in keys}) == identity(value)
