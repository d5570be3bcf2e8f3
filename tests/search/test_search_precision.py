"""Settings that trade digits for speed: nearly the same losses and masks."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tamt_ray.data.tokens import Blocks
from tamt_ray.search.engine import Engine, train
from tamt_ray.search.language_model import LanguageModel
from tamt_ray.search.mlm_corruption import Corrupted, Stream
from tamt_ray.search.process_group import ProcessGroup
from tamt_ray.values.training import Scoring

from .search_probes import masked_weights, settings, terms_of, train_mask

LoadModel = Callable[[Path], LanguageModel]
LoadBlocks = Callable[[Path], Blocks]
STEPS, LR = 6, 0.0037


@pytest.mark.parametrize("terms", ["mlm", "kd"])
def test_bfloat16_is_float32_within_a_tolerance(
    bert: Path, load: LoadModel, train_blocks: LoadBlocks, terms: str
) -> None:
    """The first loss, on equal masks, within 2 %; after six steps 85 % of the bits that moved, and
    the scores still float32."""
    curves, masks = [], []
    for precision in ("float32", "bfloat16"):
        stream = Stream(train_blocks(bert), 4, 5, 0.15)
        setting = settings(STEPS, LR, precision=precision)
        model = load(bert)
        weights = masked_weights(model, terms_of(terms), 0.5, Scoring(), 1)
        first = weights.mask()
        history = train(model, terms_of(terms), weights, stream, setting, ProcessGroup())
        masks.append(weights.mask())
        curves.append([p.value for p in history.points if p.name == "loss"])
        assert {str(s.dtype) for s in weights.scores.values()} == {"torch.float32"}
    assert curves[1][0] == pytest.approx(curves[0][0], rel=0.02)
    assert curves[1] != curves[0]
    apart = sum(int((masks[0][name] != masks[1][name]).sum()) for name in first)
    moved = sum(int((masks[0][name] != first[name]).sum()) for name in first)
    assert moved > 100
    assert apart <= 0.15 * moved


def test_tf32_is_on_in_the_passes_and_nowhere_else(
    bert: Path, load: LoadModel, train_blocks: LoadBlocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It speaks to GPUs only: here the masks are those of float32, bit for bit. Torch's compiler
    asks for the precision in two ways, and both have to answer."""
    seen: list[tuple[str, bool, str]] = []
    matmul = torch.backends.cuda.matmul
    plain = Engine._backward

    def watched(self: Engine, blocks: list[Corrupted]) -> dict[str, torch.Tensor]:
        general = torch.get_float32_matmul_precision()
        seen.append((general, matmul.allow_tf32, torch.backends.mkldnn.matmul.fp32_precision))
        return plain(self, blocks)

    monkeypatch.setattr(Engine, "_backward", watched)
    cpu, masks = torch.backends.mkldnn.matmul.fp32_precision, []
    for precision in ("float32", "tf32"):
        stream, setting = (
            Stream(train_blocks(bert), 4, 5, 0.15),
            settings(2, LR, precision=precision),
        )
        mask, _ = train_mask(
            load(bert), terms_of("mlm"), 0.5, Scoring(), stream, setting, ProcessGroup()
        )
        masks.append(mask)
        assert torch.get_float32_matmul_precision() == "highest"
        assert not matmul.allow_tf32
        assert torch.backends.mkldnn.matmul.fp32_precision == cpu
    assert seen == [("highest", False, cpu)] * 2 + [("high", True, cpu)] * 2
    assert all(torch.equal(masks[0][name], masks[1][name]) for name in masks[0])


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch's own compiler
def test_a_compiled_encoder_finds_the_same_masks_but_for_rounding(
    bert: Path, load: LoadModel, train_blocks: LoadBlocks
) -> None:
    """With dropout: first losses equal to six digits, at most one in a hundred of the bits that
    moved differs after six steps."""
    curves, masks = [], []
    for compiled in (False, True):
        stream = Stream(train_blocks(bert), 4, 5, 0.15)
        model = load(bert)
        model.body.config.hidden_dropout_prob = 0.1
        for layer in model.body.modules():
            if isinstance(layer, torch.nn.Dropout):
                layer.p = 0.1
        # TF32 changes nothing on a CPU, but the compiler asks for it.
        setting = settings(STEPS, LR, compile=compiled, precision="tf32")
        weights = masked_weights(model, terms_of("mlm"), 0.5, Scoring(), 1)
        first = weights.mask()
        history = train(model, terms_of("mlm"), weights, stream, setting, ProcessGroup())
        masks.append(weights.mask())
        curves.append([p.value for p in history.points if p.name == "loss"])
    assert curves[1][0] == pytest.approx(curves[0][0], rel=1e-6)
    apart = sum(int((masks[0][name] != masks[1][name]).sum()) for name in first)
    moved = sum(int((masks[0][name] != first[name]).sum()) for name in first)
    assert moved > 100
    assert apart <= 0.01 * moved
