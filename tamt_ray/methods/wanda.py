"""Wanda: pruning by weights and activations (Sun et al., 2023)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from tamt_ray.methods.base import Bench
from tamt_ray.methods.one_shot import CalibratedMethod, CalibratedSearch
from tamt_ray.values.pattern import Per
from tamt_ray.values.text import Corruption

if TYPE_CHECKING:
    from torch import Tensor


class WandaSearch(CalibratedSearch):
    """The largest |w| · ‖x‖, x the input of the weight over all tokens of the text."""

    passes: ClassVar[int] = 1
    method: Literal["wanda"] = "wanda"

    def scores(self, bench: Bench) -> Mapping[str, Tensor]:
        """Return |w| times the root mean square of its input.

        The input of the word embedding is one-hot, so all weights of a row share their norm: it
        counts as 1, as does that of the pooler, which no objective reaches.
        """
        import torch
        from torch import nn

        model = bench.model().eval()
        squares = {name: torch.zeros(()) for name in model.dense}

        def watch(name: str) -> object:
            def add(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
                squares[name] = squares[name] + inputs[0].flatten(0, -2).square().mean(0)

            return add

        hooks = [
            module.register_forward_pre_hook(watch(f"{name}.weight"))  # pyright: ignore
            for name, module in model.body.named_modules()
            if isinstance(module, nn.Linear) and f"{name}.weight" in model.matrices
        ]
        reading = bench.batches(self.text, self.batch_size, self.batches, self.seed)
        with torch.no_grad():
            for number, batch in enumerate(reading, start=1):
                model.outputs(batch.ids, batch.real, segments=batch.segments)
                bench.progress(number, self.batches)
        for hook in hooks:
            hook.remove()
        norms = {name: (total.cpu() / self.batches).sqrt() for name, total in squares.items()}
        return {
            name: weight.abs().cpu() * (norms[name] if norms[name].ndim else 1.0)
            for name, weight in model.dense.items()
        }


class Wanda(CalibratedMethod):
    """One-shot pruning by |w| · ‖x‖, x the weight's input on clean text, ranked in each row."""

    corruption: ClassVar[Corruption] = "none"
    unit: ClassVar[type[CalibratedSearch]] = WandaSearch  # pyright: ignore[reportIncompatibleVariableOverride]
    method: Literal["wanda"] = "wanda"
    """Name of the method."""
    per: Per = "row"
    """Weights that are ranked together: each `row` (output), as published; the `matrix`; or all
    weights of the `model`."""

    @property
    def score(self) -> str:
        return "|w| · ‖x‖"
