"""What a tuning shows, and that its lines can be pasted."""

import pytest
import yaml

from tamt_ray.analysis.tuning import best_frame, snippet, trials_frame
from tamt_ray.methods.imp import Imp
from tamt_ray.methods.tamt import Tamt
from tamt_ray.plan.study import studies
from tamt_ray.plan.tuning import Outcome, Rung, Trial
from tamt_ray.spec.sweep import Sweep

BASE: dict[str, object] = {
    "name": "small",
    "models": {"mini": {"source": "dir:m"}},
    "corpus": {"train": {"source": "dir:a.txt"}, "validation": {"source": "dir:a.txt"}},
    "sparsities": [0.5, 0.75],
    "mask_seeds": [1],
}
METHODS: list[object] = [
    {"method": "imp", "step": 0.25, "steps": 10},
    {"method": "tamt_kd", "name": "stale", "recipe": "released_code", "steps": {0.5: 40, 0.75: 50},
     "scale": 3.0},
]  # fmt: skip
TUNE = {
    "sparsity": 0.75, "trials": 3, "rungs": [20, 60],
    "methods": {
        "imp": {"lr": {"log": [1e-5, 1e-2]}, "search.decay_steps": {"log": [60, 30000]}},
        "stale": {"lr": {"log": [1e-5, 1e-2]}, "bias_correction": {"choice": [True, False]}},
    },
}  # fmt: skip


def outcomes() -> list[Outcome]:
    imp, stale = studies(Sweep.model_validate({**BASE, "methods": METHODS, "tune": TUNE}))

    def rungs(*losses: float) -> tuple[Rung, ...]:
        return tuple(
            Rung(steps, {"mlm_loss": loss, "kd_loss": loss / 10})
            for steps, loss in zip((20, 60), losses, strict=False)
        )

    first = {"lr": 5e-5, "search.decay_steps": 27920}
    better = {"lr": 1.2345678e-3, "search.decay_steps": 90}
    worse = {"lr": 1e-2, "search.decay_steps": 60}
    own = {"lr": 2e-5, "bias_correction": False}
    omp = {"mlm_loss": 8.0, "kd_loss": 0.5, "predicted_tokens": 9.0}
    return [
        Outcome(
            imp,
            (
                Trial(0, first, "finished", rungs(7.9, 7.5)),
                Trial(1, better, "finished", rungs(7.4, 7.25)),
                Trial(2, worse, "stopped", rungs(7.0)),
            ),
            omp,
        ),
        Outcome(
            stale,
            (
                Trial(0, own, "diverged", (), "the loss is nan"),
                Trial(2, {"lr": 3e-4, "bias_correction": True}, "finished", rungs(4.0, 3.0)),
            ),
            {},
        ),
    ]


def test_the_table_compares_the_best_with_the_sweeps_own_values_and_with_omp() -> None:
    imp, stale = best_frame(outcomes()).rows(named=True)
    assert (imp["best"], imp["own values"], imp["omp"]) == ("7.2500", "7.5000", "8.0000")
    assert (imp["trials"], imp["to the end"]) == ("3/3", "2")
    assert imp["best values"] == "lr 0.00123, search.decay_steps 90"
    assert (stale["best"], stale["own values"], stale["omp"]) == ("0.3000", "–", "–")
    assert (stale["objective"], stale["trials"]) == ("kd_loss", "2/3")


def test_what_is_pasted_is_the_method_with_the_best_values_for_the_tuned_length() -> None:
    """IMP to 75 % by 25 % trains two levels, so 60 steps are 30 a level."""
    text = snippet(outcomes())
    pasted = Sweep.model_validate({**BASE, **yaml.safe_load(text)})
    imp, stale = pasted.methods
    before = Sweep.model_validate({**BASE, "methods": METHODS}).methods
    assert isinstance(imp, Imp)
    assert isinstance(stale, Tamt)
    assert imp == before[0].model_copy(update={"lr": 1.2345678e-3, "steps": 30})
    found = {"lr": 3e-4, "bias_correction": True, "steps": {0.5: 40, 0.75: 60}}
    assert stale == before[1].model_copy(update=found)
    assert "rerank" not in text, "what the recipe implies is not repeated"
    assert "# with search.decay_steps 90" in text
    assert "# mlm_loss 7.2500 after 60 steps at 0.75 (OMP 8.0000)\n" in text
    assert "# kd_loss 0.3000 after 60 steps at 0.75\n" in text


def test_tuned_values_are_pasted_even_where_the_recipe_implies_them() -> None:
    imp = outcomes()[0]
    text = snippet([Outcome(imp.study, imp.trials[:1], {})])
    assert yaml.safe_load(text)["methods"][0]["lr"] == 5e-5


@pytest.mark.parametrize(
    "objective",
    [["mlm"], ["mlm", {"objective": "kd", "weight": 0.5}], [{"objective": "kd", "pads": True}]],
)
@pytest.mark.parametrize("recipe", ["paper", "released_code"])
def test_a_method_with_loss_terms_of_its_own_can_be_pasted_too(
    objective: list[object], recipe: str
) -> None:
    method = {"method": "tamt", "name": "own", "objective": objective, "recipe": recipe, "steps": 9}
    tune = {"sparsity": 0.75, "trials": 1, "rungs": [60],
            "methods": {"own": {"scale": {"uniform": [1.5, 4]}}}}  # fmt: skip
    (study,) = studies(Sweep.model_validate({**BASE, "methods": [method], "tune": tune}))
    rung = Rung(60, {"mlm_loss": 1.0, "kd_loss": 1.0})
    text = snippet([Outcome(study, (Trial(0, {"scale": 3.0}, "finished", (rung,)),), {})])
    (pasted,) = Sweep.model_validate({**BASE, **yaml.safe_load(text)}).methods
    assert pasted == study.method.model_copy(update={"scale": 3.0, "steps": 60})


def test_every_rung_of_every_trial_is_kept() -> None:
    frame = trials_frame(outcomes())
    assert frame.height == 2 + 2 + 1 + 1 + 2
    rows = frame.rows(named=True)
    assert [row["objective"] for row in rows if row["study"] == "mini/imp"] == [
        7.9, 7.5, 7.4, 7.25, 7.0,
    ]  # fmt: skip
    (diverged,) = [row for row in rows if row["ended"] == "diverged"]
    assert diverged["step"] is None
    assert diverged["error"] == "the loss is nan"
    assert yaml.safe_load(diverged["values"]) == {"lr": 2e-5, "bias_correction": False}


def test_nothing_found_is_nothing_to_paste() -> None:
    imp, stale = outcomes()
    assert snippet([Outcome(imp.study, (), {}), Outcome(stale.study, (), {})]) == ""
