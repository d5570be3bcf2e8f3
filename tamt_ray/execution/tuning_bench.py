"""Running one trial: train to a rung, evaluate the mask, go on. Knows nothing of Ray."""

import time
from collections.abc import Iterator, Mapping

import torch
from safetensors.torch import load
from torch import Tensor

from tamt_ray.data.blocks import load_blocks
from tamt_ray.execution.preparation import TERMS, language_model, settings, stream
from tamt_ray.masks.mask import Mask
from tamt_ray.plan.config import ImpConfig, TamtConfig
from tamt_ray.plan.tuning import Rung, Study
from tamt_ray.search.engine import Progress
from tamt_ray.search.evaluate import pretraining_losses
from tamt_ray.search.imp import train_level
from tamt_ray.search.language_model import LanguageModel
from tamt_ray.search.tamt import MaskTraining
from tamt_ray.search.team import Team
from tamt_ray.spec.tuning import Value
from tamt_ray.store.store import Store, StoreError


class TrialBench:
    """One process's tools for the trials of one study."""

    def __init__(self, study: Study, store: Store, team: Team) -> None:
        self._study = study
        self._model = study.sweep.models[study.model]
        self._team = team
        self._head = _head(study, store)
        # A judge of its own: a search trains the head and leaves its weights masked.
        self._judge = self._language_model()
        self._blocks = load_blocks(study.sweep.corpus, "validation", self._model.source)

    def climb(
        self, values: Mapping[str, Value], progress: Progress | None = None
    ) -> Iterator[Rung]:
        """The losses of a trial's mask at every rung, each computed when it is asked for.

        `progress` is told of every training step.
        Raises NonFiniteLossError, and whatever the search raises.
        """
        for steps, mask in self._masks(values, progress):
            yield Rung(steps, self._losses(mask), time.time())

    def _masks(
        self, values: Mapping[str, Value], progress: Progress | None
    ) -> Iterator[tuple[int, Mask]]:
        rungs = self._study.tuning.rungs
        match self._study.searches(values, rungs[-1]):
            case (TamtConfig() as config,):
                training = self._mask_training(config)
                for steps in rungs:
                    yield steps, training.advance(steps, progress)
            case _:
                for steps in rungs:
                    yield steps, self._chain(self._study.searches(values, steps), progress)

    def _mask_training(self, config: TamtConfig) -> MaskTraining:
        return MaskTraining(
            self._language_model(), TERMS[config.method], config.sparsity, config.scoring,
            stream(config), settings(config), self._team, distillation=config.distillation,
        )  # fmt: skip

    def _chain(self, levels: tuple[TamtConfig | ImpConfig, ...], progress: Progress | None) -> Mask:
        """The mask of the last level."""
        mask: Mask | None = None
        weights: Mapping[str, Tensor] | None = None
        for level in levels:
            assert isinstance(level, ImpConfig)
            model = self._language_model()
            below = mask or Mask.by_magnitude(model.dense, level.start)
            start = None if level.rewind else weights
            mask, _, weights = train_level(
                model, below, level.sparsity, stream(level), settings(level), self._team,
                progress, start=start,
            )  # fmt: skip
        assert mask is not None, "the spec refuses a chain without a trained level"
        return mask

    def _losses(self, mask: Mask) -> dict[str, float]:
        with torch.no_grad():
            for name, weight in self._judge.matrices.items():
                weight.copy_(self._judge.dense[name])
        found = pretraining_losses(
            self._judge,
            mask,
            self._blocks,
            probability=self._study.sweep.corpus.mlm_probability,
            seed=self._study.sweep.pretrain_eval.seed,
            batch_size=self._study.sweep.pretrain_eval.batch_size,
            device=self._team.device,
        )
        return {name: found[name] for name in ("mlm_loss", "kd_loss")}

    def _language_model(self) -> LanguageModel:
        return language_model(self._model, self._team.device, self._head)


def _head(study: Study, store: Store) -> dict[str, Tensor] | None:
    """The trained MLM head of a model that was published without one."""
    heads = [unit.id for unit in study.ground().units.values() if unit.kind == "head"]
    if not heads:
        return None
    record = store.record("head", heads[0])
    if record is None:
        raise StoreError(f"head {heads[0][:8]} is needed but has no record in the store")
    return load(store.artifact(record, "head.safetensors"))
