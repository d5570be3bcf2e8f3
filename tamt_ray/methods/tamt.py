"""Task-agnostic mask training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Discriminator, Field, Tag, TypeAdapter, field_validator

from tamt_ray.methods.base import Asked, Bench, Found, Grid, Look, Method, Search, fault
from tamt_ray.methods.trained import TrainedMethod, TrainedSearch
from tamt_ray.objectives.base import OBJECTIVES, Objective, corruption_for, needs_head, passes
from tamt_ray.values.base import Count, Frozen
from tamt_ray.values.model import Defaults, ModelSize, Recipe
from tamt_ray.values.pattern import UNSTRUCTURED
from tamt_ray.values.text import Corruption, TextForm
from tamt_ray.values.training import Scoring

if TYPE_CHECKING:
    from torch import Tensor

    from tamt_ray.search.language_model import LanguageModel

    Term = Objective
else:
    Term = OBJECTIVES.entry("objective")


Steps = Annotated[
    Annotated[Count, Tag("number")] | Annotated[dict[float, Count], Tag("table")],
    Discriminator(lambda steps: "table" if isinstance(steps, dict) else "number"),
]
"""Optimiser steps: one number, or one for each sparsity."""
Terms = Annotated[tuple[Term, ...], Field(min_length=1)]

PAPER_STEPS: dict[float, int] = {
    0.2: 3000, 0.3: 6000, 0.4: 8000, 0.5: 11000, 0.6: 14000, 0.7: 17000, 0.8: 20000, 0.9: 22000,
}  # fmt: skip
"""Steps by sparsity, as the paper has them. The released KD saves a step before each thousand."""
START_STEPS = 16
"""Steps whose text the curvature at θ0 is taken from."""
SHORT_HEAD_LR = 1e-3
"""Rate of the MLM head where scores start graded."""
RELEASED_KD_DECAY = 42_700
"""Two epochs of the documents of WikiText-103, 16 a step."""

_PAPER: Mapping[tuple[str, ...], str] = {
    ("mlm",): "tamt_mlm", ("kd",): "tamt_kd", ("mlm", "kd"): "tamt_mlm_kd",
}  # fmt: skip
"""The paper's three by the names of their terms."""
_READS: Mapping[Corruption, str] = {
    "mlm": "", "none": ", clean text", "one_token": ", one token predicted",
}  # fmt: skip


class TamtSearch(TrainedSearch):
    """One mask training."""

    version: ClassVar[int] = 2
    length: ClassVar[str | None] = "steps"
    method: Literal["tamt"] = "tamt"
    objective: Terms
    scoring: Scoring = Scoring()

    def operations(self, size: ModelSize) -> float:
        """Count the training steps, and the text that the start reads."""
        head = needs_head(self.objective)
        steps = self.step_operations(size, passes(self.objective), head=head)
        if self.scoring.init == "curved":
            read = START_STEPS * self.training.batch_size * self.text.block_size
            steps += 3 * size.forward(read)
        return steps

    @property
    def travel(self) -> float | None:
        if self.scoring.is_graded:
            return None
        lr, decay_steps = self.optimizer.lr, self.training.decay_steps
        return score_travel(lr, decay_steps, self.steps, self.scoring.threshold)

    def find(self, bench: Bench) -> Found:
        from tamt_ray.search.tamt import MaskedWeights

        model = bench.model(self.head)
        sizes = self._sizes(bench, model) if self.scoring.init == "curved" else None
        weights = MaskedWeights(
            model,
            self.sparsity,
            self.scoring,
            self.seed,
            self.pattern,
            head=needs_head(self.objective),
            sizes=sizes,
        )
        history = bench.train(self, model, self.objective, weights)
        return Found(weights.mask(), history)

    def _sizes(self, bench: Bench, model: LanguageModel) -> dict[str, Tensor]:
        """Return W² h of every weight, by name.

        The word embedding and the pooler keep W: most rows of the first are not in so little text,
        and no loss reaches the second.
        """
        from tamt_ray.search.curvature import curvature

        training = self.training
        size = min(training.micro_batch, training.batch_size)
        count = START_STEPS * training.batch_size // size
        batches = bench.batches(self.text, size, count, self.seed)
        curved = curvature(
            model, batches, training.precision, self.seed, lambda done: bench.progress(done, count)
        )
        curved.pop(model.embedding, None)
        return {
            name: weight.square() * curved[name] if name in curved else weight
            for name, weight in model.dense.items()
        }


class Tamt(TrainedMethod, Scoring):
    """Task-agnostic mask training: scores learned straight-through (Eq. 3–5)."""

    unit: ClassVar[type[Search]] = TamtSearch
    aliases: ClassVar[Mapping[str, Mapping[str, object]]] = {
        alias: {"objective": list(terms)} for terms, alias in _PAPER.items()
    }
    looks: ClassVar[Mapping[str, Look]] = {
        "tamt_mlm": ("#0072b2", "triangle-up"),
        "tamt_kd": ("#cc79a7", "triangle-down"),
        "tamt_mlm_kd": ("#d55e00", "diamond"),
    }
    method: Literal["tamt"] = "tamt"
    """Name of the method."""
    objective: Terms
    """The loss terms whose weighted sum is minimised, such as `[mlm]` or
    `[mlm, {objective: kd, weight: 0.5}]`."""
    text: TextForm = "blocks"
    """`blocks` packed without padding; the same `shuffled`, a control without word order; or
    `documents`, padded, with two segments where a document has two paragraphs."""
    corruption: Corruption | Literal["auto"] = "auto"
    """`mlm`: a share of the tokens is masked or replaced; `none`: clean text; `one_token`: one
    token per sequence, drawn once. `auto`: `mlm` where a loss term predicts tokens, else `none`."""
    steps: Steps = Field(default_factory=lambda: dict(PAPER_STEPS))
    """Optimiser steps: one number, or a table by sparsity; by default the paper's, 3,000 at 0.2 to
    22,000 at 0.9."""
    checkpoints: tuple[Count, ...] = ()
    """Further steps at which the mask is kept and compared too (Fig. 5–8)."""

    @classmethod
    def defaults(cls, recipe: Recipe, entry: Mapping[str, object]) -> Defaults:
        """Return the recipe's settings; distillation alone has its own."""
        alone = _names(entry.get("objective")) == ("kd",)
        if recipe == "paper":
            # Only the released code tells a rate for distillation.
            return {"lr": 2e-5} if alone else {}
        if recipe == "short":
            # One weight in a hundred per step; the head's rate is no share of anything.
            head = any(
                OBJECTIVES.classes[name].needs_head
                for name in _names(entry.get("objective"))
                if name in OBJECTIVES.classes
            )
            return {"init": "graded", "lr": 0.01, **({"head_lr": SHORT_HEAD_LR} if head else {})}
        if not alone:
            return {"comparison": "above", "rerank_every": 1000, "early_eps": True}
        return {
            "objective": [{"objective": "kd", "pads": True, "teacher_dropout": True}],
            "comparison": "above",
            "rerank_every": 100,
            "rerank_early": True,
            "text": "documents",
            "corruption": "one_token",
            "bias_correction": False,
            "lr": 2e-5,
            "eps": 1e-6,
            "weight_decay": 0.01,
            "clip_per": "tensor",
            "decay_steps": RELEASED_KD_DECAY,
            "steps": {sparsity: steps - 1 for sparsity, steps in PAPER_STEPS.items()},
        }

    @field_validator("objective")
    @classmethod
    def _in_order(cls, terms: tuple[Objective, ...]) -> tuple[Objective, ...]:
        """Sort the terms: their order changes no result."""
        return tuple(sorted(terms, key=lambda term: _place(term.name)))

    @property
    def word(self) -> str:
        names = _names(self.objective)
        alias = _PAPER.get(names)
        if alias is None:
            return self.label
        entry: dict[str, object] = {"objective": list(names)}
        implied = {**entry, **self.defaults(self.recipe, entry)}["objective"]
        return alias if self.objective == _TERMS.validate_python(implied) else self.label

    @property
    def paper_role(self) -> str | None:
        starts = "graded" if self.recipe == "short" else "omp"
        mine = self.init == starts and self.control_of is None
        return self.word if mine and self.word in self.aliases else None

    @property
    def start(self) -> str:
        return self.init

    @property
    def control_of(self) -> Method | None:
        return self.model_copy(update={"text": "blocks"}) if self.text == "shuffled" else None

    @property
    def terms(self) -> tuple[Objective, ...]:
        return self.objective

    def check(self, grid: Grid) -> None:
        """Refuse a sparsity without steps, a term given twice, nothing to predict, and a rate of
        what does not train."""
        names = [term.name for term in self.objective]
        if len(set(names)) < len(names):
            raise fault("a loss term is given twice; give it once with a `weight`", "objective")
        if self.corruption == "none" and needs_head(self.objective):
            raise fault("a loss term predicts tokens, and clean text has none", "corruption")
        if self.pattern != UNSTRUCTURED and (self.comparison, self.rerank_every) != ("at_least", 1):
            raise fault(
                f"pattern {self.pattern} has no threshold to keep between two choices; set "
                "`comparison: at_least` and `rerank_every: 1`",
                "pattern",
            )
        if self.head_lr and not needs_head(self.objective):
            raise fault("no loss term predicts tokens, so no MLM head trains", "head_lr")
        for sparsity in grid.sparsities:
            if self._steps(sparsity) is None:
                raise fault(
                    f"method {self.name!r} has no steps for sparsity {sparsity}; "
                    f"give `steps: <number>` or add {sparsity} to its table",
                    "steps",
                )

    def searches(self, grid: Grid) -> Iterator[Asked]:
        """Yield the masks after the last step, and those on the way to it or beyond it."""
        optimizer, training = self.optimizer(), self.training(grid)
        text = grid.corpus.training(self.text, self._corruption)
        scoring = Scoring.model_validate(self.model_dump(include=set(Scoring.model_fields)))
        head = grid.head if needs_head(self.objective) else None
        for sparsity, seed in product(grid.sparsities, grid.mask_seeds):
            last = self._steps(sparsity)
            assert last is not None, "check refuses a sparsity without steps"
            for steps in (last, *(step for step in self.checkpoints if step != last)):
                search = TamtSearch(
                    model=grid.model, text=text, training=training, optimizer=optimizer,
                    objective=self.objective, scoring=scoring, sparsity=sparsity,
                    pattern=self.pattern, seed=seed, steps=steps, head=head, workers=grid.workers,
                )  # fmt: skip
                yield Asked(search, seed, None if steps == last else steps)

    def settings(self) -> tuple[str, str]:
        """Name start, threshold and ranking, and the text where it is not corrupted
        blocks."""
        when = "every step" if self.rerank_every == 1 else f"every {self.rerank_every} steps"
        sign = "≥" if self.comparison == "at_least" else ">"
        ranked = "S" if self.ranking == "signed" else "|S|"
        start = f"from {self.init}, φ {self.threshold:g}, α {self.scale:g}"
        if self.is_graded:
            start = f"from the ranks of {'|W|' if self.init == 'graded' else 'W² h'}"
        return self.optimiser_words(), (
            f"{start}, S {sign} φ, {ranked} ranked {when}{_READS[self._corruption]}"
            f"{'' if self.text == 'blocks' else f', {self.text}'}"
        )

    def trial(self, steps: int, sparsity: float) -> Self:
        """Train for so many steps; steps for other sparsities stay."""
        table = self.steps
        length = (
            dict(sorted({**table, sparsity: steps}.items())) if isinstance(table, dict) else steps
        )
        return self.model_copy(update={"steps": length, "checkpoints": ()})

    def joined(self, other: Method) -> Self | None:
        """Parts of a union may ask for different checkpoints of one method."""
        if not isinstance(other, Tamt):
            return None
        every = tuple(sorted({*self.checkpoints, *other.checkpoints}))
        return self._with_all(other, {"checkpoints": every})

    @property
    def _corruption(self) -> Corruption:
        return corruption_for(self.objective) if self.corruption == "auto" else self.corruption

    def _steps(self, sparsity: float) -> int | None:
        """Return the steps for a sparsity; None where the table lacks it."""
        return self.steps.get(sparsity) if isinstance(self.steps, dict) else self.steps


def score_travel(lr: float, decay_steps: int, steps: int, threshold: float) -> float:
    """Return Σ lr / φ over the steps: the way that a score can go, in thresholds.

    The learning rate falls linearly from `lr` to 0 over `decay_steps`. Adam moves a score by about
    the learning rate per step, if all gradients point one way.
    """
    done = min(steps, decay_steps)
    return lr * (done - done * (done - 1) / (2 * decay_steps)) / threshold


def _names(terms: object) -> tuple[str, ...]:
    """Return the names of terms in the paper's order, from a file or validated."""
    if not isinstance(terms, list | tuple):
        return ()
    names: list[str] = []
    for term in terms:
        if isinstance(term, Frozen):
            names.append(str(vars(term)["objective"]))
        else:
            names.append(str(term.get("objective") if isinstance(term, dict) else term))
    return tuple(sorted(names, key=_place))


def _place(name: str) -> tuple[bool, str]:
    """Return where a term stands: the paper's order is MLM, then KD."""
    return name != "mlm", name


_TERMS: TypeAdapter[tuple[Objective, ...]] = TypeAdapter(Terms)
