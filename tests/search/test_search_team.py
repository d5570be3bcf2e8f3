"""Workers of one search notice that they differ."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tamt_ray.data.tokens import Special
from tamt_ray.search.language_model import LanguageModel
from tamt_ray.search.team import ProcessGroup

WORKER = """
import sys
import torch
from torch import distributed
from tamt_ray.search.team import ProcessGroup, RanksDifferError

rank, place = int(sys.argv[1]), sys.argv[2]
distributed.init_process_group("gloo", init_method=f"file://{place}", rank=rank, world_size=2)
team = ProcessGroup(rank=rank, size=2)
values = [torch.arange(6.0).view(2, 3), torch.tensor(-0.0)]
team.check_same(values, 10)
if rank == 1:
    values[0][1, 2] = torch.nextafter(values[0][1, 2], torch.tensor(9.0))
try:
    team.check_same(values, 20)
except RanksDifferError as error:
    sys.stdout.write(str(error))
"""


def test_one_bit_is_seen_by_all(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    call = [sys.executable, "-c", WORKER]
    workers = [
        subprocess.Popen(
            [*call, str(rank), str(tmp_path / "rendezvous")],
            env=environment, stdout=subprocess.PIPE, text=True,
        )
        for rank in (0, 1)
    ]  # fmt: skip
    said = [worker.communicate(timeout=100)[0] for worker in workers]
    assert said == ["the workers of this search differ after step 20"] * 2


def test_who_is_alone_differs_from_nobody() -> None:
    ProcessGroup().check_same([torch.tensor(torch.nan)], 10)


def test_tokens_of_another_vocabulary_are_refused_before_a_gpu_meets_them(bert: Path) -> None:
    model = LanguageModel(bert)
    words = Special(cls=0, sep=1, mask=2, pad=3, every=frozenset({0, 1, 2, 3}), vocabulary=40)
    model.check_reads(words)
    with pytest.raises(ValueError, match="the tokenizer has 41 tokens; the model 40"):
        model.check_reads(Special(0, 1, 2, 3, frozenset(), 41))
