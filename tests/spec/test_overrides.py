"""`--set KEY=VALUE`: part of the sweep, and a complaint names the option."""

from pathlib import Path

import pytest

from tamt_ray.plan.expand import expand
from tamt_ray.spec.load import SpecError, load_sweep, parse_sweep

SWEEP = """
name: small
models: {mini: {source: "dir:m"}}
corpus: {train: {source: "dir:a.txt"}, validation: {source: "dir:b.txt"}}
search: {batch_size: 4, micro_batch: 4}
methods: [omp, {method: imp, steps: 5, step: 0.25}, {method: tamt_kd, name: mine, steps: 40}]
sparsities: [0.5]
"""


def test_set_values_are_those_of_a_file_that_says_so() -> None:
    """The plan, with every id, is that of the edited file."""
    edited = SWEEP.replace("steps: 40", "steps: 7, lr: 2.0e-3").replace("[0.5]", "[0.25, 0.5]")
    edited = edited.replace("batch_size: 4", "batch_size: 8") + "mask_seeds: [9]\n"
    given = parse_sweep(
        SWEEP,
        overrides=[
            "methods.mine.steps=7", "methods.2.lr=2e-3", "sparsities=[0.25, 0.5]",
            "search.batch_size=8", "mask_seeds=[9]",
        ],
    )  # fmt: skip
    assert given == parse_sweep(edited)
    assert expand(given) == expand(parse_sweep(edited))
    assert expand(given) != expand(parse_sweep(SWEEP))


def test_a_bare_method_gets_settings_mappings_merge_and_null_removes() -> None:
    given = parse_sweep(
        SWEEP,
        overrides=[
            "methods.omp.name=magnitude", "search={log_every: 3}", "search.batch_size=null",
        ],
    )  # fmt: skip
    assert given.methods[0].name == "magnitude"
    assert (given.search.log_every, given.search.micro_batch) == (3, 4)
    assert (
        given.search.batch_size
        == parse_sweep(SWEEP.replace("batch_size: 4, ", "")).search.batch_size
    )


def test_a_union_takes_values_of_its_own_and_no_others(tmp_path: Path) -> None:
    (tmp_path / "part.yaml").write_text(SWEEP)
    union = tmp_path / "union.yaml"
    union.write_text("name: both\nparts: [part.yaml]\n")
    assert load_sweep(union, ["execution.retries=1"]).execution.retries == 1
    with pytest.raises(SpecError, match=r"^--set sparsities=\[0.1\]: a union of sweeps has no"):
        load_sweep(union, ["sparsities=[0.1]"])


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("search.batch_sice=8", "unknown key `search.batch_sice`; did you mean `batch_size`?"),
        ("methods.mine.lr=-1", "`methods.2.lr`: Input should be greater than 0 (given: -1)"),
        ("methods.mien.lr=1", "`methods` has no entry 'mien'; did you mean `mine`?"),
        ("methods.3=omp", "`methods` has no entry '3'; valid are: omp, imp, mine"),
        ("name.of=it", "`name` is 'small' and has no keys"),
        ("tasks.t.kind=guess", "unknown kind 'guess' in `tasks.t`; did you mean "),
        ("sparsities=[0.5", "expected ',' or ']', but got '<stream end>'"),
        ("search.batch_size", "write it as KEY=VALUE, as in --set search.batch_size=8"),
        (".=1", "write it as KEY=VALUE, as in --set search.batch_size=8"),
    ],
)
def test_a_complaint_names_the_option(text: str, complaint: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_sweep(SWEEP, "small.yaml", [text])
    assert str(caught.value).startswith(f"--set {text}: {complaint}")


def test_a_fault_of_the_file_is_still_named_by_its_line() -> None:
    with pytest.raises(SpecError, match=r"^small.yaml:5: unknown key `search.lr`"):
        parse_sweep(SWEEP.replace("batch_size: 4", "lr: 4"), "small.yaml", ["mask_seeds=[1]"])
