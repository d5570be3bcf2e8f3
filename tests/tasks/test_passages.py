"""Windows over passages, and answers mapped to tokens and back."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from tamt_ray.data.checkpoint import load_checkpoint, tokenizer
from tamt_ray.data.table import Rows
from tamt_ray.finetune.loop import collate
from tamt_ray.tasks.features.passages import Passages, cuts
from tamt_ray.tasks.metrics.base import metrics_of
from tamt_ray.tasks.spans import Spans

from .squad_rows import squad_rows

TABLE = {"source": "dir:unused.jsonl"}


@pytest.fixture
def words(model_dir: Path) -> PreTrainedTokenizerBase:
    return tokenizer(load_checkpoint(f"dir:{model_dir}"))


def spans(**settings: int) -> Spans:
    return Spans.model_validate(
        {"kind": "spans", "train": TABLE, "validation": [TABLE], **settings}
    )


def rows(*given: dict[str, object]) -> Rows:
    return Rows(pa.Table.from_pylist(list(given)), "fingerprint")


def row(context: str, answer: str, start: int, question: str = "good ?") -> dict[str, object]:
    answers = {"text": [answer], "answer_start": [start]}
    return {"id": "q", "question": question, "context": context, "answers": answers}


def perfect(data: Passages) -> list[np.ndarray]:
    """Outputs that point at the target where a window has one."""
    found: list[np.ndarray] = []
    for length, (first, last) in zip(data.sequences.lengths, data.targets.tolist(), strict=True):
        output = np.zeros((length, 2), np.float32)
        output[first, 0] += 9
        output[last, 1] += 9
        found.append(output)
    return found


def metrics(data: Passages, outputs: list[np.ndarray]) -> dict[str, float]:
    predictions = data.predictions(outputs)
    return {name: kind.compute(predictions) for name, kind in metrics_of("texts").items()}


@settings(deadline=None)
@given(st.integers(1, 400), st.integers(1, 120), st.integers(1, 150))
def test_windows_are_cut_as_in_bert(tokens: int, longest: int, stride: int) -> None:
    # The loop of the original run_squad.py.
    expected: list[tuple[int, int]] = []
    start = 0
    while start < tokens:
        length = min(tokens - start, longest)
        expected.append((start, length))
        if start + length == tokens:
            break
        start += min(length, stride)
    assert cuts(tokens, longest, stride) == expected


def test_a_window_is_what_the_tokenizer_makes_of_a_pair(
    words: PreTrainedTokenizerBase,
) -> None:
    given = squad_rows(10, 3)
    task = spans(max_length=40, doc_stride=16, max_query=8)
    data = Passages.read(task, rows(*given), words, None, 1)
    ids: list[list[int]] = []
    types: list[list[int]] = []
    for one in given:
        room = 40 - 3 - len(words(one["question"], add_special_tokens=False)["input_ids"])
        expected = words(
            one["question"], one["context"], truncation="only_second", max_length=40,
            stride=room - 16, return_overflowing_tokens=True,
        )  # fmt: skip
        ids += expected["input_ids"]
        types += expected["token_type_ids"]
    assert len(ids) > 20
    starts = data.sequences.starts
    assert data.sequences.types is not None
    found = [data.sequences.ids[a:b].tolist() for a, b in pairwise(starts)]
    assert found == ids
    segments = [data.sequences.types[a:b].tolist() for a, b in pairwise(starts)]
    assert segments == types


def test_every_answer_is_recovered_from_its_windows(
    words: PreTrainedTokenizerBase,
) -> None:
    given = squad_rows(60, 4)
    task = spans(max_length=32, doc_stride=10, max_query=8, max_answer=6)
    data = Passages.read(task, rows(*given), words, None, 1)
    assert len(data.windows) > 3 * 60
    assert data.count == 60
    assert data.answers(perfect(data)) == [one["answers"]["text"][0] for one in given]
    assert metrics(data, perfect(data)) == {"f1": 1.0, "exact_match": 1.0}


def test_targets_by_hand(words: PreTrainedTokenizerBase) -> None:
    # Tokens of the passage: a b ##c d . e f
    data = Passages.read(
        spans(max_length=16, max_query=8, doc_stride=4),
        rows(row("a bc d. e f", "bc d", 2), row("a bc d. e f", "c", 3, "b b b")),
        words, None, 1,
    )  # fmt: skip
    # [CLS] good [UNK] [SEP] a b ##c d . e f [SEP]; an answer in a word is its pieces.
    assert data.targets.tolist() == [[5, 7], [7, 7]]
    assert data.sequences.lengths.tolist() == [12, 13]
    assert data.answers(perfect(data)) == ["bc d", "c"]
    assert data.offsets[0] is data.offsets[1]


def test_a_window_without_the_answer_points_at_its_first_token(
    words: PreTrainedTokenizerBase,
) -> None:
    context = " ".join("abcdefghij" * 2)
    data = Passages.read(
        spans(max_length=16, max_query=8, doc_stride=6), rows(row(context, "j", 18)), words, None, 1
    )  # fmt: skip
    # 11 tokens of the passage behind [CLS] good [UNK] [SEP]; windows from 0, 6, 12; j is token 9.
    assert [window.first for window in data.windows] == [0, 6, 12]
    assert data.targets.tolist() == [[13, 13], [7, 7], [0, 0]]
    assert [window.length for window in data.windows] == [11, 11, 8]


def test_a_long_question_is_cut(words: PreTrainedTokenizerBase) -> None:
    data = Passages.read(
        spans(max_length=16, max_query=4, doc_stride=4),
        rows(row("a b c", "c", 4, " ".join("k" * 30))),
        words, None, 1,
    )  # fmt: skip
    assert data.sequences.lengths.tolist() == [1 + 4 + 1 + 3 + 1]
    with pytest.raises(ValueError, match="leaves no room for the passage"):
        Passages.read(spans(max_length=16, max_query=13), rows(row("a", "a", 0)), words, None, 1)


def test_the_loss_of_an_example_depends_on_no_other(words: PreTrainedTokenizerBase) -> None:
    data = Passages.read(
        spans(max_length=32, max_query=8),
        rows(row("a b", "b", 2), row("a b c d e f g h i j", "c d", 4)),
        words, None, 1,
    )  # fmt: skip
    draw = torch.Generator().manual_seed(0)
    together = collate(data.sequences, np.array([0, 1]), torch.device("cpu"))
    outputs = torch.randn(2, together.inputs["input_ids"].shape[1], 2, generator=draw)
    expected = [
        F.cross_entropy(
            outputs[i, : data.sequences.lengths[i], side][None], data.targets[i, side][None]
        )
        for i in (0, 1)
        for side in (0, 1)
    ]
    assert data.loss(outputs, together).item() == pytest.approx(torch.stack(expected).mean().item())


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (row("a b", "c", 0), "question q: the answer 'c' is not at 0"),
        (row("a b", "b", 1), "is not at 1"),
        (row("a b", "", 0), "is not at 0"),
        (row("a b", "b", -1), "is not at -1"),
        (row("a b", "b", 2**63 - 1), "is not at 9223372036854775807"),
        (
            row("a b", "b", 2) | {"answers": {"text": ["b", None], "answer_start": [2, 0]}},
            "one of its answers is not text",
        ),
        (row("a b", "b", 2) | {"answers": {"text": [], "answer_start": []}}, "holds no answer"),
        (row("a b", "b", 2) | {"answers": None}, "holds no answer"),
        (row("a b", "b", 2) | {"question": None}, "is not text"),
    ],
)
def test_unusable_questions_are_refused(
    words: PreTrainedTokenizerBase, given: dict[str, object], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        Passages.read(spans(), rows(given), words, None, 1)


def test_the_best_of_several_golds_counts(words: PreTrainedTokenizerBase) -> None:
    answers = {"text": ["b c", "b"], "answer_start": [2, 2]}
    data = Passages.read(
        spans(), rows(row("a b c", "b c", 2) | {"answers": answers}), words, None, 1
    )
    output = np.zeros((data.sequences.lengths[0], 2), np.float32)
    output[5] = 9  # [CLS] good [UNK] [SEP] a b
    assert metrics(data, [output]) == {"f1": 1.0, "exact_match": 1.0}


def test_the_constant_answer_is_an_empty_one(words: PreTrainedTokenizerBase) -> None:
    data = Passages.read(spans(), rows(row("a b c", "b c", 2)), words, None, 1)
    (constant,) = data.constants()
    assert list(constant.predicted) == [""]
    assert list(constant.gold) == [("b c",)]
