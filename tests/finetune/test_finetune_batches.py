"""Contracts of subsets, epochs, padding and the loop's bookkeeping."""

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor
from transformers import get_linear_schedule_with_warmup

from tamt_ray.data.checkpoint import load_checkpoint, tokenizer
from tamt_ray.data.history import History, NonFiniteLossError
from tamt_ray.finetune.finetuner import Recent
from tamt_ray.finetune.loop import collate, epoch_batches, evaluation_batches, fine_tune, outputs
from tamt_ray.finetune.model import Encoder, Network
from tamt_ray.tasks.classification import Classification
from tamt_ray.tasks.features.examples import Batch, PackedSequences, subset
from tamt_ray.tasks.features.sentences import Sentences, tokenise
from tamt_ray.tasks.metrics.base import Predictions
from tamt_ray.tasks.spans import Spans
from tamt_ray.values.model import Model

CPU = torch.device("cpu")


@settings(deadline=None)
@given(st.integers(1, 2000), st.integers(1, 33), st.integers(0, 3))
def test_an_epoch_holds_each_example_once(count: int, size: int, epoch: int) -> None:
    lengths = np.arange(count) % 17 + 1
    batches = epoch_batches(lengths, size, seed=1, epoch=epoch)
    assert sorted(np.concatenate(batches).tolist()) == list(range(count))
    assert len(batches) == -(-count // size)
    assert sorted(map(len, batches))[1:] == [size] * (len(batches) - 1)


def test_epochs_differ_and_come_again() -> None:
    lengths = np.random.default_rng(0).integers(1, 100, 3000)
    first, again, next_epoch, other_seed = (
        np.concatenate(epoch_batches(lengths, 32, seed, epoch)).tolist()
        for seed, epoch in ((1, 0), (1, 0), (1, 1), (2, 0))
    )
    assert first == again
    assert first != next_epoch
    assert first != other_seed


def test_batches_are_of_similar_length_in_random_order() -> None:
    lengths = np.random.default_rng(0).integers(1, 101, 3200)
    batches = epoch_batches(lengths, 32, seed=1, epoch=0)
    padded = sum(lengths[batch].max() * len(batch) for batch in batches)
    assert padded < 1.05 * lengths.sum()
    longest = [int(lengths[batch].max()) for batch in batches]
    # Neighbours are unrelated: the rank correlation of each batch with the next is near zero.
    assert abs(np.corrcoef(longest[:-1], longest[1:])[0, 1]) < 0.3


@pytest.mark.parametrize("count", [160, 320, 1600])
def test_a_small_set_has_other_batches_in_every_epoch(count: int) -> None:
    """Lengths of their own for all: were they sorted together, each epoch had the same batches."""
    first, second = (
        {frozenset(batch.tolist()) for batch in epoch_batches(np.arange(count) + 1, 8, 1, epoch)}
        for epoch in (0, 1)
    )
    assert len(first) == count // 8
    assert len(first & second) < 0.05 * len(first)


def test_evaluation_takes_each_once_longest_first() -> None:
    lengths = np.array([3, 9, 1, 9, 4])
    assert [batch.tolist() for batch in evaluation_batches(lengths, 2)] == [[1, 3], [4, 0], [2]]


def test_a_smaller_subset_is_part_of_a_larger_one() -> None:
    small, large = (set(subset(1000, limit, 7).tolist()) for limit in (50, 200))
    assert len(small) == 50
    assert len(large) == 200
    assert small < large
    assert small != set(subset(1000, 50, 8).tolist())
    assert subset(10, 10, 1).tolist() == subset(10, None, 1).tolist() == list(range(10))


def test_collate_pads_to_the_longest_row_only(model_dir: Path) -> None:
    words = tokenizer(load_checkpoint(f"dir:{model_dir}"))
    texts = [["a", "a b c", "good"], ["b b", "d", "c c c c c c"]]
    sequences = tokenise(words, texts, 8)
    batch = collate(sequences, np.array([1, 0]), CPU)
    first = {letter: 8 + index for index, letter in enumerate("abcdefghij")}
    a, b, c, d = (first[letter] for letter in "abcd")
    assert batch.inputs["input_ids"].tolist() == [
        [2, a, b, c, 3, d, 3],
        [2, a, 3, b, b, 3, 0],
    ]
    assert batch.inputs["token_type_ids"].tolist() == [
        [0, 0, 0, 0, 0, 1, 1],
        [0, 0, 0, 1, 1, 1, 0],
    ]
    assert batch.inputs["attention_mask"].tolist() == [[1] * 7, [1] * 6 + [0]]
    # The third pair is cut to 8 tokens, its longer part first.
    assert sequences.lengths.tolist() == [6, 7, 8]


@pytest.mark.parametrize("pooling", ["native", "mean", "spans"])
def test_padding_changes_no_output(model_dir: Path, pooling: str) -> None:
    checkpoint = load_checkpoint(f"dir:{model_dir}")
    encoder = Encoder(checkpoint, CPU)
    table = {"source": "dir:unused.csv"}
    data = {"train": table, "validation": [table]}
    task = (
        Spans(kind="spans", **data)
        if pooling == "spans"
        else Classification(kind="classification", text=("text",), classes=3, **data)
    )
    model = Model(source=f"dir:{model_dir}", pooling="mean" if pooling == "mean" else "native")
    network = encoder.network(model, task, seed=1)
    texts = [" ".join("abcdefghij"[: 1 + i % 10]) for i in range(20)]
    sequences = tokenise(tokenizer(checkpoint), [texts], 128)
    found = outputs(network, _sentences(sequences), 4, CPU)
    for index, output in enumerate(found):
        batch = collate(sequences, np.array([index]), CPU)
        padding = 128 - batch.inputs["input_ids"].shape[1]
        padded = {k: torch.nn.functional.pad(v, (0, padding)) for k, v in batch.inputs.items()}
        with torch.no_grad():
            expected = network(padded)[0]
        if pooling == "spans":
            assert output.shape == (sequences.lengths[index], 2)
            expected = expected[: len(output)]
        np.testing.assert_allclose(output, expected.numpy(), atol=1e-5)


def _sentences(sequences: PackedSequences) -> Sentences:
    return Sentences(sequences, torch.zeros(len(sequences), dtype=torch.int64), 3, "")


def test_training_is_adamw_with_linear_decay_and_clipping(model_dir: Path) -> None:
    """Against a loop of the libraries' own parts, without dropout."""
    checkpoint = load_checkpoint(f"dir:{model_dir}")
    encoder = Encoder(checkpoint, CPU)
    table = {"source": "dir:unused.csv"}
    task = Classification(
        kind="classification", train=table, validation=[table],
        text=("text",), classes=3, batch_size=4, epochs=2, lr=1e-2, weight_decay=0.1, clip=0.5,
        eps=1e-4,  # the gradient of a key bias is nothing but rounding; let it not be scaled up
    )  # fmt: skip
    network = encoder.network(Model(source=f"dir:{model_dir}"), task, seed=1)
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = 0.0
    texts = [" ".join("abcdefghij"[i % 3 : 3 + i % 7]) for i in range(18)]
    sequences = tokenise(tokenizer(checkpoint), [texts], 128)
    classes = torch.arange(18) % 3
    data = Sentences(sequences, classes, 3, "")
    plain = copy.deepcopy(network)
    fine_tune(network, data, [data], task, 1, CPU, History(), None)

    vectors = [p for p in plain.parameters() if p.ndim == 1]
    matrices = [p for p in plain.parameters() if p.ndim == 2]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
        lr=1e-2, eps=1e-4, foreach=False,
    )  # fmt: skip
    schedule = get_linear_schedule_with_warmup(optimizer, 0, 2 * 5)
    norms: list[float] = []
    for epoch in range(2):
        for indices in epoch_batches(sequences.lengths, 4, 1, epoch):
            inputs = collate(sequences, indices, CPU).inputs
            loss = torch.nn.CrossEntropyLoss()(plain(inputs), classes[indices])
            loss.backward()
            norms.append(float(torch.nn.utils.clip_grad_norm_(plain.parameters(), 0.5)))
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    assert max(norms) > 0.5
    for (name, trained), expected in zip(
        network.named_parameters(), plain.parameters(), strict=True
    ):
        torch.testing.assert_close(trained, expected, atol=1e-5, rtol=1e-4, msg=name)


class Failing:
    """Data whose loss is not a number in one step."""

    fingerprint = ""
    nbytes = 0

    def __init__(self, sequences: PackedSequences, step: int) -> None:
        self.sequences = sequences
        self.count = len(sequences)
        self._left = step

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        self._left -= 1
        return outputs.sum() * (float("nan") if self._left == 0 else 0.0)

    def predictions(self, outputs: Sequence[NDArray[np.float32]]) -> Predictions:
        return Predictions(np.zeros(1, np.int64), np.zeros(1, np.int64), classes=2)


class Flat(Network):
    """One weight."""

    def __init__(self) -> None:
        super().__init__(torch.nn.Identity())
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, inputs: dict[str, Tensor], *, padded: bool = True) -> Tensor:
        return self.weight * inputs["input_ids"][:, :1]


@pytest.mark.parametrize("step", [1, 7, 10, 11, 25])
def test_a_loss_that_is_no_number_carries_its_step(step: int) -> None:
    sequences = PackedSequences(np.ones(25, np.int32), None, np.arange(26), pad_id=0)
    table = {"source": "dir:unused.csv"}
    task = Classification(
        kind="classification", train=table, validation=[table],
        text=("text",), batch_size=1, epochs=1,
    )  # fmt: skip
    data = Failing(sequences, step)
    with pytest.raises(NonFiniteLossError) as raised:
        fine_tune(Flat(), data, [data], task, 1, CPU, History(), None)
    assert raised.value.step == step


def test_memory_forgets_what_was_used_longest_ago() -> None:
    sequences = PackedSequences(np.zeros(100, np.int32), None, np.arange(2), pad_id=0)
    examples = _sentences(sequences)
    recent = Recent(3 * examples.nbytes)
    made: list[str] = []

    def get(key: str) -> None:
        def make() -> Sentences:
            made.append(key)
            return examples

        recent.get(key, make)

    for key in "abcadb":
        get(key)
    # d pushes out b, which was used before c and a.
    assert "".join(made) == "abcdb"
