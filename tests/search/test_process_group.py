"""Workers of one search notice that they differ."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tamt_ray.data.tokens import Special
from tamt_ray.search.language_model import LanguageModel
from tamt_ray.search.process_group import ProcessGroup
from tamt_ray.values.text import Corpus

WORKER = """
import sys
import torch
from torch import distributed
from tamt_ray.search.process_group import ProcessGroup, RanksDifferError

rank, place = int(sys.argv[1]), sys.argv[2]
distributed.init_process_group("gloo", init_method=f"file://{place}", rank=rank, world_size=2)
team = ProcessGroup(rank=rank, size=2)
inner = torch.arange(8.0)[1:7].view(2, 3)
values = [torch.arange(6.0).view(2, 3), torch.tensor(-0.0), torch.ones(3).bool(), inner, inner.t()]
team.check_same(values, 10)
for number, value in enumerate(values):
    flat = value.view(-1) if value.is_contiguous() else value[1]
    before = flat[-1].item()
    if rank == 1:
        flat[-1] = not before if value.dtype is torch.bool else torch.nextafter(
            flat[-1], torch.tensor(9.0))
    try:
        team.check_same(values, number)
    except RanksDifferError as error:
        sys.stdout.write(f"{error}\\n")
    flat[-1] = before
distributed.destroy_process_group()
"""


def together(call: list[str]) -> list[str]:
    """Return the output of each of two workers, called with its rank."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "GLOO_SOCKET_IFNAME": "lo",
    }
    workers = [
        subprocess.Popen(
            [sys.executable, call[0], call[1], str(rank), *call[2:]],
            env=environment, stdout=subprocess.PIPE, text=True,
        )
        for rank in (0, 1)
    ]  # fmt: skip
    try:
        printed = [worker.communicate(timeout=300)[0] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    assert [worker.returncode for worker in workers] == [0, 0]
    return printed


def test_one_bit_is_seen_by_all(tmp_path: Path) -> None:
    printed = together(["-c", WORKER, str(tmp_path / "rendezvous")])
    lines = [f"the workers of this search differ after step {number}" for number in range(5)]
    assert [each.splitlines() for each in printed] == [lines] * 2


def test_no_state_is_saved_that_the_workers_did_not_compare(
    noisy: Path, corpus: Corpus, tmp_path: Path
) -> None:
    """After step 5 one worker has another score, mask, threshold, weight or hidden weight.

    Only another mask does not last: the next step writes it anew from equal scores. Workers that
    start from different scores take those of the first one.
    """
    words = [str(tmp_path / "rendezvous"), str(noisy), corpus.model_dump_json()]
    printed = together(["-m", "tests.search.search_differing", *words])
    first, second = (json.loads(each) for each in printed)
    found_at = "the workers of this search differ after step"
    unseen, every_fourth = [None, list(range(1, 10))], [None, [4, 8, 9]]
    for case in ("scores", "mask", "threshold", "weights", "hidden"):
        assert first[f"{case} 1"] == [f"{found_at} 5", [1, 2, 3, 4]], case
        later = every_fourth if case == "mask" else [f"{found_at} 8", [4]]
        assert first[f"{case} 4"] == later, case
    for case in ("nothing", "start"):
        assert (first[f"{case} 1"], first[f"{case} 4"]) == (unseen, every_fourth), case
    assert second == {case: [error, []] for case, (error, _) in first.items()}


def test_who_is_alone_differs_from_nobody() -> None:
    ProcessGroup().check_same([torch.tensor(torch.nan)], 10)


def test_tokens_of_another_vocabulary_are_refused_before_a_gpu_meets_them(bert: Path) -> None:
    model = LanguageModel(bert)
    words = Special(cls=0, sep=1, mask=2, pad=3, every=frozenset({0, 1, 2, 3}), vocabulary=40)
    model.check_reads(words)
    with pytest.raises(ValueError, match="the tokenizer has 41 tokens; the model 40"):
        model.check_reads(Special(0, 1, 2, 3, frozenset(), 41))
