"""Recipes fill in what a sweep file leaves open, and every value can be traced."""

import pytest

from tamt_ray.methods.base import Method
from tamt_ray.methods.imp import Imp
from tamt_ray.methods.tamt import Tamt
from tamt_ray.objectives.kd import Kd
from tamt_ray.objectives.mlm import Mlm
from tamt_ray.spec.load import SpecError, parse_sweep
from tamt_ray.spec.origin import method_settings, model_settings
from tamt_ray.spec.sweep import Sweep

GRID = """\
name: small
models: {mini: {source: "dir:m"}}
corpus: {train: {source: "dir:a.txt"}, validation: {source: "dir:b.txt"}}
sparsities: [0.5]
"""


def sweep(lines: str) -> Sweep:
    return parse_sweep(GRID + lines)


def method(entry: str, recipe: str = "paper") -> Method:
    (found,) = sweep(f"recipe: {recipe}\nmethods: [{entry}]\n").methods
    return found


def tamt(entry: str, recipe: str = "paper") -> Tamt:
    found = method(entry, recipe)
    assert isinstance(found, Tamt)
    return found


def imp(entry: str, recipe: str = "paper") -> Imp:
    found = method(entry, recipe)
    assert isinstance(found, Imp)
    return found


@pytest.mark.parametrize("name", ["tamt_mlm", "tamt_mlm_kd"])
def test_the_papers_mlm_searches(name: str) -> None:
    found = tamt(name)
    assert (found.lr, found.betas, found.eps, found.weight_decay) == (5e-5, (0.9, 0.999), 1e-8, 0)
    assert (found.bias_correction, found.clip, found.clip_per) == (True, 1.0, "all")
    assert (found.comparison, found.rerank_every, found.rerank_early) == ("at_least", 1, False)
    assert (found.threshold, found.scale, found.init) == (0.01, 2.0, "omp")
    assert (found.text, found.corruption) == ("blocks", "auto")
    assert Kd() in found.objective if name == "tamt_mlm_kd" else found.objective == (Mlm(),)
    assert (Kd().weight, Kd().pads, Kd().teacher_dropout) == (1, False, False)


@pytest.mark.parametrize("name", ["tamt_mlm", "tamt_mlm_kd"])
def test_the_released_mlm_searches(name: str) -> None:
    """S > φ, signed, φ chosen every 1,000 steps; AdamW, global clip; teacher without dropout."""
    found = tamt(name, "released_code")
    assert (found.comparison, found.rerank_every, found.rerank_early) == ("above", 1000, False)
    assert found.ranking == "signed"
    assert (found.lr, found.eps, found.weight_decay, found.bias_correction) == (5e-5, 1e-8, 0, True)
    assert (found.clip_per, found.text) == ("all", "blocks")
    assert (found.early_eps, tamt(name).early_eps) == (True, False)
    assert found.objective == tamt(name).objective


def test_the_released_distillation() -> None:
    """φ at steps 1, 99, 199, …, saved at 999, 1999, …; two epochs of decay; BertAdam 2e-5, eps
    1e-6, decay 0.01 on the scores, clip a tensor; padded documents, pads averaged in; dropout in
    the teacher."""
    found = tamt("tamt_kd", "released_code")
    assert (found.comparison, found.rerank_every, found.rerank_early) == ("above", 100, True)
    assert (found.lr, found.eps, found.weight_decay) == (2e-5, 1e-6, 0.01)
    assert (found.bias_correction, found.clip, found.clip_per) == (False, 1.0, "tensor")
    assert (found.text, found.corruption) == ("documents", "one_token")
    assert found.objective == (Kd(pads=True, teacher_dropout=True),)
    assert found.decay_steps == 42_700
    assert found.steps == {0.2: 2999, 0.3: 5999, 0.4: 7999, 0.5: 10999, 0.6: 13999, 0.7: 16999,
                           0.8: 19999, 0.9: 21999}  # fmt: skip
    assert tamt("tamt_kd").decay_steps is tamt("tamt_mlm", "released_code").decay_steps is None


@pytest.mark.parametrize("name", ["tamt_mlm", "tamt_kd", "tamt_mlm_kd"])
def test_short_searches_start_graded_and_rank_exactly(name: str) -> None:
    """The rate is a share of the weights per step; a head that no term reads has none."""
    found = tamt(name, "short")
    assert (found.init, found.lr, found.head_lr) == (
        "graded",
        0.01,
        None if name == "tamt_kd" else 1e-3,
    )
    assert (found.comparison, found.rerank_every, found.objective) == (
        "at_least", 1, tamt(name).objective
    )  # fmt: skip
    assert tamt(name).head_lr is None


def test_a_recipe_says_which_start_stands_for_the_papers_method() -> None:
    graded = "{method: tamt_kd, init: graded, lr: 0.01}"
    assert [tamt(*given).paper_role for given in (
        ("tamt_kd", "paper"), (graded, "paper"), ("tamt_kd", "short"),
        ("{method: tamt_kd, init: omp}", "short"),
    )] == ["tamt_kd", None, "tamt_kd", None]  # fmt: skip


def test_a_head_that_does_not_train_has_no_rate() -> None:
    with pytest.raises(SpecError, match=r"<sweep>:6: .*no MLM head trains"):
        tamt("{method: tamt_kd, head_lr: 1e-3}")


def test_rewinding() -> None:
    assert imp("imp").rewind
    assert not imp("imp", "released_code").rewind
    assert (imp("imp").early_eps, imp("imp", "released_code").early_eps) == (False, True)


def test_the_pooler_is_in_or_out() -> None:
    assert not sweep("methods: [omp]\n").models["mini"].pooler
    assert sweep("recipe: released_code\nmethods: [omp]\n").models["mini"].pooler


def test_the_file_refines_a_recipe_field_by_field() -> None:
    found = tamt("{method: tamt_kd, rerank_every: 7}", "released_code")
    assert (found.rerank_every, found.comparison, found.eps) == (7, "above", 1e-6)
    lines = (
        "recipe: released_code\nmethods: [omp]\nmodels: {mini: {source: 'dir:m', pooler: false}}\n"
    )
    text = GRID.replace('models: {mini: {source: "dir:m"}}\n', "") + lines
    assert not parse_sweep(text).models["mini"].pooler


def test_a_method_names_its_own_recipe() -> None:
    entry = "{method: tamt_kd, name: theirs, recipe: released_code}, tamt_kd"
    theirs, papers = sweep(f"methods: [{entry}]\n").methods
    assert isinstance(theirs, Tamt)
    assert isinstance(papers, Tamt)
    assert (theirs.rerank_every, papers.rerank_every) == (100, 1)


@pytest.mark.parametrize("lines", ["recipe: papr\nmethods: [omp]\n",
                                   "methods: [{method: omp, recipe: papr}]\n"])  # fmt: skip
def test_an_unknown_recipe_is_refused_with_the_nearest(lines: str) -> None:
    with pytest.raises(SpecError, match=r"<sweep>:5: 'papr' is not valid .* did you mean `paper`"):
        sweep(lines)


def test_where_each_value_comes_from() -> None:
    entry = "{method: tamt_kd, recipe: released_code, eps: 1e-5, lr: 3e-5}"
    found = {s.name: (s.value, s.origin) for s in method_settings(tamt(entry))}
    assert found["eps"] == (1e-5, "sweep file")
    assert found["lr"] == (3e-5, "sweep file")
    assert found["clip_per"] == ("tensor", "recipe released_code")
    assert found["scale"] == (2.0, "recipe paper")
    released = sweep("recipe: released_code\nmethods: [omp]\n")
    settings = {s.name: s.origin for s in model_settings(released, released.models["mini"])}
    assert settings["pooler"] == "recipe released_code"
    assert (settings["source"], settings["prune"]) == ("sweep file", "default")
