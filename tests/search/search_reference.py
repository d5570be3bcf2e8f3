"""The paper's methods written once more, the slow and plain way, to compare with.

Nothing of `tamt_ray.search` computes here: the model is transformers' own, weights are multiplied
by masks in every forward pass, logits are taken at all positions with transformers' own loss,
autograd differentiates through the product, and the optimisers and the clipping are written out.
"""

import copy
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.func import functional_call
from transformers import AutoModelForMaskedLM

from tamt_ray.search.mlm_corruption import Corrupted

IGNORE = -100
"""The label of a position that transformers' loss leaves out."""


def labels_of(batch: Corrupted) -> Tensor:
    """[batch, length]: the original token where it is predicted."""
    labels = torch.full_like(batch.ids, IGNORE)
    labels[batch.chosen] = batch.labels
    return labels


def distillation(
    teacher: tuple[Tensor, ...], student: tuple[Tensor, ...], counted: Tensor
) -> Tensor:
    """Eq. 6 over all hidden states but the embedding's, and over the tokens that count."""
    distances = [
        1 - (t * s).sum(-1) / (t.square().sum(-1).sqrt() * s.square().sum(-1).sqrt())
        for t, s in zip(teacher[1:], student[1:], strict=True)
    ]
    return torch.stack([distance[counted] for distance in distances]).mean()


def prune_smallest(values: Tensor, zeros: int) -> Tensor:
    """True for all but the `zeros` smallest; of equal ones the first go first."""
    keep = torch.ones(values.numel(), dtype=torch.bool)
    keep[torch.argsort(values.flatten(), stable=True)[:zeros]] = False
    return keep.view(values.shape)


@dataclass(frozen=True)
class Rules:
    """Where recipes differ; the paper's by default."""

    every: int = 1
    early: bool = False
    above: bool = False
    magnitude: bool = False
    bert_adam: bool = False
    decay: float = 0.0
    pads: bool = False
    early_eps: bool = False


PAPER = Rules()


class ThresholdFinder:
    """One matrix's mask from step to step: φ chosen now and then by sorting, standing between."""

    def __init__(self, zeros: int, rules: Rules) -> None:
        self._zeros, self._rules = zeros, rules
        self._threshold = 0.01

    def mask(self, scores: Tensor, step: int) -> Tensor:
        """After `step` steps, while training goes on."""
        rules = self._rules
        due = (step + rules.early) % rules.every == 0
        if step and (due or (rules.early and step == 1)):
            return self.anew(scores)
        values = self._values(scores)
        return values > self._threshold if rules.above else values >= self._threshold

    def anew(self, scores: Tensor) -> Tensor:
        """With a threshold for these scores."""
        values = self._values(scores)
        ranked = sorted(values.flatten().tolist())
        if self._rules.above:
            self._threshold = ranked[self._zeros - 1]
            return values > self._threshold
        self._threshold = ranked[self._zeros]
        return prune_smallest(values, self._zeros)

    def _values(self, scores: Tensor) -> Tensor:
        return scores.detach().abs() if self._rules.magnitude else scores.detach()


class BertAdam:
    """As BERT was pre-trained with: no bias correction, ε outside the root, decoupled decay, and
    every tensor clipped by its own norm."""

    def __init__(
        self, clip: float, betas: tuple[float, float], eps: float, decay: float = 0.0
    ) -> None:
        self._clip, self._betas, self._eps, self._decay = clip, betas, eps, decay
        self._moments: dict[str, tuple[Tensor, Tensor]] = {}
        self.norm = 0.0

    @torch.no_grad()
    def step(self, values: dict[str, Tensor], gradients: dict[str, Tensor], lr: float) -> None:
        """Move `values` in place."""
        first, second = self._betas
        self.norm = 0.0
        for name, value in values.items():
            norm = float(gradients[name].square().sum().sqrt())
            self.norm = max(self.norm, norm)
            gradient = gradients[name] * min(1.0, self._clip / (norm + 1e-6))
            zero = torch.zeros_like(gradient)
            m, v = self._moments.get(name, (zero, zero))
            m = first * m + (1 - first) * gradient
            v = second * v + (1 - second) * gradient**2
            self._moments[name] = m, v
            value -= lr * (m / (v.sqrt() + self._eps) + self._decay * value)


class AdamW:
    """Loshchilov and Hutter's algorithm 2 without decay, after clipping the global norm."""

    def __init__(
        self, clip: float, betas: tuple[float, float], eps: float, *, early: bool = False
    ) -> None:
        """`early`: ε is added before the correction."""
        self._clip, self._betas, self._eps, self._early = clip, betas, eps, early
        self._moments: dict[str, tuple[Tensor, Tensor]] = {}
        self._step = 0
        self.norm = 0.0

    @torch.no_grad()
    def step(self, values: dict[str, Tensor], gradients: dict[str, Tensor], lr: float) -> None:
        """Move `values` in place."""
        self._step += 1
        first, second = self._betas
        self.norm = float(torch.stack([g.square().sum() for g in gradients.values()]).sum().sqrt())
        factor = min(1.0, self._clip / (self.norm + 1e-6))
        for name, value in values.items():
            gradient = gradients[name] * factor
            zero = torch.zeros_like(gradient)
            m, v = self._moments.get(name, (zero, zero))
            m = first * m + (1 - first) * gradient
            v = second * v + (1 - second) * gradient**2
            self._moments[name] = m, v
            mean, correction = m / (1 - first**self._step), (1 - second**self._step) ** 0.5
            if self._early:
                value -= lr * mean * correction / (v.sqrt() + self._eps)
            else:
                value -= lr * mean / (v.sqrt() / correction + self._eps)


@dataclass
class Trace:
    """The course of a reference search; the lists have one entry a step."""

    masks: list[dict[str, Tensor]] = field(default_factory=list)
    saved: dict[str, Tensor] = field(default_factory=dict)
    """The mask that comes out of a mask training."""
    scores: list[dict[str, Tensor]] = field(default_factory=list)
    losses: list[dict[str, float]] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    head: dict[str, Tensor] = field(default_factory=dict)
    weights: dict[str, Tensor] = field(default_factory=dict)


class Reference:
    """One model of transformers, tied as it was published."""

    def __init__(self, path: Path, dtype: torch.dtype = torch.float64) -> None:
        model = AutoModelForMaskedLM.from_pretrained(path, dtype=torch.float32)
        self.model: nn.Module = model.to(dtype)
        self.prefix: str = model.base_model_prefix + "."
        self.teacher = copy.deepcopy(self.model).eval()
        self.parameters = {name: p.detach() for name, p in self.model.named_parameters()}
        self.embedding = next(n for n in self.parameters if n.endswith("word_embeddings.weight"))
        self.decoder = "cls.predictions.decoder.weight"
        if self.prefix == "roberta.":
            self.decoder = "lm_head.decoder.weight"
        self.matrices = {
            name: p
            for name, p in self.parameters.items()
            if name == self.embedding or (".layer." in name and p.ndim == 2)
        }
        self.head = [name for name in self.parameters if not name.startswith(self.prefix)]

    def short(self, named: dict[str, Tensor]) -> dict[str, Tensor]:
        """The same under the names within the encoder."""
        return {name.removeprefix(self.prefix): tensor for name, tensor in named.items()}

    def losses(
        self, replaced: dict[str, Tensor], batch: Corrupted, *, pads: bool = False
    ) -> dict[str, Tensor]:
        """`mlm` and `kd` with some tensors replaced; the decoder is not replaced along."""
        inputs = {
            "input_ids": batch.ids, "attention_mask": batch.real, "output_hidden_states": True
        }  # fmt: skip
        if batch.segments is not None:
            inputs["token_type_ids"] = batch.segments
        everything = torch.ones_like(batch.ids, dtype=torch.bool)
        counted = everything if pads or batch.real is None else batch.real
        student = functional_call(
            self.model, replaced, (), {**inputs, "labels": labels_of(batch)}, tie_weights=False
        )
        with torch.no_grad():
            teacher = self.teacher(**inputs)
        return {
            "mlm_loss": student.loss,
            "kd_loss": distillation(teacher.hidden_states, student.hidden_states, counted),
        }

    def straight_through(
        self, scores: dict[str, Tensor], masks: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """W ⊙ M, where M passes its gradient on to S unchanged."""
        return {
            name: weight * (masks[name] + scores[name] - scores[name].detach())
            for name, weight in self.matrices.items()
        }

    def train_mask(
        self,
        terms: list[str],
        batches: list[Corrupted],
        zeros: dict[str, int],
        *,
        lr: float,
        decay_steps: int,
        clip: float,
        first: dict[str, Tensor] | None = None,
        rules: Rules = PAPER,
    ) -> Trace:
        """Eq. 3–5 with α = 2 and φ = .01, from OMP unless another first mask is given.

        The zeros and the masks go by full names.
        """
        self.model.train()
        start = first or {n: prune_smallest(w.abs(), zeros[n]) for n, w in self.matrices.items()}
        scores = {
            name: torch.where(start[name], 0.02, 0.0).to(weight.dtype).requires_grad_()
            for name, weight in self.matrices.items()
        }
        names = self.head if "mlm_loss" in terms else []
        head = {name: self.parameters[name].clone().requires_grad_() for name in names}
        optimizer, trace = AdamW(clip, (0.9, 0.999), 1e-8, early=rules.early_eps), Trace()
        if rules.bert_adam:
            optimizer = BertAdam(clip, (0.9, 0.999), 1e-6, rules.decay)
        selections = {name: ThresholdFinder(zeros[name], rules) for name in scores}
        masks = start
        for step, batch in enumerate(batches):
            replaced = {**self.straight_through(scores, masks), **head}
            # The bias belongs to the head and to the decoder, under two names.
            replaced.update(self._decoder_bias(head))
            losses = self.losses(replaced, batch, pads=rules.pads)
            moved = {**scores, **head}
            total = torch.stack([losses[term] for term in terms]).sum()
            gradients = torch.autograd.grad(total, list(moved.values()))
            optimizer.step(
                moved, dict(zip(moved, gradients, strict=True)), lr * (1 - step / decay_steps)
            )
            trace.losses.append({term: losses[term].item() for term in terms})
            trace.norms.append(optimizer.norm)
            trace.scores.append({n: s.detach().clone() for n, s in scores.items()})
            masks = {n: selections[n].mask(s, step + 1) for n, s in scores.items()}
            trace.masks.append(masks)
        trace.saved = {n: selections[n].anew(s) for n, s in scores.items()}
        trace.head = {name: tensor.detach() for name, tensor in head.items()}
        return trace

    def train_level(
        self,
        below: dict[str, Tensor],
        batches: list[Corrupted],
        zeros: dict[str, int],
        *,
        lr: float,
        decay_steps: int,
        clip: float,
        start: dict[str, Tensor] | None = None,
        early_eps: bool = False,
    ) -> Trace:
        """Train every weight under `below`, in the manner of torch.nn.utils.prune, then prune.

        From θ0, or from the trained weights of the level below.
        """
        self.model.train()
        begin = start or self.parameters
        weights = {name: p.clone().requires_grad_() for name, p in begin.items()}
        optimizer, trace = AdamW(clip, (0.9, 0.999), 1e-8, early=early_eps), Trace()
        for step, batch in enumerate(batches):
            masked = {n: w * below[n] if n in below else w for n, w in weights.items()}
            # Tied: the decoder is the very leaf whose product with the mask the input sees.
            tied = {self.decoder: weights[self.embedding], **self._decoder_bias(weights)}
            loss = self.losses({**masked, **tied}, batch)["mlm_loss"]
            gradients = torch.autograd.grad(loss, list(weights.values()))
            optimizer.step(
                weights, dict(zip(weights, gradients, strict=True)), lr * (1 - step / decay_steps)
            )
            trace.losses.append({"mlm_loss": loss.item()})
            trace.norms.append(optimizer.norm)
        trace.weights = {name: weight.detach() for name, weight in weights.items()}
        alive = {n: torch.where(below[n], weights[n].detach().abs(), -1.0) for n in below}
        trace.masks = [{n: prune_smallest(a, zeros[n]) for n, a in alive.items()}]
        return trace

    def _decoder_bias(self, head: dict[str, Tensor]) -> dict[str, Tensor]:
        name = self.decoder.replace("weight", "bias")
        mine = self.decoder.replace("decoder.weight", "bias")
        return {name: head[mine]} if mine in head else {}
