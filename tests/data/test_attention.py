"""Masks that transformers takes as they are hide what its own ones hide."""

import pytest
import torch
from transformers import AutoConfig, AutoModel

from tamt_ray.data.device import _AS_GIVEN, whole_mask
from tests.conftest import NoWaiting

SIZES = {
    "vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 32, "max_position_embeddings": 40, "dim": 16, "hidden_dim": 32,
    "n_layers": 2, "n_heads": 2, "embedding_size": 16, "pad_token_id": 0, "bos_token_id": 1,
    "eos_token_id": 2,
}  # fmt: skip


@pytest.mark.parametrize("kind", [*sorted(_AS_GIVEN), "albert", "mpnet"])
def test_a_whole_mask_changes_no_bit(kind: str) -> None:
    torch.manual_seed(0)
    model = AutoModel.from_config(AutoConfig.for_model(kind, **SIZES)).eval()
    ids = torch.randint(5, 40, (3, 12))
    real = torch.arange(12) < torch.tensor([12, 7, 3])[:, None]
    mask = whole_mask(real, model.config)
    assert mask.ndim == (4 if kind in _AS_GIVEN else 2)
    with torch.no_grad():
        flat, whole, bare = (
            model(input_ids=ids, attention_mask=given).last_hidden_state
            for given in (real.long(), mask, None)
        )
    assert torch.equal(flat, whole)
    assert not torch.allclose(flat[1:, :3], bare[1:, :3], atol=1e-4)


@pytest.mark.parametrize("kind", sorted(_AS_GIVEN))
def test_no_pass_with_a_whole_mask_waits_for_a_gpu(kind: str, meta: torch.device) -> None:
    """Reading from the device raises here, as transformers does where it gets a flat mask."""
    with meta:
        model = AutoModel.from_config(AutoConfig.for_model(kind, **SIZES))
    ids, real = (torch.ones(3, 12, dtype=each, device=meta) for each in (torch.long, torch.bool))
    with NoWaiting():
        hidden = model(input_ids=ids, attention_mask=whole_mask(real, model.config))
        hidden.last_hidden_state.sum().backward()
    with pytest.raises((NotImplementedError, RuntimeError), match="meta"):
        model(input_ids=ids, attention_mask=real.long())


def test_other_kinds_of_attention_get_the_flat_mask() -> None:
    config = AutoConfig.for_model("bert", **SIZES)
    real = torch.ones(2, 3, dtype=torch.bool)
    config._attn_implementation = "eager"
    assert whole_mask(real, config) is real
