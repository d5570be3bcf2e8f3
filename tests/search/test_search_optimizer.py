"""The optimisers against their published definitions, number by number in plain Python."""

import math

import pytest
import torch
from torch import nn

from tamt_ray.search.optimizer import clip_gradients, make_optimizer, set_rates
from tamt_ray.values.training import Optimizer

GRADIENTS = [[0.5, -2.0, 0.0], [-0.1, -1.0, 3.0], [0.5, 4.0, 0.0], [0.0, 0.0, 1e-4]]
START = [1.0, -1.0, 0.25]
RATES = [0.1, 0.075, 0.05, 0.025]


def moved(
    optimizer: Optimizer, dtype: torch.dtype = torch.float64, scale: float = 1
) -> list[list[float]]:
    """The values after every step."""
    values = nn.Parameter(torch.tensor(START, dtype=dtype))
    made = make_optimizer([values], optimizer)
    found = []
    for rate, gradient in zip(RATES, GRADIENTS, strict=True):
        for group in made.param_groups:
            group["lr"] = rate * scale
        values.grad = torch.tensor(gradient, dtype=dtype)
        made.step()
        found.append(values.detach().tolist())
    return found


def by_definition(
    *, corrected: bool, early: bool, eps: float, decay: float, betas: tuple[float, float]
) -> list[list[float]]:
    """Kingma and Ba's algorithm 1 with decoupled decay; BERT's own leaves the correction out, and
    with `early` it comes after ε, as in the more efficient form at the end of their section 2."""
    w, m, v = list(START), [0.0] * 3, [0.0] * 3
    found = []
    for t, (rate, gradient) in enumerate(zip(RATES, GRADIENTS, strict=True), start=1):
        for i, g in enumerate(gradient):
            m[i] = betas[0] * m[i] + (1 - betas[0]) * g
            v[i] = betas[1] * v[i] + (1 - betas[1]) * g * g
            first, second = m[i], v[i]
            if corrected:
                first, second = first / (1 - betas[0] ** t), second / (1 - betas[1] ** t)
            rooted = math.sqrt(second) + eps
            if corrected and early:
                rooted = (math.sqrt(v[i]) + eps) / math.sqrt(1 - betas[1] ** t)
            w[i] -= rate * (first / rooted + decay * w[i])
        found.append(list(w))
    return found


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.8, 0.95)])
@pytest.mark.parametrize(("eps", "decay"), [(1e-8, 0.0), (1e-6, 0.01), (0.3, 0.2)])
@pytest.mark.parametrize(("corrected", "early"), [(True, False), (True, True), (False, False)])
def test_each_step_is_the_published_one(
    corrected: bool, early: bool, eps: float, decay: float, betas: tuple[float, float]
) -> None:
    optimizer = Optimizer(
        eps=eps, weight_decay=decay, betas=betas, bias_correction=corrected, early_eps=early
    )
    expected = by_definition(corrected=corrected, early=early, eps=eps, decay=decay, betas=betas)
    for found, right in zip(moved(optimizer), expected, strict=True):
        assert found == pytest.approx(right, rel=1e-10, abs=1e-12)


def test_the_first_step_of_bert_adam_is_more_than_three_times_adams() -> None:
    # (1 − .9)g / √(1 − .999)|g| = .1 / √.001 = 3.16; Adam's is g / |g| = 1.
    (bert, *_), (adam, *_) = (
        moved(Optimizer(bias_correction=corrected)) for corrected in (False, True)
    )
    assert START[0] - adam[0] == pytest.approx(0.1, rel=1e-6)
    assert START[0] - bert[0] == pytest.approx(0.1 * 0.1 / math.sqrt(0.001), rel=1e-6)
    assert bert[2] == START[2], "a weight without gradient and without decay moved"


@pytest.mark.parametrize("corrected", [True, False])
def test_the_state_is_three_plain_tensors_and_carries_the_rest_over(corrected: bool) -> None:
    optimizer = Optimizer(weight_decay=0.1, bias_correction=corrected)
    whole = moved(optimizer, torch.float32)
    values = nn.Parameter(torch.tensor(START))
    made = make_optimizer([values], optimizer)
    for step, (rate, gradient) in enumerate(zip(RATES, GRADIENTS, strict=True)):
        if step == 2:
            state = {name: tensor.clone() for name, tensor in made.state[values].items()}
            assert state.keys() == {"step", "exp_avg", "exp_avg_sq"}
            assert float(state["step"]) == 2
            values = nn.Parameter(values.detach().clone())
            made = make_optimizer([values], optimizer)
            made.state[values] = state
        made.param_groups[0]["lr"] = rate
        values.grad = torch.tensor(gradient)
        made.step()
        assert values.tolist() == whole[step]


@pytest.mark.parametrize("corrected", [True, False])
@pytest.mark.parametrize("early", [True, False])
def test_the_head_has_a_rate_of_its_own(corrected: bool, early: bool) -> None:
    given = Optimizer(lr=0.2, head_lr=0.1, bias_correction=corrected, early_eps=early)
    scores, head = (nn.Parameter(torch.tensor(START, dtype=torch.float64)) for _ in range(2))
    made = make_optimizer([scores, head], given, [head])
    alone = given.model_copy(update={"head_lr": None})
    slow, fast = moved(alone), moved(alone, scale=2)
    for step, (rate, gradient) in enumerate(zip(RATES, GRADIENTS, strict=True)):
        set_rates(made, rate / RATES[0])
        for parameter in (scores, head):
            parameter.grad = torch.tensor(gradient, dtype=torch.float64)
        made.step()
        assert head.tolist() == pytest.approx(slow[step], rel=1e-12)
        assert scores.tolist() == pytest.approx(fast[step], rel=1e-12)


def clipped(optimizer: Optimizer, *gradients: list[float]) -> list[list[float]]:
    parameters = [nn.Parameter(torch.zeros(len(gradient))) for gradient in gradients]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = torch.tensor(gradient)
    clip_gradients(parameters, optimizer)
    return [parameter.grad.tolist() for parameter in parameters if parameter.grad is not None]


def test_one_norm_over_all_gradients() -> None:
    # ‖(3, 4), (12)‖ = 13
    found = clipped(Optimizer(clip=6.5), [3.0, 4.0], [12.0])
    assert found[0] == pytest.approx([1.5, 2.0], rel=1e-5)
    assert found[1] == pytest.approx([6.0], rel=1e-5)


def test_each_tensor_by_its_own_norm() -> None:
    # ‖(3, 4)‖ = 5 is halved, ‖(12)‖ comes down to 2.5, and what is small stays as it is.
    found = clipped(Optimizer(clip=2.5, clip_per="tensor"), [3.0, 4.0], [12.0], [0.5, -1.0])
    assert found[0] == pytest.approx([1.5, 2.0], rel=1e-5)
    assert found[1] == pytest.approx([2.5], rel=1e-5)
    assert found[2] == [0.5, -1.0]
