"""A word embedding with rows for the tokens of some data trains as the whole one does."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tamt_ray.data.checkpoint import load_checkpoint, tokenizer
from tamt_ray.data.table import load_rows
from tamt_ray.finetune.finetuner import Finetuner
from tamt_ray.finetune.model import Encoder
from tamt_ray.finetune.vocabulary import Vocabulary, tokens_of
from tamt_ray.masks.mask import Mask
from tamt_ray.masks.matrices import prunable_matrices
from tamt_ray.tasks.base import Task
from tamt_ray.tasks.features.examples import PackedSequences
from tamt_ray.tasks.features.sentences import Sentences
from tamt_ray.values.model import Model

CPU = torch.device("cpu")
WORDS = "embeddings.word_embeddings.weight"
Rows = Callable[[int, int], list[dict[str, object]]]
WriteTask = Callable[..., Task]


def test_tokens_are_those_of_all_data_and_the_padding() -> None:
    def data(*ids: int) -> PackedSequences:
        return PackedSequences(np.array(ids, np.int32), None, np.array([0, len(ids)]), pad_id=1)

    assert tokens_of([data(7, 3, 7), data(3, 9)]).tolist() == [1, 3, 7, 9]
    assert tokens_of(iter([data(0)])).tolist() == [0, 1]


@pytest.mark.parametrize("kind", ["bert", "roberta"])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_a_fine_tune_is_the_same_without_the_rows_it_never_reads(
    model_dir: Path, roberta_dir: Path, write_task: WriteTask, sentiment: Rows,
    monkeypatch: pytest.MonkeyPatch, kind: str, decay: float,
) -> None:  # fmt: skip
    """To the bit; but for clipping, whose norm adds up fewer zeros in another order."""
    path = model_dir if kind == "bert" else roberta_dir
    source = f"dir:{path}"
    train, validation = (
        [{**row, "text": str(row["text"]).replace("a", "b")} for row in sentiment(*which)]
        for which in ((60, 1), (40, 2))
    )
    task = write_task(
        "classification", train, [{"text": "a t good", "label": 1}, *validation],
        epochs=2, batch_size=8, weight_decay=decay, clip=1e9, eval_every=5,
    )  # fmt: skip
    encoder = Encoder(load_checkpoint(source), CPU)
    mask = Mask.by_magnitude(prunable_matrices(encoder.body), 0.5)
    words = tokenizer(load_checkpoint(source))
    read = [
        Sentences.read(task, load_rows(table), words, None, 1).sequences
        for table in (task.train, *task.validation)
    ]
    assert len(tokens_of(read[:1])) < len(tokens_of(read)) < encoder.body.config.vocab_size

    def curves(chosen: Task) -> list[tuple[int, str, float]]:
        outcome = Finetuner(CPU).run(Model(source=source), chosen, 1, mask)
        return [(point.step, point.name, point.value) for point in outcome.history.points]

    clipped = task.model_copy(update={"clip": 0.5})
    some, some_clipped = curves(task), curves(clipped)
    monkeypatch.setattr("tamt_ray.finetune.finetuner.tokens_of", lambda _: None)
    assert some == curves(task)
    assert [value for *_, value in some_clipped] == pytest.approx(
        [value for *_, value in curves(clipped)], rel=1e-3
    )


@pytest.fixture
def encoder(model_dir: Path) -> Encoder:
    return Encoder(load_checkpoint(f"dir:{model_dir}"), CPU)


@pytest.fixture
def toy(write_task: WriteTask) -> Task:
    return write_task("classification", [], [])


TOKENS = np.array([0, 2, 3, 8])
INPUTS = {"input_ids": torch.tensor([[2, 8, 3, 0]]), "attention_mask": torch.tensor([[1, 1, 1, 0]])}


def test_a_network_reads_its_tokens_by_their_own_numbers(
    encoder: Encoder, model: Model, toy: Task
) -> None:
    whole = encoder.body.get_parameter(WORDS).detach().clone()
    mask = Mask.by_magnitude(prunable_matrices(encoder.body), 0.5)
    expected = encoder.network(model, toy, 1).eval()(INPUTS).detach()
    network = encoder.network(model, toy, 1, TOKENS).eval()
    assert torch.equal(network(INPUTS), expected)
    matrices, rows = encoder.masked(mask)
    assert torch.equal(matrices[WORDS], whole[TOKENS])
    assert torch.equal(rows[WORDS], mask[WORDS][TOKENS])
    assert all(rows[name] is mask[name] for name in mask if name != WORDS)
    with pytest.raises(IndexError):
        network({name: value + 1 for name, value in INPUTS.items()})
    # What was trained is gone with the next network, whatever it reads.
    with torch.no_grad():
        matrices[WORDS].zero_()
    assert torch.equal(encoder.network(model, toy, 1).eval()(INPUTS), expected)
    matrices, rows = encoder.masked(mask)
    assert torch.equal(matrices[WORDS], whole)
    assert rows is mask


def test_padding_gets_no_gradient_and_what_is_read_does(
    encoder: Encoder, native: Model, toy: Task
) -> None:
    network = encoder.network(native, toy, 1, TOKENS)
    network(INPUTS)[0, 0].backward()
    gradient = encoder.body.get_parameter(WORDS).grad
    assert gradient is not None
    assert gradient.any(dim=1).tolist() == [False, True, True, True]


def test_tokens_of_another_vocabulary_are_refused(
    encoder: Encoder, native: Model, toy: Task
) -> None:
    known = encoder.body.config.vocab_size
    with pytest.raises(ValueError, match=f"gives token {known}; the model knows {known}$"):
        encoder.network(native, toy, 1, np.array([0, known]))


class _Scaled(nn.Embedding):
    """Not a mere table, as in some architectures."""


class _Body(nn.Module):
    def __init__(self, words: nn.Embedding, tied: bool) -> None:
        super().__init__()
        self.words = words
        self.again = words if tied else None

    def get_input_embeddings(self) -> nn.Module:
        return self.words


@pytest.mark.parametrize(
    ("body", "replaced"),
    [
        (_Body(nn.Embedding(4, 2), tied=False), True),
        (_Body(nn.Embedding(4, 2), tied=True), False),
        (_Body(nn.Embedding(4, 2, max_norm=1.0), tied=False), False),
        (_Body(_Scaled(4, 2), tied=False), False),
        (nn.Linear(2, 2), False),
    ],
    ids=["plain", "tied", "renormalised", "another class", "none"],
)
def test_only_a_plain_table_of_one_use_is_replaced(body: nn.Module, replaced: bool) -> None:
    weights = {name: p.detach().clone() for name, p in body.named_parameters()}
    assert (Vocabulary.find(body, weights) is not None) == replaced
