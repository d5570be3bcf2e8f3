"""One of two workers: `python search_worker.py RANK RENDEZVOUS MODEL CORPUS RESULTS`."""

import json
import os
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import distributed

from tamt_ray.data.blocks import load_blocks
from tamt_ray.data.documents import load_documents
from tamt_ray.masks.mask import Mask
from tamt_ray.objectives.base import needs_head
from tamt_ray.objectives.kd import Kd
from tamt_ray.objectives.mlm import Mlm
from tamt_ray.search.engine import Settings, train
from tamt_ray.search.imp import Subnetwork, prune_trained
from tamt_ray.search.language_model import LanguageModel
from tamt_ray.search.mlm_corruption import Stream
from tamt_ray.search.process_group import ProcessGroup
from tamt_ray.search.tamt import MaskedWeights
from tamt_ray.values.text import Corpus
from tamt_ray.values.training import Optimizer, Scoring, Training

STEPS = 8
METHODS = ("kd", "mlm_kd", "imp", "documents", "short")


def search_all(group: ProcessGroup, model: Path, corpus: str, results: Path) -> None:
    """One search after the other in one gang; writes masks and loss curves."""
    text = Corpus.model_validate_json(corpus)
    blocks = load_blocks(text.training(), f"dir:{model}")
    # Five blocks in five pieces: one worker has three of them.
    training = Training(batch_size=5, micro_batch=1, decay_steps=20, log_every=1)
    stream = Stream(blocks, 5, 7, 0.15)
    optimizer = Optimizer(lr=0.0037, clip=0.5)
    terms = {"mlm_kd": (Mlm(), Kd()), "documents": (Kd(teacher_dropout=True),)}
    masks: dict[str, torch.Tensor] = {}
    curves: dict[str, list[float]] = {}
    for method in METHODS:
        theta = LanguageModel(model)
        if method == "imp":
            below = Mask.by_magnitude(theta.dense, 0.3)
            settings = Settings(training, Optimizer(lr=0.01, clip=0.5), STEPS, 7)
            history = train(theta, [Mlm()], Subnetwork(theta, below), stream, settings, group)
            mask = prune_trained(theta, below, 0.5)
        else:
            settings, drawn, scoring = Settings(training, optimizer, STEPS, 7), stream, Scoring()
            if method == "documents":
                # Micro-batches of unequal numbers of tokens, and a density that drifts.
                documents = load_documents(text.training("documents"), f"dir:{model}")
                drawn = Stream(documents, 5, 7, 0.15)
                scoring = Scoring(comparison="above", rerank_every=3)
            if method == "short":
                short = training.model_copy(update={"gradients": "bfloat16"})
                settings = Settings(short, optimizer, STEPS, 7)
            objective = terms.get(method, (Kd(),))
            weights = MaskedWeights(theta, 0.7, scoring, 7, head=needs_head(objective))
            history = train(theta, objective, weights, drawn, settings, group)
            mask = weights.mask()
        masks.update({f"{method} {name}": keep for name, keep in mask.items()})
        curves[method] = [point.value for point in history.points if point.name == "loss"]
    save_file(masks, results / f"{group.rank}.safetensors")
    (results / f"{group.rank}.json").write_text(json.dumps(curves))


def main() -> None:
    """Join the other worker and search."""
    rank, rendezvous, model, corpus, results = sys.argv[1:]
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    distributed.init_process_group(
        "gloo", init_method=f"file://{rendezvous}", rank=int(rank), world_size=2
    )
    try:
        search_all(ProcessGroup(rank=int(rank), size=2), Path(model), corpus, Path(results))
    finally:
        distributed.destroy_process_group()


if __name__ == "__main__":
    main()
