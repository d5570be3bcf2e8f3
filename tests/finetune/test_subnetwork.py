"""A subnetwork written out: other programs read θ0 ⊙ M, and the lines of the how-to keep it so."""

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

from tamt_ray.data.checkpoint import load_checkpoint
from tamt_ray.finetune.model import Encoder
from tamt_ray.finetune.subnetwork import save_subnetwork
from tamt_ray.masks.file import mask_from_bytes
from tamt_ray.masks.mask import Mask
from tamt_ray.masks.matrices import POOLER, prunable_matrices

HOWTO = Path(__file__).parents[2] / "docs" / "howto.md"


def half(folder: Path) -> Mask:
    matrices = prunable_matrices(AutoModel.from_pretrained(folder))
    return Mask.by_magnitude(matrices, 0.5)


def body_weights(folder: Path) -> dict[str, Tensor]:
    """Of a published masked language model, under the names that its encoder alone has."""
    found = load_file(folder / "model.safetensors")
    return {
        name.split(".", 1)[1]: weight
        for name, weight in found.items()
        if name.startswith(("bert.", "roberta."))
    }


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_the_folder_holds_the_pruned_encoder(
    kind: str, model_dir: Path, roberta_dir: Path, tmp_path: Path
) -> None:
    """Pruned weights are zero, the others θ0's, and nothing is there that was not pre-trained."""
    origin = model_dir if kind == "bert" else roberta_dir
    mask, to = half(origin), tmp_path / "subnetwork"
    save_subnetwork(load_checkpoint(f"dir:{origin}"), mask, to)
    written, published = load_file(to / "model.safetensors"), body_weights(origin)
    assert written.keys() == published.keys()
    for name, weight in published.items():
        expected = weight * mask[name] if name in mask else weight
        assert torch.equal(written[name], expected), name
    again = mask_from_bytes((to / "mask.safetensors").read_bytes())
    assert all(torch.equal(again[name], keep) for name, keep in mask.items())
    before, after = (AutoTokenizer.from_pretrained(folder)("a b good c") for folder in (origin, to))
    assert before["input_ids"] == after["input_ids"]
    assert POOLER not in written, "this model was published without one"
    assert not list(tmp_path.glob(".*")), "nothing half-written remains"


def test_the_lines_of_the_how_to_keep_pruned_weights_at_zero(
    model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mask = half(model_dir)
    save_subnetwork(load_checkpoint(f"dir:{model_dir}"), mask, tmp_path / "subnetwork")
    monkeypatch.chdir(tmp_path)
    examples = re.findall(r"```python\n(.*?)```", HOWTO.read_text(), re.DOTALL)
    (code,) = (each for each in examples if "apply_mask" in each)
    held: dict[str, object] = {}
    exec(code, held)  # noqa: S102
    model = held["model"]
    assert isinstance(model, torch.nn.Module)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)
    for _ in range(3):
        ids = torch.randint(5, 20, (4, 9))
        model(input_ids=ids, labels=torch.randint(2, (4,))).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert type(model) is type(AutoModelForSequenceClassification.from_config(model.config))
    for name, keep in mask.items():
        weight = model.base_model.get_parameter(name)
        assert not weight[~keep].any(), name
        assert (weight != before[f"{model.base_model_prefix}.{name}"]).any(), f"{name} never moved"


def test_what_is_there_is_left_alone(model_dir: Path, tmp_path: Path) -> None:
    checkpoint, mask = load_checkpoint(f"dir:{model_dir}"), half(model_dir)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes").write_text("dear")
    (tmp_path / "file").write_text("dear")
    for name in ("mine", "file"):
        with pytest.raises(FileExistsError, match="it holds something already"):
            save_subnetwork(checkpoint, mask, tmp_path / name)
    assert (tmp_path / "mine" / "notes").read_text() == (tmp_path / "file").read_text() == "dear"
    (tmp_path / "empty").mkdir()
    save_subnetwork(checkpoint, mask, tmp_path / "empty")
    assert (tmp_path / "empty" / "config.json").is_file()


def test_another_models_mask_is_refused(model_dir: Path, tmp_path: Path) -> None:
    name, keep = next(iter(half(model_dir).items()))
    with pytest.raises(ValueError, match="another model's"):
        save_subnetwork(
            load_checkpoint(f"dir:{model_dir}"), Mask({name: keep[1:]}), tmp_path / "to"
        )
    assert not (tmp_path / "to").exists()


def test_a_published_pooler_is_pruned_too(model_dir: Path, tmp_path: Path) -> None:
    """The encoder of the tiny model, published with a pooler of its own."""
    with_pooler = tmp_path / "encoder"
    model = AutoModel.from_pretrained(model_dir)
    model.save_pretrained(with_pooler)
    AutoTokenizer.from_pretrained(model_dir).save_pretrained(with_pooler)
    encoder = Encoder(load_checkpoint(f"dir:{with_pooler}"), torch.device("cpu"))
    weights = {**prunable_matrices(encoder.body), POOLER: encoder.body.get_parameter(POOLER)}
    mask = Mask.by_magnitude(weights, 0.25)
    save_subnetwork(load_checkpoint(f"dir:{with_pooler}"), mask, tmp_path / "to")
    written = load_file(tmp_path / "to" / "model.safetensors")[POOLER]
    assert torch.equal(written, model.get_parameter(POOLER) * mask[POOLER])
