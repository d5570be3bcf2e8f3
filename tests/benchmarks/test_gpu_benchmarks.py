"""What `python -m benchmarks --device cuda` computes, at toy size on a CPU, as a user calls it."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks import __main__, memory
from benchmarks.device import Device

pytest.importorskip("accelerate", reason="Trainer needs the extra `bench`")
PRECISIONS = ("float32", "tf32", "bfloat16")
STEPS = [
    f"{question}, toy, {precision}"
    for precision in PRECISIONS
    for question in (
        "tamt_mlm step / dense step",
        "released code's step / tamt_mlm step",
        "tamt_kd step / dense forward, backward and teacher",
    )
]
QUESTIONS = {
    "search_step": STEPS,
    "reranking": [
        "kthvalue / exact re-ranking, toy",
        "stable sort / the same, toy",
        "selecting in all matrices of toy and writing W ⊙ M",
        "exact re-ranking in a tamt_mlm step, toy",
    ],
    "memory": [
        *(
            f"{name} beyond the dense training step, copies of the masked weights"
            for name in ("tamt_mlm", "tamt_kd", "tamt_mlm_kd")
        ),
        "distillation beside the MLM loss, copies",
    ],
    "finetune": [
        "pruned weights that moved in a fine-tune",
        "time of padding to 128, masks in every forward, over a fine-tune's",
        "Trainer's time over a fine-tune's, float32",
        "Trainer's time over a fine-tune's, tf32: left out, CPUs have none",
        "Trainer's time over a fine-tune's, bfloat16",
    ],
    "side_by_side": ["steps per second of 2 fine-tunes on one device over those of one"],
}


@pytest.mark.parametrize("name", __main__.ON_GPU)
def test_each_benchmark_of_a_gpu_runs(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr(
        memory, "_apart", lambda who, path, device: memory.measure(who, Path(path), device)
    )
    assert __main__.main([name, "--toy", "--json"]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [answer["question"] for answer in answers] == QUESTIONS[name]
    for answer in answers:
        # At this size no speed has a target.
        assert answer["meets"]
        assert answer["target"] in {"", "<= 0 weights"}
        if name not in {"memory", "finetune"} and answer["measured"] is not None:
            assert answer["measured"] > 0


def test_the_shape_of_a_gpu_is_the_papers() -> None:
    shape = Device("cuda").shape
    assert (shape.layers, shape.hidden, shape.batch, shape.length) == (12, 768, 16, 512)
    assert shape.blocks == 230_000


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["plan", "--device", "cuda"], "no benchmark 'plan'"),
        (["side_by_side"], "no benchmark 'side_by_side'"),
        (["memory", "--device", "cuda"], "no GPU works here; on a CPU, --toy"),
    ],
)
def test_a_benchmark_of_another_device_is_refused(
    words: list[str],
    named: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit):
        __main__.main(words)
    assert named in capsys.readouterr().err
