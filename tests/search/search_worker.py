"""One of two workers: `python search_worker.py RANK RENDEZVOUS MODEL CORPUS RESULTS`."""

import json
import os
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import distributed

from tamt_ray.data.blocks import load_blocks, load_paragraphs
from tamt_ray.masks.mask import Mask
from tamt_ray.search.engine import Settings
from tamt_ray.search.imp import train_level
from tamt_ray.search.language_model import LanguageModel
from tamt_ray.search.masking import Stream
from tamt_ray.search.tamt import train_mask
from tamt_ray.search.team import Team
from tamt_ray.spec.method import Distillation, Scoring
from tamt_ray.values.optimizer import Optimizer
from tamt_ray.values.table import Corpus
from tamt_ray.values.training import Training

STEPS = 8
METHODS = ("kd", "mlm_kd", "imp", "paragraphs", "short")


def search_all(team: Team, model: Path, corpus: str, results: Path) -> None:
    """One search after the other in one gang; writes masks and loss curves."""
    text = Corpus.model_validate_json(corpus)
    blocks = load_blocks(text, "train", f"dir:{model}")
    # Five blocks in five pieces: one worker has three of them.
    training = Training(batch_size=5, micro_batch=1, horizon=20, log_every=1)
    stream = Stream(blocks, 5, 7, 0.15)
    masks: dict[str, torch.Tensor] = {}
    curves: dict[str, list[float]] = {}
    for terms in METHODS:
        theta = LanguageModel(model)
        if terms == "imp":
            below = Mask.by_magnitude(theta.dense, 0.3)
            settings = Settings(training, Optimizer(lr=0.01, clip=0.5), STEPS, 7)
            mask, history, _ = train_level(theta, below, 0.5, stream, settings, team)
        elif terms == "paragraphs":
            # Micro-batches of unequal numbers of tokens, and a density that drifts.
            settings = Settings(training, Optimizer(lr=0.0037, clip=0.5), STEPS, 7)
            padded = Stream(load_paragraphs(text, "train", f"dir:{model}"), 5, 7, 0.15)
            scoring = Scoring(comparison="above", rerank_every=3)
            mask, history = train_mask(
                theta, "kd", 0.7, scoring, padded, settings, team,
                distillation=Distillation(kd_text="paragraphs", teacher_dropout=True),
            )  # fmt: skip
        elif terms == "short":
            settings = Settings(
                training.model_copy(update={"gradients": "bfloat16"}),
                Optimizer(lr=0.0037, clip=0.5), STEPS, 7,
            )  # fmt: skip
            mask, history = train_mask(theta, "kd", 0.7, Scoring(), stream, settings, team)
        else:
            settings = Settings(training, Optimizer(lr=0.0037, clip=0.5), STEPS, 7)
            mask, history = train_mask(theta, terms, 0.7, Scoring(), stream, settings, team)
        masks.update({f"{terms} {name}": keep for name, keep in mask.items()})
        curves[terms] = [point.value for point in history.points if point.name == "loss"]
    save_file(masks, results / f"{team.rank}.safetensors")
    (results / f"{team.rank}.json").write_text(json.dumps(curves))


def main() -> None:
    """Join the other worker and search."""
    rank, rendezvous, model, corpus, results = sys.argv[1:]
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    distributed.init_process_group(
        "gloo", init_method=f"file://{rendezvous}", rank=int(rank), world_size=2
    )
    try:
        search_all(Team(rank=int(rank), size=2), Path(model), corpus, Path(results))
    finally:
        distributed.destroy_process_group()


if __name__ == "__main__":
    main()
