"""Parts of a network for a task that a mask reaches."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModel, BertConfig, BertModel

from tamt_ray.data.checkpoint import Checkpoint
from tamt_ray.finetune.model import Encoder
from tamt_ray.masks.mask import Mask, apply_mask, pruned_nonzero
from tamt_ray.masks.matrices import POOLER, prunable_matrices
from tamt_ray.tasks.classification import Classification
from tamt_ray.tasks.spans import Spans
from tamt_ray.values.model import Model

TABLE = {"source": "dir:/unused"}
TASK = Classification.model_validate(
    {"kind": "classification", "text": ["a"], "train": TABLE, "validation": [TABLE], "lr": 1}
)
SPANS = Spans.model_validate({"kind": "spans", "train": TABLE, "validation": [TABLE], "lr": 1})
IDS = torch.tensor([[2, 5, 6, 3], [2, 7, 3, 0]])
INPUTS = {"input_ids": IDS, "attention_mask": (IDS != 0).long()}


@pytest.fixture(scope="module")
def with_pooler(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT whose pooler was published."""
    path = tmp_path_factory.mktemp("with_pooler")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertModel(
            BertConfig(
                vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
                intermediate_size=32, max_position_embeddings=32, initializer_range=0.2,
            )
        ).save_pretrained(path)  # fmt: skip
    return path


def encoder_of(path: Path) -> Encoder:
    return Encoder(Checkpoint(path, "unused"), torch.device("cpu"))


def whole_mask(encoder: Encoder) -> Mask:
    """Half of every matrix, the pooler's included."""
    pooler = encoder.body.get_parameter(POOLER)
    return Mask.by_magnitude({**prunable_matrices(encoder.body), POOLER: pooler}, 0.5)


@pytest.mark.parametrize("pooling", ["native", "mean"])
def test_a_masked_pooler_stays_masked_and_counts_where_it_is_used(
    with_pooler: Path, pooling: str
) -> None:
    encoder = encoder_of(with_pooler)
    model = Model.model_validate({"source": "dir:/unused", "pooling": pooling})
    mask = whole_mask(encoder)
    network = encoder.network(model, TASK, 1)

    def output() -> Tensor:
        return network.eval()(INPUTS).detach()

    matrices, _ = encoder.masked(mask)
    before = matrices[POOLER].detach().clone()
    rest = Mask({name: keep for name, keep in mask.items() if name != POOLER})
    apply_mask(*encoder.masked(rest))
    without = output()
    handles = apply_mask(matrices, mask)
    assert torch.equal(matrices[POOLER], before * mask[POOLER])
    # Only a classifier that reads the pooler sees the difference.
    assert torch.equal(output(), without) == (pooling == "mean")
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(INPUTS), torch.tensor([0, 1])).backward()
        optimizer.step()
    assert pruned_nonzero(matrices, mask) == 0
    kept = mask[POOLER]
    assert torch.equal(matrices[POOLER][kept], before[kept]) == (pooling == "mean")
    for handle in handles:
        handle.remove()


def test_a_mask_of_some_matrices_leaves_the_others_alone(with_pooler: Path) -> None:
    encoder = encoder_of(with_pooler)
    some = prunable_matrices(encoder.body, ("*.layer.1.*",))
    mask = Mask.by_magnitude(some, 0.5)
    before = {name: p.detach().clone() for name, p in encoder.body.named_parameters()}
    matrices, same = encoder.masked(mask)
    assert matrices.keys() == mask.keys() == some.keys()
    assert same is mask
    apply_mask(matrices, mask)
    for name, parameter in encoder.body.named_parameters():
        assert torch.equal(parameter, before[name]) == (name not in mask), name


def test_a_mask_with_unknown_matrices_is_refused(with_pooler: Path) -> None:
    encoder = encoder_of(with_pooler)
    other = Mask({**whole_mask(encoder), "encoder.layer.2.output.dense.weight": torch.eye(2) > 0})
    with pytest.raises(ValueError, match=r"BertModel has no .*encoder.layer.2.output.dense.weight"):
        encoder.masked(other)
    biased = Mask({"embeddings.position_embeddings.weight": torch.ones(32, 16) > 0})
    with pytest.raises(ValueError, match=r"has no .*position_embeddings"):
        encoder.masked(biased)
    # Right names, wrong shapes.
    small = Mask({"embeddings.word_embeddings.weight": torch.ones(8, 16) > 0})
    with pytest.raises(ValueError, match=r"another model's: embeddings.word_embeddings.weight"):
        encoder.masked(small)


def test_a_masked_pooler_of_a_model_that_has_none_is_refused(
    with_pooler: Path, model_dir: Path
) -> None:
    """There the pooler is new for each seed: no mask can have been found on it."""
    pooler_only = Mask({POOLER: torch.eye(32) > 0})
    with pytest.raises(ValueError, match=r"no published pooler.dense.weight"):
        encoder_of(model_dir).masked(pooler_only)


@pytest.mark.parametrize("task", [TASK, SPANS], ids=["classification", "spans"])
def test_a_network_that_works_passes_its_trial(with_pooler: Path, task: Classification) -> None:
    encoder_of(with_pooler).try_out(Model(source="dir:/unused"), task)


@pytest.mark.parametrize(
    ("kind", "task", "reason"),
    [
        ("esm", SPANS, "transformers has no AutoModelForQuestionAnswering for esm"),
        ("nomic_bert", TASK, "NomicBertModel does not work with a head for classification"),
    ],
)
def test_a_network_that_cannot_work_is_refused_by_its_trial(
    kind: str, task: Classification, reason: str, tmp_path: Path
) -> None:
    settings = {
        "vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 32, "max_position_embeddings": 32, "mask_token_id": 4,
        "pad_token_id": 0,
    }  # fmt: skip
    with torch.random.fork_rng():
        AutoModel.from_config(AutoConfig.for_model(kind, **settings)).save_pretrained(tmp_path)
    encoder = encoder_of(tmp_path)
    with pytest.raises(ValueError, match=reason):
        encoder.try_out(Model(source="dir:/unused"), task)
    if task is TASK:
        encoder.try_out(Model(source="dir:/unused", pooling="mean"), task)
