"""Each mistake in a sweep file gets one message: its line, its name, and the nearest valid name."""

import time
from pathlib import Path

import pytest

from tamt_ray.spec import load
from tamt_ray.spec.load import SpecError, load_sweep, parse_sweep

GOOD = """\
name: small
models:
  mini: {source: "dir:m"}
corpus:
  train: &text
    source: "dir:a.txt"
  validation: {<<: *text, part: tail}
methods:
  - random
  - omp
  - {method: imp, steps: 10}
  - method: tamt_kd
    steps: 40
sparsities: [0.5]
tasks:
  stsb:
    kind: regression
    train: {source: "dir:a.csv"}
    validation:
      - source: "dir:b.csv"
    text: [a, b]
"""
END = GOOD.count("\n") + 1


def complaints(text: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        parse_sweep(text, "s.yaml")
    return str(caught.value).split("\n")


def changed(old: str, new: str) -> str:
    assert GOOD.count(old) == 1, old
    return GOOD.replace(old, new)


def test_the_file_that_the_mistakes_are_put_into_is_good() -> None:
    parse_sweep(GOOD)


@pytest.mark.parametrize(
    ("old", "new", "line", "key", "nearest"),
    [
        ("sparsities: [0.5]", "sparsities: [0.5]\nmask_seed: [1]", 15, "mask_seed", "mask_seeds"),
        ('"dir:m"}', '"dir:m", poling: mean}', 3, "models.mini.poling", "pooling"),
        ("part: tail", "parts: tail", 7, "corpus.validation.parts", "part"),
        ("    steps: 40", "    stepz: 40", 13, "methods.3.stepz", "steps"),
        ("steps: 10}", "steps: 10, stp: 0.1}", 11, "methods.2.stp", "step"),
        ("- method: tamt_kd", "- method: tamt\n    objective: [{objective: kd, wieght: 2}]", 13,
         "methods.3.objective.0.wieght", "weight"),
        ("    text: [a, b]", "    text: [a, b]\n    epoch: 2", 22, "tasks.stsb.epoch", "epochs"),
        ('"dir:b.csv"', '"dir:b.csv"\n        encodng: x', 21,
         "tasks.stsb.validation.0.encodng", "encoding"),
        ("sparsities: [0.5]", "sparsities: [0.5]\nexecution:\n  finetune:\n    gpu: 1", 17,
         "execution.finetune.gpu", "gpus"),
        ("sparsities: [0.5]", "sparsities: [0.5]\nsearch: {decay_stps: 9}", 15, "search.decay_stps",
         "decay_steps"),
    ],
)  # fmt: skip
def test_unknown_keys(old: str, new: str, line: int, key: str, nearest: str) -> None:
    assert complaints(changed(old, new)) == [
        f"s.yaml:{line}: unknown key `{key}`; did you mean `{nearest}`?"
    ]


def test_an_unknown_key_is_compared_with_the_keys_of_its_own_method() -> None:
    """`steps` is a key of IMP and of mask training, not of OMP."""
    (only,) = complaints(changed("  - omp\n", "  - {method: omp, steps: 3}\n"))
    assert (
        only
        == "s.yaml:10: unknown key `methods.1.steps`; valid are: method, name, pattern, per, recipe"
    )


def test_a_merged_mistake_is_named_and_found_where_it_is_written() -> None:
    found = complaints(changed('    source: "dir:a.txt"', '    source: "dir:a.txt"\n    prt: x'))
    assert found == [
        "s.yaml:7: unknown key `corpus.train.prt`; did you mean `part`?",
        "s.yaml:7: unknown key `corpus.validation.prt`; did you mean `part`?",
    ]


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("- method: tamt_kd", "- method: tamt\n    objective: [mml]",
         "13: unknown objective 'mml' in `methods.3.objective.0`; did you mean `mlm`?"),
        ("- omp", "- ompp", "10: unknown method 'ompp' in `methods.1`; did you mean `omp`?"),
        ("tamt_kd", "tamt_kld", "12: unknown method 'tamt_kld' in `methods.3`; "
         "did you mean `tamt_kd`?"),
        ("regression", "regresion", "16: unknown kind 'regresion' in `tasks.stsb`; "
         "did you mean `regression`?"),
        ("text: [a, b]", "metric: pearsn\n    text: [a]", "21: 'pearsn' is not valid for "
         "`tasks.stsb.metric`; did you mean `pearson`?"),
        ("text: [a, b]", "metric: bleu\n    text: [a]", "21: 'bleu' is not valid for "
         "`tasks.stsb.metric`; valid are: pearson, spearman"),
        ("part: tail", "part: tial", "7: 'tial' is not valid for `corpus.validation.part`; "
         "did you mean `tail`?"),
        ("sparsities: [0.5]", "execution: {search: {gpus: atuo}}\nsparsities: [0.5]",
         "14: 'atuo' is not valid for `execution.search.gpus`; did you mean `auto`?"),
    ],
)  # fmt: skip
def test_unknown_names(old: str, new: str, complaint: str) -> None:
    assert complaints(changed(old, new)) == [f"s.yaml:{complaint}"]


@pytest.mark.parametrize(
    ("old", "new", "starts"),
    [
        ("[0.5]", "[0.5, 1.0]", "14: `sparsities.1`: Input should be less than 1"),
        ("[0.5]", "[\n  0.5,\n  -0.1]", "16: `sparsities.1`: Input should be greater"),
        ("[0.5]", "[.nan]", "14: `sparsities.0`: Input should be a finite number"),
        ("[0.5]", "[half]", "14: `sparsities.0`: Input should be a valid number"),
        ("[0.5]", "[]", "14: `sparsities`: Tuple should have at least 1 item"),
        ("[0.5]", "[0.5, 0.50]", "14: `sparsities`: given more than once: 0.5"),
        ("[0.5]", "[0.5]\nmask_seeds: [1, 2, 1]", "15: `mask_seeds`: given more than once: 1"),
        ("[0.5]", "[0.5]\nfinetune_seeds: [3, 3]", "15: `finetune_seeds`: given more than once"),
        ("[0.5]", "[0.5]\nmask_seeds: []", "15: `mask_seeds`: Tuple should have at least 1"),
        ("steps: 40", "steps: 0", "13: `methods.3.steps`: Input should be greater than or equal"),
        ("steps: 40", "steps: many", "13: `methods.3.steps`: Input should be a valid integer"),
        ("steps: 40", "steps:\n      0.5: 3\n      0.6: 0", "15: `methods.3.steps.0.6`: Input"),
        ("steps: 40", "steps: 40\n    lr: 5e-5x", "14: `methods.3.lr`: Input should be a valid n"),
        ("    kind: regression\n", "", "16: `tasks.stsb` needs a `kind`"),
        ("name: small\n", "", "1: `name` is missing"),
        ("name: small", "name: a/b", "1: `name`: a name has letters, digits, `.`, `_`"),
        ("  mini:", "  m i:", "3: `models.m i`: a name has letters, digits, `.`"),
        ("[0.5]", "[0.5]\nexecution: {search: {gpus: 0.3}}", "15: `execution.search`: gpus must"),
        ("[0.5]", "[0.5]\nexecution: {finetune: {gpus: 0, graphs: true}}",
         "15: `execution.finetune`: CUDA graphs need a GPU"),
        ("[0.5]", "[0.5]\nexecution: {search: {gpus: 0, graphs: true}}",
         "15: `execution.search`: CUDA graphs need a GPU"),
        ("[0.5]", "[0.5]\nexecution: {search: {workers: 2, graphs: true}}",
         "15: `execution.search`: CUDA graphs hold no all-reduce between the workers of a gang"),
        ("[0.5]", "[0.5]\nsearch: {compile: true}\nexecution: {search: {graphs: true}}",
         "16: `execution.search.graphs`: an encoder under `search.compile` may be compiled anew"),
        ("[0.5]", "[0.5]\nexecution: {search: {gpus: 0.5, workers: 2}}",
         "15: `execution.search`: the workers of a gang cannot share a GPU"),
        ("[0.5]", "[0.5]\nexecution: {search: {gpus: -1}}", "15: `execution.search.gpus`: Input"),
        ("name: small", "name: small\nstore: $HOME/results", "2: `store`: a variable has no value"),
        ("name: small", "name: small\nstore: s3:/bucket/it", "2: `store`: write it as s3://bucket/"),
        ('mini: {source: "dir:m"}', "mini: m",
         "3: `models.mini`: keys with values are needed, such as `source: …`, one per line"),
    ],
)  # fmt: skip
def test_impossible_values(old: str, new: str, starts: str) -> None:
    (only,) = complaints(changed(old, new))
    assert only.startswith(f"s.yaml:{starts}"), only


@pytest.mark.parametrize(
    ("old", "new", "starts", "remedy"),
    [
        ("    steps: 40", "    steps: {0.6: 10}",
         "13: `methods.3.steps`: method 'tamt_kd' has no steps for sparsity 0.5", "add 0.5"),
        ("steps: 10}", "steps: 10, step: 0.3}",
         "11: `methods.2.step`: IMP with `step: 0.3` never meets sparsity 0.5", "choose a step"),
        ("[0.5]", "[0.5, 0.55]",
         "11: `methods.2`: IMP with `step: 0.1` never meets sparsity 0.55", "choose a step"),
        ("[0.5]", "[0.5]\nexecution:\n  search:\n    workers: 5",
         "17: `execution.search.workers`: a batch of 16 makes 4 micro-batches of 4, too few for 5",
         "lower `search.micro_batch`"),
        ("  - omp", "  - method: omp\n    name: random",
         "11: `methods.1.name`: two methods are called 'random'", "a `name` of its own"),
        ("  - omp", "  - random", "10: `methods.1`: two methods are called 'random'", "`name`"),
        ("    text: [a, b]", "    text: [a, b]\n    role: mnli\n  twin: {role: mnli, "
         "kind: regression, text: [a], train: {source: 'dir:a.csv'}, "
         "validation: [{source: 'dir:b.csv'}]}",
         "23: `tasks.twin.role`: 'stsb' has the role 'mnli' too", "one task"),
        ("  - omp", "  - {method: omp, name: full}",
         "10: `methods.1.name`: 'full' is the dense model's name", "another one"),
        ("    steps: 40", "    steps: 40\n    objective: [mlm]",
         "14: `methods.3.objective`: `tamt_kd` stands for objective", "write `method: tamt`"),
        ("- method: tamt_kd", "- method: tamt\n    objective: [kd, {objective: kd, pads: true}]",
         "13: `methods.3.objective`: a loss term is given twice", "give it once with a `weight`"),
        ("- method: tamt_kd", "- method: tamt_mlm_kd\n    corruption: none",
         "13: `methods.3.corruption`: a loss term predicts tokens", "clean text has none"),
        ("  - omp", '  - {method: omp, pattern: "2:5"}',
         "10: `methods.1.pattern`: pattern 2:5 prunes 3 of 5 weights, which is a sparsity of 0.6",
         "and not 0.5"),
        ("  - omp", '  - {method: wanda, pattern: "heads:12"}',
         "10: `methods.1.pattern`: pattern heads:12 spans rows", "rank it per matrix"),
        ("  - omp", '  - {method: omp, pattern: "2:4", per: model}',
         "10: `methods.1.per`: pattern 2:4 is ranked in groups of 4", "not per model"),
        ("  - omp", '  - {method: imp, pattern: "2:4", step: 0.1, name: i}',
         "10: `methods.1.step`: a level of 0.1 prunes no whole number of 4 weights", "step: 0.25"),
        ("    steps: 40", '    steps: 40\n    pattern: "2:4"\n    rerank_every: 9',
         "14: `methods.3.pattern`: pattern 2:4 has no threshold", "`rerank_every: 1`"),
        ("  - omp", '  - {method: omp, pattern: "4:2"}',
         "10: `methods.1.pattern`: '4:2' is no pattern", "2:4"),
        ("  - omp", '  - {method: imported, masks: "dir:m-{size}.st"}',
         "10: `methods.1.masks`: {size} stands for nothing", "{model}, {sparsity}, {seed}"),
        ("  - omp", '  - {method: imported, masks: "hf:a/b"}',
         "10: `methods.1.masks`: masks are files", "dir:<path>"),
        ("  - omp\n  - {method: imp, steps: 10}\n  - method: tamt_kd\n    steps: 40\n"
         "sparsities: [0.5]",
         '  - method: imported\n    masks: "dir:a.st"\nsparsities: [0.5, 0.6]',
         "11: `methods.1.masks`: one file cannot be the mask of 2 sparsities", "{sparsity}"),
        ('"dir:b.csv"', '"hf:glue#stsb"',
         "20: `tasks.stsb.validation.0`: an hf: source needs a split", "`split: train`"),
    ],
)  # fmt: skip
def test_values_that_do_not_fit_together(old: str, new: str, starts: str, remedy: str) -> None:
    (only,) = complaints(changed(old, new))
    assert only.startswith(f"s.yaml:{starts}"), only
    assert remedy in only


def test_as_many_workers_as_micro_batches_are_fine() -> None:
    parse_sweep(GOOD + "execution: {search: {workers: 4}}\n")
    parse_sweep(GOOD + "execution: {search: {workers: 5}}\nsearch: {batch_size: 17}\n")


def test_an_imp_step_may_meet_a_sparsity_up_to_rounding() -> None:
    """0.9 / 0.1, 0.6 / 0.2 and 0.7 / 0.1 are no whole numbers in binary floating point."""
    for step, sparsities in ((0.1, "[0.3, 0.6, 0.7, 0.9]"), (0.2, "[0.6]"), (0.05, "[0.15, 0.35]")):
        text = changed("steps: 10}", f"steps: 10, step: {step}}}")
        parse_sweep(text.replace("[0.5]", sparsities))


@pytest.mark.parametrize(
    "source",
    ["hf:", "hf:a/b/c", "hf:a b", "git:x", "dir:", "pypi:a/x", "pypi:a==1/x",
     "pypi:a==1/x#sha256=12", f"pypi:a>=1/x#sha256={'0' * 64}", f"pypi:a==1/#sha256={'0' * 64}"],
)  # fmt: skip
def test_sources_without_a_known_form(source: str) -> None:
    (only,) = complaints(changed('"dir:m"', f'"{source}"'))
    assert only.startswith(f"s.yaml:3: `models.mini.source`: '{source}' is not a source")
    assert "hf:<repo>" in only
    assert "dir:<path>" in only
    assert "pypi:<name>==<version>" in only


def test_a_path_may_not_leave_the_archive() -> None:
    (only,) = complaints(changed("dir:m", f"pypi:a==1/b/../../c#sha256={'0' * 64}"))
    assert "leaves the archive" in only


def test_a_key_given_twice() -> None:
    assert complaints(GOOD + "name: again\n") == [f"s.yaml:{END}: the key `name` is given twice"]
    twice = changed('    source: "dir:a.txt"\n', '    source: "dir:a.txt"\n    source: x\n')
    assert complaints(twice) == ["s.yaml:7: the key `source` is given twice"]


def test_several_mistakes_are_told_at_once() -> None:
    text = changed("- omp", "- ompp").replace("part: tail", "parts: tail").replace("[0.5]", "[2]")
    assert [line.split(":")[1] for line in complaints(text)] == ["7", "10", "14"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", 1),
        ("- a\n", 1),
        ("just words\n", 1),
        ("name: [a\nmodels: {}\n", 2),
        ("name: x\nmodels: y: z\n", 2),
        ("name: x\n\tmodels: y\n", 2),
        ("name: *nobody\n", 1),
        ("name: x\nstore: \x00\n", 2),
        ("name: x\nmodels: &me {a: *me}\n", 2),
        ("name: x\nmodels: &me {<<: *me}\n", 2),
        ("name: x\n? [a, b]\n: c\n", 2),
        ("name: !!python/object/apply:os.getcwd []\n", 1),
    ],
)
def test_what_is_no_sweep_at_all(text: str, line: int) -> None:
    (only,) = complaints(text)
    assert only.startswith(f"s.yaml:{line}: "), only


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.yaml", tmp_path):
        with pytest.raises(SpecError, match="cannot be read"):
            load_sweep(path)
    binary = tmp_path / "latin.yaml"
    binary.write_bytes(b"name: \xff\xfe\n")
    with pytest.raises(SpecError, match=r"latin\.yaml: cannot be read"):
        load_sweep(binary)


def bomb(value: str, again: str) -> str:
    """Nine aliases of a part with nine aliases, and so on, nine deep."""
    parts = [f"a0: &a0 {value}"]
    for number in range(1, 10):
        below = ",".join([f"*a{number - 1}"] * 9)
        parts.append(f"a{number}: &a{number} {again.format(number=number, below=below)}")
    return "".join(f"{part}\n" for part in parts)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        (bomb("[x,x,x]", "[{below}]"), f"{END + 4}: more than 10,000 values, counting what"),
        (bomb("{k: 1}", "{{<<: [{below}], k{number}: 1}}"), f"{END + 4}: more than 10,000 values"),
        (f"mask_seeds: [{','.join(map(str, range(20_000)))}]", f"{END}: more than 10,000 values"),
        ("tune: " + "[" * 50_000 + "]" * 50_000, f"{END}: nested more than 32 deep"),
        ("tune: " + "{a: " * 5_000 + "1" + "}" * 5_000, f"{END}: nested more than 32 deep"),
        (f"mask_seeds: [{'9' * 5_000}]", f"{END}: a number of 5,000 characters"),
        (f"search: {{batch_size: {'9' * 5_000}.5}}", f"{END}: a number of 5,002 characters"),
        (f"mask_seeds: [0x{'f' * 5_000}]", f"{END}: a number of 5,002 characters"),
        ("\n".join(f"key{n}: 1" for n in range(2_000)), f"{END}: unknown key `key0`"),
        ("# comment\n" * 12_000, "14: `sparsities.0`: Input should be less than 1"),
        (f"store: {'a' * 120_000}", "14: `sparsities.0`: Input should be less than 1"),
        ("store: !!int foo", f"{END}: not a value of 'int'"),
        ("store: !!bool foo", f"{END}: not a value of 'bool'"),
        ("store: !!timestamp foo", f"{END}: not a value of 'timestamp'"),
    ],
)
def test_a_file_made_to_harm_gets_a_line(more: str, complaint: str) -> None:
    """Within a second, two on a busy machine, and without the memory that it asks for."""
    begun = time.process_time()
    said = complaints(f"{GOOD.replace('[0.5]', '[1.5]')}{more}\n")
    assert time.process_time() - begun < 2
    assert any(line.startswith(f"s.yaml:{complaint}") for line in said)
    assert len(said) <= 21


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        ("# comment\n" * 10_000, "more than 4 MiB in all files of this sweep"),
        (f"mask_seeds: {[*range(2_000)]}\n", "more than 9,000 values in all files of this sweep"),
    ],
)
def test_many_files_made_to_harm_get_a_line(
    tmp_path: Path, more: str, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each alone is read; a hundred of them would take half a minute."""
    monkeypatch.setattr(load, "_MOST_VALUES", 9_000)
    (tmp_path / "part.yaml").write_text(GOOD + more)
    (tmp_path / "all.yaml").write_text(f"name: a\nparts: [{', '.join(['part.yaml'] * 50)}]\n")
    begun = time.process_time()
    with pytest.raises(SpecError, match=complaint):
        load_sweep(tmp_path / "all.yaml")
    assert time.process_time() - begun < 5


@pytest.mark.timeout(20)
def test_files_that_name_each_other_for_ever_get_a_line(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("name: a\nparts: [own.yaml]\n")
    (tmp_path / "there.yaml").write_text("name: a\nparts: [back.yaml]\n")
    (tmp_path / "back.yaml").write_text("name: a\nparts: [there.yaml]\n")
    (tmp_path / "large.yaml").write_text("name: a\n" + "# nothing\n" * 200_000)
    for number in range(30):
        below = f"many{number + 1}.yaml"
        (tmp_path / f"many{number}.yaml").write_text(f"name: a\nparts: [{below}, {below}]\n")
    (tmp_path / "many30.yaml").write_text(GOOD)
    for number in range(200):
        (tmp_path / f"long{number}.yaml").write_text(f"extends: long{number + 1}.yaml\n")
    for name, complaint in {
        "own": "own.yaml:2: own.yaml unites this file in turn",
        "there": "back.yaml:2: there.yaml unites this file in turn",
        "many0": "more than 100 files make up this sweep",
        "long0": "more than 100 files make up this sweep",
        "large": "large.yaml: too large for a sweep file: more than 128 KiB",
    }.items():
        with pytest.raises(SpecError) as caught:
            load_sweep(tmp_path / f"{name}.yaml")
        assert str(caught.value).endswith(complaint)
