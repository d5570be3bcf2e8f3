"""What a GPU has to show: `python -m benchmarks.acceptance [--only NAME ...]`, ten minutes at most.

Needs Torch, transformers and pydantic, and accelerate for the line on `Trainer`. Each section has a
process of its own; a table says at the end what holds and what does not. On a machine without GPU
all runs at toy size, where speeds have no target: that shows only that it runs.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks import graphs, nccl, reranking, search_step, side_by_side, words
from benchmarks.answer import HEADING, Answer, at_most, holds
from benchmarks.clock import interleave
from benchmarks.device import Device
from benchmarks.search_step import SPARSITY, mask_training
from benchmarks.shape import Shape
from tamt_ray.data.device import matrix_products
from tamt_ray.masks.pruner import Matrices, keep_by_sorting
from tamt_ray.masks.select import keep_largest, make_pruner, zeros_at
from tamt_ray.objectives.base import Objective
from tamt_ray.objectives.kd import Kd
from tamt_ray.objectives.mlm import Mlm
from tamt_ray.search.engine import Engine
from tamt_ray.search.tamt import MaskedWeights
from tamt_ray.values.training import Precision

DEVICE = Device("cuda") if torch.cuda.is_available() else Device(toy=True)
CUDA = DEVICE.cuda
SMALL = Shape("2 layers, hidden 384", 2, 384, 8) if CUDA else Shape("toy", 1, 12, 2, 16)
TERMS: dict[str, list[Objective]] = {"mlm": [Mlm()], "kd": [Kd()], "mlm_kd": [Mlm(), Kd()]}
BUDGET = 570.0
"""Seconds of all sections together on a GPU; a rehearsal on a CPU has no limit."""


def matrices(scores: list[Tensor]) -> Matrices:
    """The scores on the device, beside random weights."""
    named = {str(number): score.to(DEVICE.torch) for number, score in enumerate(scores)}
    dense = {name: torch.randn_like(score) for name, score in named.items()}
    masked = {name: torch.full_like(score, 7.0) for name, score in named.items()}
    zeros = {name: zeros_at(SPARSITY, score.numel()) for name, score in named.items()}
    return Matrices(named, dense, masked, zeros, magnitude=False)


def selection() -> Iterator[Answer]:
    """Masks against a stable sort on the CPU, and what a selection costs."""
    draw = torch.Generator().manual_seed(1)
    sizes = [(30522, 768), (768, 768), (3072, 768), (768, 3072)]
    chosen = sizes if CUDA else [(96, 96), (300, 100), (7, 3)]

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
    how = f"selected by {type(pruner).__name__}"
    yield at_most("bits that differ from a stable sort on the CPU", wrong, 0, "bits", how)
    if CUDA:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            pruner.prune()
        for weight in given.weights.values():
            weight.fill_(7.0)
        graph.replay()
        kept = keep_largest(given.scores["1"].cpu(), given.zeros["1"])
        captured = torch.where(kept, given.dense["1"].cpu(), 0.0).equal(given.weights["1"].cpu())
        yield holds("a CUDA graph holds the selection", captured)


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
            question = f"{name}: bits of the mask that are not those of the scores"
            yield at_most(question, _uncut(weights), 0, "bits")
            apart = 100 * abs(_first_loss(here) / _first_loss(there) - 1)
            yield at_most(f"{name}: distance of the first loss from the CPU's", apart, 0.1, "%")
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
            yield holds(f"{question}, with deterministic algorithms", same)
        else:
            yield Answer(question, same)


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


def hardware() -> Iterator[Answer]:
    """Upper bounds of the device, to compare the other figures with."""
    place, count = DEVICE.torch, 2**30 if CUDA else 2**16
    given = torch.randn(count, device=place)
    taken = torch.empty_like(given)
    copy = interleave({"copy": lambda: taken.copy_(given)}, 3, device=DEVICE)
    speed = 2 * given.nbytes / copy.spent("copy") / 1e12
    yield Answer("bytes that a copy reads and writes per second", speed, unit="TB/s")
    rows = 8192 if CUDA else 64
    left, right = torch.randn(rows, 768, device=place), torch.randn(3072, 768, device=place)
    formats: tuple[Precision, ...] = ("float32", "tf32", "bfloat16")
    for precision in formats:
        if precision == "bfloat16":
            left, right = left.bfloat16(), right.bfloat16()
        with matrix_products(precision):
            product = interleave({"": partial(functional.linear, left, right)}, 3, device=DEVICE)
        speed = 2 * rows * 768 * 3072 / product.spent("") / 1e12
        yield Answer(f"{precision}: operations of a matrix product", speed, unit="T/s")


Section = Callable[[], Iterator[Answer]]
SECTIONS: dict[str, tuple[Section, float]] = {
    "hardware": (hardware, 40),
    "selection": (selection, 60),
    "reranking": (partial(reranking.run, DEVICE), 60),
    "searches": (searches, 120),
    **{
        f"steps-{name}": (partial(search_step.run, DEVICE, name), 100)
        for name in search_step.cases(DEVICE)
    },
    "micro-batches": (partial(search_step.micro_batches, DEVICE), 60),
    "finetunes": (partial(words.run, DEVICE), 90),
    "graphs": (partial(graphs.run, DEVICE), 60),
    "search-graphs": (partial(graphs.searches, DEVICE), 90),
    "nccl": (partial(nccl.run, DEVICE), 60),
    "beside": (partial(side_by_side.run, DEVICE), 150),
}
"""What is measured, and the seconds that it may take."""


def _apart(name: str, limit: float | None) -> list[Answer]:
    """Return a section's answers from a process of its own, after `limit` seconds at most."""
    call = [sys.executable, "-m", "benchmarks.acceptance", "--section", name]
    # Deterministic algorithms ask for this before CUDA starts.
    given = {**os.environ, "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    try:
        done = subprocess.run(call, env=given, capture_output=True, text=True, timeout=limit)
        said, broken = done.stdout, done.stderr[-400:] if done.returncode else ""
    except subprocess.TimeoutExpired as late:
        said = (late.stdout or b"").decode()
        broken = f"took more than {limit or 0:.0f} s"
    found = [Answer(**json.loads(line)) for line in said.splitlines() if line.startswith('{"')]
    if broken:
        found.append(Answer(f"{name} came to its end", False, "yes", False, broken))
    return found


def main() -> int:
    """Measure, and print the table; the number of lines that do not hold."""
    parser = argparse.ArgumentParser("acceptance", description="What a GPU has to show.")
    parser.add_argument("--only", nargs="*", metavar="NAME", choices=SECTIONS)
    parser.add_argument("--section", choices=SECTIONS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.section:
        for answer in SECTIONS[asked.section][0]():
            sys.stdout.write(f"{answer.to_json()}\n")
            sys.stdout.flush()
        return 0
    sys.stdout.write(f"Torch {torch.__version__}, {DEVICE.words}\n\n{HEADING}\n")
    end, answers = time.monotonic() + BUDGET, list[Answer]()
    for name in asked.only or SECTIONS:
        begin = time.monotonic()
        left = min(SECTIONS[name][1], end - begin) if CUDA else None
        if left is not None and left < 10:
            found = [Answer(f"{name} was begun", False, "yes", False, "no time was left")]
        else:
            found = _apart(name, left)
        answers += found
        sys.stdout.write(f"{name}, {time.monotonic() - begin:.0f} s\n")
        for answer in found:
            sys.stdout.write(f"{answer}\n")
            sys.stdout.flush()
    missed = [answer for answer in answers if not answer.meets]
    held = sum(answer.meets for answer in answers if answer.target)
    free = sum(not answer.target for answer in answers)
    sys.stdout.write(f"\n{held} lines meet their target, {len(missed)} miss it, {free} have none\n")
    for answer in missed:
        sys.stdout.write(f"{answer}\n")
    return len(missed)


if __name__ == "__main__":
    sys.exit(main())
