"""One of two workers: `python search_worker.py RANK RENDEZVOUS MODEL CORPUS RESULTS`."""

import json
import os
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import distributed

from tamt_ray.data.blocks import load_blocks
from tamt_ray.masks.mask import Mask
from tamt_ray.search.engine import Settings
from tamt_ray.search.imp import train_level
from tamt_ray.search.language_model import LanguageModel
from tamt_ray.search.masking import Stream
from tamt_ray.search.tamt import Scoring, train_mask
from tamt_ray.search.team import Team
from tamt_ray.spec.method import Training
from tamt_ray.spec.table import Corpus

STEPS = 8


def search_all(team: Team, model: Path, corpus: str, results: Path) -> None:
    """One search after the other in one gang; writes masks and loss curves."""
    blocks = load_blocks(Corpus.model_validate_json(corpus), "train", f"dir:{model}")
    # Five blocks in five pieces: one worker has three of them.
    training = Training(batch_size=5, micro_batch=1, horizon=20, clip=0.5, log_every=1)
    stream = Stream(blocks, 5, 7, 0.15)
    masks: dict[str, torch.Tensor] = {}
    curves: dict[str, list[float]] = {}
    for terms in ("kd", "mlm_kd", "imp"):
        theta = LanguageModel(model)
        if terms == "imp":
            below = Mask.by_magnitude(theta.dense, 0.3)
            settings = Settings(training, 0.01, STEPS, 7)
            mask, history = train_level(theta, below, 0.5, stream, settings, team)
        else:
            scoring = Scoring(0.7, "omp", 0.01, 2.0, "signed")
            settings = Settings(training, 0.0037, STEPS, 7)
            mask, history = train_mask(theta, terms, scoring, stream, settings, team)
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
