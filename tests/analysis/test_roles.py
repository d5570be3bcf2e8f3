"""Which methods of a sweep stand for those of the paper, and which only stand beside them."""

from tamt_ray.analysis.roles import cost_pairs, random_starts, roles
from tamt_ray.spec.load import parse_sweep
from tamt_ray.spec.sweep import Sweep

GRID = """
name: small
models: {{mini: {{source: "dir:m"}}}}
corpus: {{train: {{source: "dir:a.txt"}}, validation: {{source: "dir:b.txt"}}}}
sparsities: [0.5]
recipe: {recipe}
methods:
{methods}
"""


def sweep(*methods: str, recipe: str = "paper") -> Sweep:
    return parse_sweep(GRID.format(recipe=recipe, methods="\n".join(f"  - {m}" for m in methods)))


def test_every_method_of_the_paper_has_its_role_under_any_name() -> None:
    found = roles(
        sweep("{method: random, name: luck}", "omp", "imp", "tamt_mlm",
              "{method: tamt, name: ours, objective: [mlm, kd]}",
              "{method: tamt, objective: [kd]}")
    )  # fmt: skip
    assert found == {
        "random": "luck", "omp": "omp", "imp": "imp", "tamt_mlm": "tamt_mlm",
        "tamt_mlm_kd": "ours", "tamt_kd": "tamt",
    }  # fmt: skip


def test_what_the_paper_does_not_have_enters_none_of_its_claims() -> None:
    found = roles(
        sweep("omp", '{method: imported, masks: "dir:m-{seed}.st"}',
              "{method: tamt_kd, init: random}",
              "{method: tamt_mlm, text: shuffled}",
              "{method: tamt, objective: [mlm, {objective: kd, weight: 0.5}]}")
    )  # fmt: skip
    assert found == {"omp": "omp"}


def test_of_several_the_one_of_the_sweep_s_recipe_counts() -> None:
    both = ("{method: imp, name: theirs, recipe: released_code}", "{method: imp, recipe: paper}")
    assert roles(sweep(*both)) == {"imp": "imp"}
    assert roles(sweep(*both, recipe="released_code")) == {"imp": "theirs"}


def test_cost_is_compared_with_imp_by_whatever_trains() -> None:
    methods = ("omp", "tamt_mlm", "{method: tamt_kd, name: start, init: random}")
    assert cost_pairs(sweep(*methods, "imp")) == [("imp", "tamt_mlm"), ("imp", "start")]
    assert cost_pairs(sweep(*methods)) == []


def test_a_random_start_is_paired_with_what_differs_in_it_alone() -> None:
    found = random_starts(
        sweep("tamt_kd", "{method: tamt_kd, name: other, init: random}",
              "{method: tamt_mlm, name: faster, init: random, lr: 1e-3}", "tamt_mlm").methods
    )  # fmt: skip
    assert found == {"tamt_kd": "other"}
