"""The slow reference of fine-tuning, as the benchmark runs it, gives what ours gives."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from benchmarks.padded import Padded
from tamt_ray.data.checkpoint import load_checkpoint, tokenizer
from tamt_ray.data.history import History
from tamt_ray.data.table import load_rows
from tamt_ray.finetune.loop import epoch_batches, fine_tune
from tamt_ray.finetune.model import Encoder
from tamt_ray.masks.mask import Mask, apply_mask
from tamt_ray.masks.matrices import prunable_matrices
from tamt_ray.tasks.classification import Classification
from tamt_ray.tasks.features.sentences import Sentences
from tamt_ray.values.model import Model

CPU = torch.device("cpu")


@pytest.fixture
def still(model_dir: Path, tmp_path: Path) -> str:
    """A copy of the tiny model without dropout, which draws other numbers for other lengths."""
    copy = shutil.copytree(model_dir, tmp_path / "still")
    file = copy / "config.json"
    config = json.loads(file.read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    file.write_text(json.dumps(config))
    return f"dir:{copy}"


def test_an_epoch_with_padding_and_masks_in_every_forward(still: str, tmp_path: Path) -> None:
    """Same batches, same subnetwork: the weights agree to rounding, the pruned ones are zero."""
    rows = [{"text": "a b c good d"[: 3 + 2 * (i % 5)], "label": i % 2} for i in range(12)]
    path = tmp_path / "train.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    table = {"source": f"dir:{path}"}
    task = Classification.model_validate(
        {
            "kind": "classification", "train": table, "validation": [table], "text": ["text"],
            # The biases of keys have no gradient but rounding; a small epsilon would blow it up.
            "epochs": 1, "batch_size": 4, "lr": 1e-3, "eps": 1e-3,
        }
    )  # fmt: skip
    model, checkpoint = Model(source=still), load_checkpoint(still)
    examples = Sentences.read(task, load_rows(task.train), tokenizer(checkpoint), None, 1)

    encoder = Encoder(checkpoint, CPU)
    mask = Mask.by_magnitude(prunable_matrices(encoder.body), 0.5)
    network = encoder.network(model, task, 1)
    handles = apply_mask(*encoder.masked(mask))
    fine_tune(network, examples, [examples], task, 1, CPU, History(), None)
    for handle in handles:
        handle.remove()
    ours = {name: value.clone() for name, value in network.state_dict().items()}

    other = Encoder(checkpoint, CPU)
    slow = Padded(other.network(model, task, 1), mask, other.masked(mask)[0], 16)
    order = epoch_batches(examples.sequences.lengths, task.batch_size, 1, 0)
    before = slow.weights()
    slow.epoch(examples.sequences, examples.targets, task, order)
    after = slow.weights()
    assert after.keys() == ours.keys()
    for name, value in ours.items():
        torch.testing.assert_close(after[name], value, rtol=1e-4, atol=1e-6)
    assert any(not torch.equal(before[name], after[name]) for name in ours)
