"""A rough price of each unit before anything is measured.

Counts multiply-adds: a training step costs 6 × weights × tokens operations, a forward pass 2. The
operations a second are those that a current data-centre GPU sustains on such models in 32 bit.
"""

from tamt_ray.plan.unit import (
    FinetuneConfig,
    HeadConfig,
    ImpConfig,
    PretrainEvalConfig,
    TamtConfig,
    Unit,
)
from tamt_ray.spec.source import parse_source
from tamt_ray.spec.task import Spans, Task

OPERATIONS_PER_SECOND = 40e12
_VALIDATION_TOKENS = 250_000
_ROWS = {
    "cola": (8551, 1043), "sst2": (67349, 872), "mnli": (392702, 9815), "mrpc": (3668, 408),
    "stsb": (5749, 1500), "rte": (2490, 277), "qnli": (104743, 5463), "qqp": (363846, 40430),
    "squad": (87599, 10570),
}  # fmt: skip
_UNKNOWN_ROWS = (10_000, 1_000)
_SENTENCE, _PASSAGE = 20, 0.5
"""Tokens of one sentence; share of `max_length` that a passage window fills."""


def gpu_seconds(unit: Unit) -> float:
    """Estimated seconds on one GPU; good to a factor of a few."""
    config = unit.config
    weights = config.model.parameters
    match config:
        case TamtConfig() | ImpConfig():
            steps = config.steps - unit.begin
            tokens = steps * config.training.batch_size * config.corpus.block_size
            teacher = 2 if "kd" in config.method else 0
            operations = (6 + teacher) * tokens * weights
        case HeadConfig():
            tokens = config.training.steps * config.training.batch_size * config.corpus.block_size
            operations = 3 * tokens * weights
        case PretrainEvalConfig():
            blocks = config.corpus.max_validation_blocks
            tokens = blocks * config.corpus.block_size if blocks else _VALIDATION_TOKENS
            operations = 4 * tokens * weights
        case FinetuneConfig(task=task):
            train, validation = _examples(task)
            steps = max(1, train * task.epochs // task.batch_size)
            evaluations = max(1, steps // task.eval_every)
            tokens = 6 * train * task.epochs + 2 * validation * evaluations * len(task.validation)
            operations = tokens * _length(task) * weights
        case _:
            operations = 0.0
    return operations / OPERATIONS_PER_SECOND + 1.0


def _examples(task: Task) -> tuple[int, int]:
    ref = parse_source(task.train.source)
    known = _ROWS.get(ref.config or ref.name.rsplit("/", 1)[-1], _UNKNOWN_ROWS)
    return (
        min(known[0], task.max_train or known[0]),
        min(known[1], task.max_validation or known[1]),
    )


def _length(task: Task) -> float:
    if isinstance(task, Spans):
        return task.max_length * _PASSAGE
    return float(min(task.max_length, _SENTENCE * len(task.text)))
