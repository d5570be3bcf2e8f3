"""The curvature of the distillation loss, against finite differences, and the start made of it."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from tamt_ray.data.tokens import Tokens
from tamt_ray.masks.mask import Mask
from tamt_ray.masks.matrices import POOLER
from tamt_ray.masks.select import zeros_at, zeros_below
from tamt_ray.methods.tamt import TamtSearch
from tamt_ray.search.curvature import curvature
from tamt_ray.search.language_model import LanguageModel
from tamt_ray.search.mlm_corruption import Corrupted, Stream, stack
from tamt_ray.search.tamt import MaskedWeights
from tamt_ray.testing import check_method
from tamt_ray.values.training import Scoring

from .search_probes import doubled, states

LoadModel = Callable[[Path], LanguageModel]
LoadText = Callable[[Path], Tokens]
PROJECTIONS = 400


def padded(text: Tokens) -> Corrupted:
    """Two documents of different lengths."""
    return stack(Stream(text, 2, 5, 0.0).batch(0)).to(torch.device("cpu"))


def test_it_is_the_second_derivative_of_the_distillation_loss(
    bert: Path, load: LoadModel, train_documents: LoadText
) -> None:
    """2 L(θ0 + ε e) / ε² in double precision, L the sum over tokens and layers of 1 − cos."""
    batch = padded(train_documents(bert))
    assert batch.real is not None
    found = curvature(load(bert), itertools.repeat(batch, PROJECTIONS), "float32", 1)
    model = doubled(load(bert).eval())
    dense = [state.detach() for state in states(model, batch.ids, batch.real)]
    ratios = list[float]()
    for name, weight in model.matrices.items():
        place = int(found[name].argmax())
        with torch.no_grad():
            weight.view(-1)[place] += 1e-4
            moved = states(model, batch.ids, batch.real)
            weight.view(-1)[place] -= 1e-4
        loss = sum(
            float(((1 - functional.cosine_similarity(a, b, dim=-1)) * batch.real).sum())
            for a, b in zip(dense, moved, strict=True)
        )
        ratios.append(float(found[name].view(-1)[place]) / PROJECTIONS / (2 * loss / 1e-8))
    # A mean of so many squares of a normal variable has a standard deviation of 7 %.
    assert all(0.75 < ratio < 1.25 for ratio in ratios), ratios


@pytest.mark.parametrize(
    ("pattern", "comparison"),
    [("unstructured", "at_least"), ("unstructured", "above"), ("2:4", "at_least")],
)
def test_the_first_mask_keeps_the_largest_of_what_is_given(
    bert: Path, load: LoadModel, pattern: str, comparison: str
) -> None:
    model = load(bert)
    scoring = Scoring.model_validate({"init": "curved", "comparison": comparison})
    drawn = torch.Generator().manual_seed(0)
    sizes = {name: torch.rand(w.shape, generator=drawn) for name, w in model.dense.items()}
    sparsity = 0.5 if pattern == "2:4" else 0.7
    weights = MaskedWeights(model, sparsity, scoring, 1, pattern, sizes=sizes)
    zeros = zeros_below if comparison == "above" else zeros_at
    expected = Mask.by_magnitude(sizes, sparsity, zeros, pattern=pattern)
    assert all(torch.equal(keep, expected[name]) for name, keep in weights.mask().items())
    for name, weight in model.matrices.items():
        assert torch.equal(weight.data, model.dense[name] * expected[name])


def test_the_contract_of_a_method_is_kept() -> None:
    check_method({"method": "tamt_kd", "init": "curved", "lr": 0.01, "steps": 4})


def test_the_embedding_and_the_pooler_keep_their_weights(
    make_model: Callable[..., Path], train_blocks: LoadText
) -> None:
    """Most rows of the embedding are not in so little text, and no loss reaches the pooler."""
    path = make_model("headless")
    model = LanguageModel(path, pooler=True)
    search = TamtSearch.model_validate(
        {
            "model": {"source": f"dir:{path}"}, "sparsity": 0.5, "seed": 1, "steps": 1,
            "objective": [{"objective": "kd"}], "optimizer": {"lr": 0.01},
            "text": {"table": {"source": "dir:a.txt"}},
            "training": {"batch_size": 2, "micro_batch": 4}, "scoring": {"init": "curved"},
        }
    )  # fmt: skip
    done: list[tuple[int, int]] = []
    stream = Stream(train_blocks(path), 2, 1, 0.0)

    class Desk:
        def batches(self, text: object, size: int, count: int, seed: int) -> Iterator[Corrupted]:
            return (stack(stream.batch(step)) for step in range(count))

        def progress(self, step: int, steps: int) -> None:
            done.append((step, steps))

    bench: Any = Desk()
    sizes = search._sizes(bench, model)
    same = {name for name, size in sizes.items() if torch.equal(size, model.dense[name])}
    assert same == {model.embedding, POOLER}
    assert sizes.keys() == model.dense.keys()
    assert done == [(number, 16) for number in range(1, 17)], "a batch is no larger than a step's"
