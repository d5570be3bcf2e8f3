"""A unit is what decides its result: nothing less enters the identity, and nothing more."""

from collections.abc import Callable

import pytest

from tamt_ray.plan.expand import Plan, expand
from tamt_ray.spec.load import parse_sweep

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
        f"{kind} {cell.method} {cell.task}": unit
        for kind, cells in plan.cells.items()
        for cell, unit in cells.items()
    }
    assert len(words) == sum(map(len, plan.cells.values()))
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
BY_TRAINING_TEXT = {"head  "} | follow(*TRAINED) | ALL_EVALUATIONS
"""Evaluations read the trained head."""
Edit = Callable[[str], str]


def put(old: str, new: str) -> Edit:
    def edit(text: str) -> str:
        assert text.count(old) == 1, old
        return text.replace(old, new)

    return edit


def more(line: str) -> Edit:
    return lambda text: f"{text}{line}\n"


def distilled(words: str) -> Edit:
    """The loss term of `tamt_kd` with settings."""
    term = f"objective: [{{objective: kd, {words}}}]"
    return put("{method: tamt_kd,", f"{{method: tamt, name: tamt_kd, {term},")


def task(name: str, words: str) -> tuple[Edit, set[str]]:
    edit = put(f"  {name}: {{", f"  {name}: {{{words}, ")
    return edit, finetunes("full", *METHODS, tasks=(name,))


DECIDES: list[tuple[Edit, set[str]]] = [
    (put("dir:m", "dir:n"), set(cells(expand(parse_sweep(SWEEP))))),
    (put('"dir:m"', '"dir:m", pooling: mean'), finetunes("full", *METHODS)),
    (put("{steps: 5}", "{steps: 6}"), BY_HEAD),
    (put("{steps: 5}", "{steps: 5, lr: 1e-4}"), BY_HEAD),
    (put("{steps: 5}", "{steps: 5, seed: 2}"), BY_HEAD),
    (put("dir:a.txt", "dir:c.txt"), BY_TRAINING_TEXT),
    (put("dir:b.txt", "dir:c.txt"), ALL_EVALUATIONS),
    (put('"dir:a.txt"', '"dir:a.txt", part: head'), BY_TRAINING_TEXT),
    (put('"dir:a.txt"', '"dir:a.txt", encoding: latin-1'), BY_TRAINING_TEXT),
    (put("corpus: {", "corpus: {block_size: 64, "), BY_TRAINING_TEXT),
    # Distillation reads clean text.
    (put("corpus: {", "corpus: {mlm_probability: 0.2, "),
     BY_TRAINING_TEXT - {"search tamt_kd "} - finetunes("tamt_kd")),
    (put("corpus: {", "corpus: {max_train_blocks: 9, "), BY_TRAINING_TEXT),
    (put("corpus: {", "corpus: {max_validation_blocks: 9, "), ALL_EVALUATIONS),
    (put("corpus: {", "corpus: {column: words, "), BY_TRAINING_TEXT),
    *((more(f"search: {{{word}}}"), follow(*TRAINED)) for word in (
        "batch_size: 32", "micro_batch: 2", "decay_steps: 100", "precision: tf32",
        "compile: true")),
    (put("steps: 7", "steps: 8"), follow("imp")),
    (put('"dir:m"', '"dir:m", pooler: true'), follow(*METHODS) | ALL_EVALUATIONS),
    (put('"dir:m"', '"dir:m", prune: ["*dense*"]'), follow(*METHODS) | ALL_EVALUATIONS),
    *((put("steps: 7", f"steps: 7, {word}"), follow("imp")) for word in (
        "lr: 1e-4", "head_lr: 1e-3", "decay_steps: 99", "early_eps: true", "rewind: false",
        "weight_decay: 0.1", "eps: 1e-6", "clip: 2",
        "clip_per: tensor", "bias_correction: false", "betas: [0.9, 0.98]")),
    (put("steps: 7", "steps: 7, step: 0.05"), follow("imp")),
    *((put("steps: 40", word), follow("tamt_mlm")) for word in (
        "steps: 41", "steps: 40, lr: 1e-4", "steps: 40, head_lr: 1e-3", "steps: 40, init: random",
        "steps: 40, threshold: 0.02", "steps: 40, scale: 3", "steps: 40, ranking: magnitude",
        "steps: 40, comparison: above", "steps: 40, rerank_every: 9", "steps: 40, eps: 1e-6",
        "steps: 40, rerank_early: true", "steps: 40, recipe: released_code",
        "steps: 40, recipe: short")),
    *((put("steps: 50", word), follow("tamt_kd")) for word in (
        "steps: 50, text: documents", "steps: 50, corruption: mlm",
        "steps: 50, corruption: one_token", "steps: 50, decay_steps: 99",
        "steps: 50, recipe: released_code")),
    *((distilled(word), follow("tamt_kd")) for word in (
        "pads: true", "teacher_dropout: true", "weight: 0.5")),
    (put("sparsities: [0.2]", "sparsities: [0.4]"), follow(*METHODS) - {"search full "}),
    (put("mask_seeds: [1]", "mask_seeds: [2]"), follow("random", *TRAINED)),
    (put("finetune_seeds: [1]", "finetune_seeds: [2]"), finetunes("full", *METHODS)),
    (more("pretrain_eval: {seed: 1}"), ALL_EVALUATIONS),
    *(task("stsb", word) for word in (
        "lr: 1e-4", "batch_size: 8", "epochs: 5", "max_length: 64",
        "eval_every: 10", "label: score", "max_train: 10", "max_validation: 10", "eps: 1e-6",
        "weight_decay: 0.1", "clip: 5", "precision: bfloat16")),
    *(task("squad", word) for word in (
        "doc_stride: 64", "n_best: 5", "max_answer: 20", "max_query: 32")),
    *(task("movies", word) for word in ("classes: 3", "cut: {above: 1, below: 0}")),
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
        put("steps: 40", "steps: 40, corruption: mlm"),
        put("steps: 50", "steps: 50, corruption: none"),
        put("steps: 50", "steps: 50, decay_steps: 27920"),
        put("[random, omp,", "[omp, {method: random, name: luck},"),
        put('"dir:m"', '"dir:m", parameters: 5e6'),
        put("steps: 40", "steps: {0.2: 40, 0.3: 10}"),
        put("sparsities: [0.2]", "sparsities: [0.20]"),
        more("execution: {search: {workers: 2, gangs: 3, cpus: 2}, finetune: {gpus: 0.5}}"),
        more("execution: {retries: 0}"),
        more("search: {decay_steps: 27_920, batch_size: 16}"),
        more("search: {log_every: 7}"),
        put("stsb: {", "stsb: {metric: spearman, "),
        put("squad: {", "squad: {metric: exact_match, "),
        put("movies: {", "movies: {metric: matthews, "),
        distilled("pads: false"),
        put("{method: tamt_mlm,", "{method: tamt, objective: [mlm],"),
        put("{steps: 5}", "{steps: 5, batch_size: 16}"),
    ],
    ids=range(21),
)
def test_names_places_and_pace_change_no_unit(edit: Edit) -> None:
    before, after = expand(parse_sweep(SWEEP)), expand(parse_sweep(edit(SWEEP)))
    assert before.units.keys() == after.units.keys()
