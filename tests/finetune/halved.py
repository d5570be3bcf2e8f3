"""A fine-tune at its beginning: half of the encoder's weights are pruned at random."""

from typing import NamedTuple

import torch

from tamt_ray.data.checkpoint import load_checkpoint, tokenizer
from tamt_ray.data.table import load_rows
from tamt_ray.finetune.model import Encoder, Network
from tamt_ray.finetune.vocabulary import tokens_of
from tamt_ray.masks.mask import KeptZero, Mask
from tamt_ray.masks.matrices import prunable_matrices
from tamt_ray.tasks.base import Task
from tamt_ray.tasks.features.examples import Examples
from tamt_ray.values.model import Model


class Halved(NamedTuple):
    network: Network
    data: Examples
    pruned: KeptZero


def halved(model: Model, task: Task, device: torch.device) -> Halved:
    checkpoint = load_checkpoint(model.source)
    data = task.examples(load_rows(task.train), tokenizer(checkpoint), None, 1)
    encoder = Encoder(checkpoint, device)
    network = encoder.network(model, task, 1, tokens_of([data.sequences]))
    names = prunable_matrices(encoder.body)
    mask = Mask.at_random({name: encoder._original[name] for name in names}, 0.5, 1)
    return Halved(network, data, KeptZero(*encoder.masked(mask)))
