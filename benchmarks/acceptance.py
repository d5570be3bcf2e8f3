"""What a GPU has to show: `python -m benchmarks.acceptance [--only NAME ...]`, ten minutes at most.

Needs Torch, transformers and pydantic, and accelerate for the line on `Trainer`. Each section has a
process of its own; a table says at the end what holds and what does not. On a machine without GPU
all runs at toy size, where speeds have no target: that shows only that it runs.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.answer import Answer, at_least, at_most
from benchmarks.dense_step import DenseStep
from benchmarks.released_step import ReleasedStep
from benchmarks.search_step import SPARSITY, drawing, mask_training, spread
from benchmarks.shape import BASE, Shape
from tamt_ray.data.checkpoint import Checkpoint
from tamt_ray.data.history import History
from tamt_ray.finetune import loop
from tamt_ray.finetune.model import Encoder
from tamt_ray.finetune.vocabulary import tokens_of
from tamt_ray.masks.mask import Mask, apply_mask, pruned_nonzero
from tamt_ray.masks.matrices import prunable_matrices
from tamt_ray.masks.select import Matrices, keep_by_sorting, keep_largest, make_pruner, zeros_at
from tamt_ray.objectives.base import Objective
from tamt_ray.objectives.kd import Kd
from tamt_ray.objectives.mlm import Mlm
from tamt_ray.search.engine import Engine
from tamt_ray.search.tamt import MaskedWeights
from tamt_ray.tasks.classification import Classification
from tamt_ray.tasks.features.examples import Batch, PackedSequences
from tamt_ray.tasks.scores import Evaluation
from tamt_ray.values.model import Model

CUDA = torch.cuda.is_available()
DEVICE = torch.device("cuda" if CUDA else "cpu")
LARGE = replace(BASE, length=512, blocks=230_000) if CUDA else Shape("toy", 1, 24, 2, 32)
SMALL = Shape("2 layers, hidden 384", 2, 384, 8) if CUDA else Shape("toy", 1, 12, 2, 16)
REPEATS = 20 if CUDA else 1
TERMS: dict[str, list[Objective]] = {"mlm": [Mlm()], "kd": [Kd()], "mlm_kd": [Mlm(), Kd()]}
BUDGET = 570.0
"""Seconds of all sections together."""


def speed(answer: Answer) -> Answer:
    """The answer, which has a target on GPUs only."""
    return answer if CUDA else replace(answer, target="-", meets=True)


def fact(question: str, measured: float, detail: str = "") -> Answer:
    """A number without a target."""
    return Answer(question, measured, "-", True, detail)


def wait() -> None:
    """Let the device finish."""
    if CUDA:
        torch.cuda.synchronize()


def milliseconds(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """One call's time by the clock on the wall, the median of three blocks of calls."""
    for _ in range(3 if CUDA else 1):
        work()
    found: list[float] = []
    for _ in range(3):
        wait()
        begin = time.perf_counter()
        for _ in range(repeats):
            work()
        wait()
        found.append(1e3 * (time.perf_counter() - begin) / repeats)
    return median(found)


def sizes(shape: Shape) -> list[tuple[int, int]]:
    """Of the matrices that a search ranks."""
    inner, square = 4 * shape.hidden, (shape.hidden, shape.hidden)
    wide = (inner, shape.hidden)
    return [(30522, shape.hidden), *([*[square] * 4, wide, wide[::-1]] * shape.layers)]


def matrices(scores: list[Tensor]) -> Matrices:
    """The scores on the device, beside random weights."""
    named = {str(number): score.to(DEVICE) for number, score in enumerate(scores)}
    dense = {name: torch.randn_like(score) for name, score in named.items()}
    masked = {name: torch.full_like(score, 7.0) for name, score in named.items()}
    zeros = {name: zeros_at(SPARSITY, score.numel()) for name, score in named.items()}
    return Matrices(named, dense, masked, zeros, magnitude=False)


def selection() -> Iterator[Answer]:
    """Masks against a stable sort on the CPU, and what a selection costs."""
    draw = torch.Generator().manual_seed(1)
    chosen = sizes(LARGE)[:6] if CUDA else [(96, 96), (300, 100), (7, 3)]

    def kinds(size: tuple[int, int]) -> list[Tensor]:
        noise = torch.randn(size, generator=draw)
        heaps = 0.02 * (torch.rand(size, generator=draw) > SPARSITY)
        rare = torch.rand(size[0], 1, generator=draw) < 0.4
        signs = torch.randint(-1, 2, size, generator=draw) * 0.0
        return [heaps, heaps + 0.01 * noise, heaps + 5e-3 * noise * rare, noise.round(decimals=1),
                torch.full(size, 0.25), signs, noise.masked_fill(noise > 2, torch.nan)]  # fmt: skip

    given = matrices([scores for size in chosen for scores in kinds(size)])
    pruner, wrong = make_pruner(given), 0
    for _ in range(2):
        pruner.prune()
        for name, score in given.scores.items():
            keep = keep_by_sorting(score.cpu(), given.zeros[name])
            expected = torch.where(keep, given.dense[name].cpu(), 0.0)
            wrong += int((given.weights[name].cpu() != expected).sum())
            score.neg_()
    yield at_most("bits that differ from a stable sort on the CPU", wrong, 0, "bits", _name(pruner))
    del given, pruner
    shape = replace(LARGE, name="BERT-base") if CUDA else LARGE
    scores = [torch.rand(size, generator=draw) for size in sizes(shape)]
    given = matrices(scores)
    pruner = make_pruner(given)
    question = f"selecting in all matrices of {shape.name} and writing W ⊙ M"
    yield speed(at_most(question, milliseconds(pruner.prune), 1.5, "ms", _name(pruner)))
    zeros = given.zeros

    def kthvalue() -> None:
        for name, score in given.scores.items():
            score.view(-1).kthvalue(zeros[name])

    yield fact("the same matrices by kthvalue, ms", milliseconds(kthvalue, 1))
    if CUDA:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            pruner.prune()
        for weight in given.weights.values():
            weight.fill_(7.0)
        graph.replay()
        kept = keep_largest(given.scores["1"].cpu(), zeros["1"])
        captured = torch.where(kept, given.dense["1"].cpu(), 0.0).equal(given.weights["1"].cpu())
        yield at_least("a CUDA graph holds the selection", captured, 1, "")


def _name(value: object) -> str:
    return type(value).__name__


def searches() -> Iterator[Answer]:
    """A search's masks are cuts of its own scores, its losses those of the CPU."""
    with tempfile.TemporaryDirectory(prefix="tamt-acceptance-") as scratch:
        path = Path(scratch)
        SMALL.save(path, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
        for name, terms in TERMS.items():
            weights, here = mask_training(path, SMALL, terms, device=DEVICE)
            there = mask_training(path, SMALL, terms)[1]
            here.run(until=6)
            there.run(until=6)
            yield at_most(f"{name}: bits that are no cut of the scores", _uncut(weights), 0, "bits")
            apart = abs(_first_loss(here) / _first_loss(there) - 1)
            yield at_most(f"{name}: first loss beside the CPU's", apart, 1e-3, "relative")
    with tempfile.TemporaryDirectory(prefix="tamt-acceptance-") as scratch:
        path = Path(scratch)
        SMALL.save(path)
        for precision in ("float32", "tf32", "bfloat16"):
            yield from _twice(path, precision)
        if CUDA:
            yield _reads(path)


def _uncut(weights: MaskedWeights) -> int:
    """How many bits of the mask, and of the live weights, are not those of the scores."""
    mask, wrong = weights.mask(), 0
    for name, scores in weights.scores.items():
        score = scores.detach().cpu()
        expected = keep_by_sorting(score, zeros_at(SPARSITY, score.numel()))
        live, dense = weights._weights[name].detach().cpu(), weights._dense[name].cpu()
        wrong += int((mask[name] != expected).sum())
        wrong += int((live != torch.where(expected, dense, 0.0)).sum())
    return wrong


def _first_loss(engine: Engine) -> float:
    return next(point.value for point in engine.history.points if point.name == "loss")


def _twice(path: Path, precision: str) -> Iterator[Answer]:
    for strict in (False, True):
        torch.use_deterministic_algorithms(strict)
        runs: list[list[Tensor]] = []
        try:
            for _ in range(2):
                weights, engine = mask_training(
                    path, SMALL, [Mlm()], device=DEVICE, precision=precision, micro_batch=2
                )
                engine.run(until=8)
                runs.append([score.detach() for score in weights.scores.values()])
        finally:
            torch.use_deterministic_algorithms(False)
        same = all(map(torch.equal, *runs))
        question = f"{precision}: the same seed twice, the same bits"
        if strict:
            yield at_least(f"{question}, with deterministic algorithms", same, 1, "")
        else:
            yield fact(question, same)


def _reads(path: Path) -> Answer:
    """How often the host waits in ten steps: one look at their losses, one logged step."""
    _, engine = mask_training(path, SMALL, TERMS["mlm_kd"], device=DEVICE)
    engine.run(until=10)
    torch.cuda.set_sync_debug_mode("warn")
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        engine.run(until=20)
    torch.cuda.set_sync_debug_mode("default")
    return at_most("reads by the host in ten steps, the last one logged", len(seen), 2, "")


@contextmanager
def computing(precision: str) -> Generator[None]:
    """For contestants that know nothing of precision."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    with torch.autocast(DEVICE.type, torch.bfloat16, enabled=precision == "bfloat16"):
        yield
    torch.set_float32_matmul_precision(before)


def steps(precision: str, compiled: bool) -> Iterator[Answer]:
    """Our step beside the dense one and the released code's."""
    with tempfile.TemporaryDirectory(prefix="tamt-acceptance-") as scratch:
        path = Path(scratch)
        LARGE.save(path)
        spent: dict[str, float] = {}
        for who in ("dense", "ours", "ours, kd", "released"):
            if compiled and who in {"released", "ours, kd"}:
                continue
            work = _contestant(who, path, precision, compiled)
            work()
            wait()
            if CUDA:
                torch.cuda.reset_peak_memory_stats()
            spent[who] = milliseconds(work)
            peak = torch.cuda.max_memory_allocated() / 2**30 if CUDA else 0.0
            yield fact(f"{precision}: step of {who}, ms", spent[who], f"{peak:.2f} GiB at most")
            del work
            if CUDA:
                torch.cuda.empty_cache()
    kind = f"{precision}, compiled" if compiled else precision
    limit = 1.15 if compiled else 1.10
    ratio = spent["ours"] / spent["dense"]
    yield speed(at_most(f"{kind}: tamt_mlm step over the dense step", ratio, limit, "x"))
    if "released" in spent:
        gain = spent["released"] / spent["ours"]
        yield speed(at_least(f"{kind}: released code's step over ours", gain, 2, "x"))


def _contestant(who: str, path: Path, precision: str, compiled: bool) -> Callable[[], object]:
    if who.startswith("ours"):
        weights, engine = mask_training(
            path, LARGE, TERMS["kd" if who.endswith("kd") else "mlm"], device=DEVICE,
            precision=precision, compile=compiled,
        )  # fmt: skip
        spread(weights)
        return lambda: engine.run(until=engine.step + 1)
    peer = DenseStep(path, "mlm") if who == "dense" else ReleasedStep(path, SPARSITY)
    peer.model.to(DEVICE)
    if compiled:
        peer.model.bert.compile()
    step = drawing(LARGE, peer, DEVICE)

    def work() -> None:
        with computing(precision):
            step()

    return work


@dataclass(frozen=True)
class Words:
    """Sentences of random words with random classes."""

    sequences: PackedSequences
    targets: Tensor
    count: int = 0
    nbytes: int = 0
    fingerprint: str = ""

    @classmethod
    def drawn(cls, count: int) -> "Words":
        """So many, of lengths as in CoLA."""
        draw = np.random.default_rng(0)
        lengths = np.clip(draw.lognormal(3.0, 0.5, count).astype(np.int64), 6, LARGE.length - 1)
        starts = np.concatenate([[0], lengths.cumsum()])
        ids = draw.integers(999, 8000, starts[-1]).astype(np.int32)
        return cls(
            PackedSequences(ids, None, starts, 0), torch.from_numpy(draw.integers(0, 2, count))
        )

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy."""
        targets = self.targets[torch.from_numpy(batch.indices)].to(outputs.device)
        return functional.cross_entropy(outputs, targets)


TABLE = {"source": "dir:x", "split": "train"}
TASK = Classification.model_validate(
    {
        "kind": "classification", "train": TABLE, "validation": [TABLE], "text": ["a"],
        "batch_size": 32, "epochs": 1, "eval_every": 10**6,
    }
)  # fmt: skip


def _finetune(path: Path, count: int) -> tuple[float, int, History]:
    """Seconds of so many steps under a mask of 50 %, pruned weights that moved, and the losses."""
    data, warm = Words.drawn(32 * count), Words.drawn(64)
    encoder = Encoder(Checkpoint(path, "x"), DEVICE)
    tokens = tokens_of([data.sequences, warm.sequences])
    network = encoder.network(Model(source="dir:x"), TASK, 1, tokens)
    names = prunable_matrices(encoder.body)
    masked = encoder.masked(Mask.by_magnitude({n: encoder._original[n] for n in names}, 0.5))
    apply_mask(*masked)
    history = History()
    # Metrics need scikit-learn and are no part of a step.
    with patch.object(loop, "_evaluate", lambda *_: Evaluation(0, {})):
        loop.fine_tune(network, warm, [], TASK, 1, DEVICE, History(), None)
        wait()
        begin = time.perf_counter()
        loop.fine_tune(network, data, [], TASK, 1, DEVICE, history, None)
        wait()
    return time.perf_counter() - begin, pruned_nonzero(*masked), history


def finetunes() -> Iterator[Answer]:
    """A fine-tune under a mask beside `Trainer`, which masks nothing, on the same batches."""
    count = 60 if CUDA else 2
    with tempfile.TemporaryDirectory(prefix="tamt-acceptance-") as scratch:
        path = Path(scratch)
        LARGE.save(path)
        seconds, moved, _ = _finetune(path, count)
        yield at_most("pruned weights that moved in a fine-tune", moved, 0, "weights")
        yield fact("step of a fine-tune, ms", 1e3 * seconds / count)
        if importlib.util.find_spec("accelerate"):
            gain = _trainer(path, count) / seconds
            yield speed(at_least("Trainer's time over that of a fine-tune", gain, 1.3, "x"))
        else:
            yield fact("Trainer was left out: pip install accelerate", 0)


def _trainer(path: Path, count: int) -> float:
    """Seconds of as many steps in `Trainer`."""
    from transformers import AutoModelForSequenceClassification, Trainer, TrainingArguments

    data = Words.drawn(32 * count)
    starts, ids = data.sequences.starts, torch.from_numpy(data.sequences.ids.astype(np.int64))
    order = np.concatenate(loop.epoch_batches(data.sequences.lengths, 32, 1, 0)).tolist()
    rows = [
        {"ids": ids[starts[row] : starts[row + 1]], "label": data.targets[row]} for row in order
    ]

    def collate(some: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        padded = torch.nn.utils.rnn.pad_sequence([row["ids"] for row in some], batch_first=True)
        labels = torch.stack([row["label"] for row in some])
        return {"input_ids": padded, "attention_mask": (padded != 0).long(), "labels": labels}

    model = AutoModelForSequenceClassification.from_pretrained(path, num_labels=2)
    given = TrainingArguments(
        output_dir=str(path / "out"), num_train_epochs=1, per_device_train_batch_size=32,
        use_cpu=not CUDA, train_sampling_strategy="sequential", save_strategy="no",
        eval_strategy="no", logging_strategy="no", report_to="none", disable_tqdm=True,
        remove_unused_columns=False,
    )  # fmt: skip
    spent = 0.0
    for part in (rows[:64], rows):
        peer = Trainer(model=model, args=given, train_dataset=part, data_collator=collate)
        spent = peer.train().metrics["train_runtime"]
    return spent


def beside() -> Iterator[Answer]:
    """Fine-tunes that share a GPU: how many steps a second, all together."""
    many, count = (8, 60) if CUDA else (2, 2)
    with tempfile.TemporaryDirectory(prefix="tamt-acceptance-") as scratch:
        LARGE.save(Path(scratch, "model"))
        alone, together = (_together(Path(scratch), workers, count) for workers in (1, many))
    question = f"steps per second of {many} fine-tunes on one device over those of one"
    yield speed(at_least(question, together / alone, 3, "x"))


def _together(scratch: Path, workers: int, count: int) -> float:
    """Steps a second of so many processes that begin together."""
    go = scratch / f"go{workers}"
    call = [sys.executable, "-m", "benchmarks.acceptance", "--worker", str(scratch)]
    running = [
        subprocess.Popen([*call, str(workers), str(count)], stdout=subprocess.PIPE, text=True)
        for _ in range(workers)
    ]
    while len(list(scratch.glob(f"ready{workers}-*"))) < workers:
        if any(process.poll() for process in running):
            break  # Those that wait for it shall end.
        time.sleep(0.05)
    go.touch()
    spent = [float(process.communicate(timeout=200)[0].splitlines()[-1]) for process in running]
    return workers * count / max(spent)


def worker(scratch: Path, workers: int, count: int) -> float:
    """Seconds of one fine-tune among others, each with its share of the memory."""
    if CUDA and workers > 1:
        torch.cuda.set_per_process_memory_fraction(1 / workers)
    torch.set_num_threads(1)
    _finetune(scratch / "model", 1)
    (scratch / f"ready{workers}-{os.getpid()}").touch()
    while not (scratch / f"go{workers}").exists():
        time.sleep(0.01)
    return _finetune(scratch / "model", count)[0]


Section = Callable[[], Iterator[Answer]]
SECTIONS: dict[str, tuple[Section, float]] = {
    "selection": (selection, 90),
    "searches": (searches, 120),
    "steps-float32": (partial(steps, "float32", False), 100),
    "steps-tf32": (partial(steps, "tf32", False), 80),
    "steps-bfloat16": (partial(steps, "bfloat16", False), 80),
    "finetunes": (finetunes, 90),
    "beside": (beside, 90),
    **({"compiled": (partial(steps, "bfloat16", True), 120)} if CUDA else {}),
}
"""What is measured, and the seconds that it may take."""


def _apart(name: str, limit: float) -> list[Answer]:
    """What a section says in a process of its own."""
    words = [sys.executable, "-m", "benchmarks.acceptance", "--section", name]
    # Deterministic algorithms ask for this before CUDA starts.
    given = {**os.environ, "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    try:
        done = subprocess.run(words, env=given, capture_output=True, text=True, timeout=limit)
        said, broken = done.stdout, done.stderr[-400:] if done.returncode else ""
    except subprocess.TimeoutExpired as late:
        said = (late.stdout or b"").decode()
        broken = f"took more than {limit:.0f} s"
    found = [Answer(**json.loads(line)) for line in said.splitlines() if line.startswith('{"')]
    if broken:
        found.append(Answer(f"{name} came to its end", 0, "-", False, broken))
    return found


def main() -> int:
    """Measure, and print the table; the number of lines that do not hold."""
    parser = argparse.ArgumentParser("acceptance", description="What a GPU has to show.")
    parser.add_argument("--only", nargs="*", metavar="NAME", choices=SECTIONS)
    parser.add_argument("--section", choices=SECTIONS, help=argparse.SUPPRESS)
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.worker:
        scratch, workers, count = asked.worker
        sys.stdout.write(f"{worker(Path(scratch), int(workers), int(count))}\n")
        return 0
    if asked.section:
        for answer in SECTIONS[asked.section][0]():
            sys.stdout.write(f"{answer.to_json()}\n")
            sys.stdout.flush()
        return 0
    name = torch.cuda.get_device_name() if CUDA else "no GPU: toy size, speeds have no target"
    sys.stdout.write(f"Torch {torch.__version__}, {name}\n")
    end, answers = time.monotonic() + BUDGET, list[Answer]()
    for name in asked.only or SECTIONS:
        left = min(SECTIONS[name][1], end - time.monotonic())
        if left < 10:
            found = [Answer(f"{name} was begun", 0, "-", False, "no time was left")]
        else:
            found = _apart(name, left)
        answers += found
        for answer in found:
            sys.stdout.write(f"{answer}\n")
            sys.stdout.flush()
    missed = [answer for answer in answers if not answer.meets]
    held = sum(answer.target != "-" for answer in answers) - sum(a.target != "-" for a in missed)
    sys.stdout.write(f"\n{held} targets hold; {len(missed)} lines do not\n")
    for answer in missed:
        sys.stdout.write(f"{answer}\n")
    return len(missed)


if __name__ == "__main__":
    sys.exit(main())
