"""`tune:` in a sweep file: what it takes, and one message with its line for each mistake."""

import pytest

from tamt_ray.methods.imp import Imp
from tamt_ray.methods.tamt import Tamt
from tamt_ray.spec.load import SpecError, parse_sweep
from tamt_ray.spec.tuning import Domain, Tuning, tunable, with_values

GOOD = """\
name: small
models:
  mini: {source: "dir:m"}
corpus:
  train: {source: "dir:a.txt"}
  validation: {source: "dir:b.txt"}
search: {decay_steps: 400}
methods:
  - omp
  - {method: imp, step: 0.35, steps: 10}
  - {method: tamt_kd, steps: 40, lr: 1e-3}
  - {method: tamt_mlm_kd, name: both, steps: 40}
sparsities: [0.7]
tune:
  sparsity: 0.7
  trials: 24
  rungs: [20, 60, 180]
  methods:
    imp: {lr: {log: [1e-5, 1e-3]}}
    tamt_kd: {lr: {log: [1e-5, 1e-2]}, scale: {uniform: [1.1, 4]}}
    both: {ranking: {choice: [signed, magnitude]}, search.decay_steps: {log: [200, 2000]}}
"""


def complaint(old: str, new: str) -> str:
    assert GOOD.count(old) == 1, old
    with pytest.raises(SpecError) as caught:
        parse_sweep(GOOD.replace(old, new), "s.yaml")
    return str(caught.value)


def tuning() -> Tuning:
    sweep = parse_sweep(GOOD)
    assert sweep.tune
    return sweep.tune


def test_a_good_section_is_read() -> None:
    assert tuning().trials == 24
    assert tuning().methods["tamt_kd"]["scale"] == Domain(uniform=(1.1, 4.0))
    assert tuning().reduction == 3.0


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("    imp: {lr", "    ipm: {lr",
         "19: `tune.methods.ipm`: no method is called 'ipm'; did you mean `imp`?"),
        ("    imp: {lr", "    omp: {lr",
         "19: `tune.methods.omp`: 'omp' trains nothing, so there is nothing to tune"),
        ("{uniform: [1.1, 4]}", "{uniform: [0.9, 4]}",
         "20: `tune.methods.tamt_kd.scale`: 0.9: Input should be greater than 1"),
        ("scale: {uniform", "scael: {uniform",
         "20: `tune.methods.tamt_kd.scael`: 'tamt_kd' has no setting 'scael' to tune; "
         "did you mean `scale`?"),
        ("{log: [1e-5, 1e-2]}", "{log: [1e-5, 1e-4]}",
         "20: `tune.methods.tamt_kd.lr`: the sweep's own `lr` is 0.001, and the first trial has "
         "it; widen what is given here or change the method"),
        ("[200, 2000]", "[200.5, 2000]",
         "21: `tune.methods.both.search.decay_steps`: `search.decay_steps` is a whole number, and "
         "so are the ends of its range"),
        ("{choice: [signed, magnitude]}", "{uniform: [0, 1]}",
         "21: `tune.methods.both.ranking`: `ranking` takes a `choice: […]`, no range"),
        ("[signed, magnitude]", "[signed, magnitud]",
         "21: `tune.methods.both.ranking`: 'magnitud': Input should be 'signed' or 'magnitude'"),
        ("{log: [1e-5, 1e-3]}", "{log: [1e-3, 1e-5]}",
         "19: `tune.methods.imp.lr`: a range goes from a smaller number to a larger one"),
        ("{log: [1e-5, 1e-3]}", "{log: [0, 1e-3]}",
         "19: `tune.methods.imp.lr`: a logarithmic range begins above 0"),
        ("{log: [1e-5, 1e-3]}", "{log: [1e-5, 1e-3], choice: [1, 2]}",
         "19: `tune.methods.imp.lr`: give one of `uniform: [a, b]`, `log: [a, b]` and "
         "`choice: [a, b, …]`"),
        ("{log: [1e-5, 1e-3]}", "{lgo: [1e-5, 1e-3]}",
         "19: unknown key `tune.methods.imp.lr.lgo`; did you mean `log`?"),
        ("imp: {lr: {log: [1e-5, 1e-3]}}", "imp: {step: {choice: [0.35, 0.4]}}",
         "19: `tune.methods.imp.step`: IMP with `step: 0.4` does not train its way to sparsity "
         "0.7; choose a step that divides it"),
        ("imp: {lr: {log: [1e-5, 1e-3]}}", "imp: {step: {uniform: [0.35, 0.7]}}",
         "19: `tune.methods.imp.step`: `step` takes a `choice: […]`, no range"),
        ("[20, 60, 180]", "[20, 180, 60]", "17: `tune.rungs`: rungs rise from each to the next"),
        ("trials: 24", "trails: 24", "16: unknown key `tune.trails`; did you mean `trials`?"),
        ("  - {method: imp, step: 0.35", "  - {method: imp, step: 0.7",
         "19: `tune.methods.imp`: IMP with `step: 0.7` does not train its way to sparsity 0.7; "
         "choose a step that divides it"),
    ],
)  # fmt: skip
def test_mistakes(old: str, new: str, message: str) -> None:
    assert f"s.yaml:{message}" in complaint(old, new).split("\n")


def test_a_rung_too_short_for_the_levels_of_imp_is_refused() -> None:
    """To 70 % in steps of 0.1 are seven levels, of which six are trained."""
    short = GOOD.replace("step: 0.35", "step: 0.1")
    with pytest.raises(SpecError, match="of 5 steps is too short for the 6 levels"):
        parse_sweep(short.replace("[20, 60, 180]", "[5, 60]"))
    parse_sweep(short.replace("[20, 60, 180]", "[6, 60]"))


def test_each_method_is_judged_by_the_loss_it_trains_on() -> None:
    sweep = parse_sweep(GOOD)
    methods = {m.name: m for m in sweep.methods if isinstance(m, Imp | Tamt)}
    assert sweep.tune
    assert sweep.tune.losses(methods["imp"]) == ("mlm_loss",)
    assert sweep.tune.losses(methods["tamt_kd"]) == ("kd_loss",)
    assert sweep.tune.losses(methods["both"]) == ("mlm_loss", "kd_loss")
    other = sweep.tune.model_copy(update={"objective": "kd_loss"})
    assert other.losses(methods["imp"]) == ("kd_loss",)


def test_values_reach_the_method_and_the_shared_settings() -> None:
    sweep = parse_sweep(GOOD)
    method = sweep.methods[2]
    assert isinstance(method, Tamt)
    own = tunable(method, sweep.search)
    assert own["lr"] == 1e-3
    assert own["search.decay_steps"] == 400
    assert not {"steps", "name", "method", "recipe", "checkpoints", "betas"} & own.keys()
    tuned, search = with_values(method, sweep.search, {"lr": 0.5, "search.decay_steps": 7})
    assert (tuned.lr, search.decay_steps) == (0.5, 7)
    assert tuned.model_copy(update={"lr": 1e-3}) == method
    assert search.model_copy(update={"decay_steps": 400}) == sweep.search
