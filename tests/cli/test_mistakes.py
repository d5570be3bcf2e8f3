"""Mistakes of a newcomer: each is refused before anything starts, with the line and a remedy."""

import ctypes
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import torch
from click.testing import Result

from tamt_ray.cli.doctor import as_planned
from tamt_ray.execution.cluster.diagnosis import about_rows
from tamt_ray.spec.load import load_sweep

from .mistakes import (
    SWEEP,
    TRAIN,
    Mistake,
    another_directory,
    both,
    bytes_as_text,
    config,
    cut_off,
    damaged_page,
    edit,
    empty_tokenizer,
    file,
    flat_weights,
    hub,
    mask,
    mirrored,
    no_home,
    no_model_hub,
    no_right,
    no_tokenizer,
    pickled,
    rows,
    several_labels,
    variable,
    write,
)
from .small import call

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n"

MISTAKES: dict[str, tuple[Mistake, str]] = {
    "key": (edit("mask_seeds", "mask_seed"),
            "13: unknown key `mask_seed`; did you mean `mask_seeds`?"),
    "method": (edit("- omp", "- opm"),
               "10: unknown method 'opm' in `methods.0`; did you mean `omp`?"),
    "metric": (edit("text: [text]", "text: [text]\n    metric: acuracy"),
               "21: 'acuracy' is not valid for `tasks.words.metric`; did you mean `accuracy`?"),
    "kind": (edit("kind: classification", "kind: clasification"),
             "16: unknown kind 'clasification' in `tasks.words`; did you mean `classification`?"),
    "indented too little": (edit("    source", "  source"), "check the indentation"),
    "indented too far": (edit("  block_size", "   block_size"),
                         "8: indented unlike the lines above"),
    "tab": (edit("  block_size", "\tblock_size"), "8: a tab; YAML is indented with spaces"),
    "no space behind a colon": (edit("block_size: 16", "block_size:16"),
                                "8: neither `key: value` nor an item; is a space missing"),
    "two colons": (edit('"dir:model"', "dir: model"),
                   "4: a colon where none can be; check the indentation, or put the value in"),
    "Windows path": (edit('"dir:model"', r'"dir:C:\Users\me"'),
                     "4: a backslash between double quotes; write a path with `/`"),
    "Windows path with an escape": (edit('"dir:model"', r'"dir:C:\new"'),
                                    "is a path of Windows; write it with `/`; under WSL, C: is"),
    "model by its bare name": (edit('"dir:model"', "bert-base-uncased"),
                               "4: `models.tiny.source`: 'bert-base-uncased' is not a source; "
                               "write `dir:bert-base-uncased` for a place on this machine, or `hf"),
    "one sparsity, not a list": (edit("[0.5]", "0.5"),
                                 "12: `sparsities`: a list is needed, such as `[a, b]`"),
    "methods as keys": (edit("  - omp\n  - {method: tamt_kd, steps: 4}", "  omp: {}"),
                        "9: `methods`: a list is needed"),
    "sparsity 50": (edit("[0.5]", "[50]"), "12: .* less than 1; write 0.5 for 50 %"),
    "sparsity 50 %": (edit("[0.5]", "[50%]"), "12: .*; write 0.5 for 50 %"),
    "negative rate": (edit("steps: 4", "steps: 4, lr: -1e-4"),
                      "11: `methods.1.lr`: Input should be greater than 0"),
    "one name twice": (edit("- omp", "- omp\n  - omp"),
                       "11: .* two methods are called 'omp'; give one of them a `name` of its own"),
    "no split": (edit(TRAIN, '{source: "hf:glue#sst2"}'),
                 "18: .*: an hf: source needs a split, e.g. `split: train`"),
    "no validation": (edit('    validation: [{source: "dir:validation.jsonl"}]\n', ""),
                      "16: `tasks.words.validation` is missing"),
    "no text": (write("my.yaml", "\x89PNG\r\n"), "my.yaml: cannot be read"),
    "model that is not there": (edit("dir:model", "dir:modle"),
                                "4: models.tiny: .* no directory .*modle; did you mean `model`?"),
    "file that is not there": (edit("dir:train.jsonl", "dir:trian.jsonl"),
                               "18: tasks.words: .* no file .*; did you mean `train.jsonl`?"),
    "another directory": (another_directory,
                          "4: models.tiny: .* no directory .*below/model; a relative path begins "
                          "at the directory that the command is typed in"),
    "column": (edit("[text]", "[txt]"),
               "20: tasks.words: .*: no column 'txt'; did you mean `text`?"),
    "label column": (edit("text: [text]", "text: [text]\n    label: lable"),
                     "21: tasks.words: .*: no column 'lable'; did you mean `label`?"),
    "column of the corpus": (edit("block_size: 16", "block_size: 16\n  column: txt"),
                             "9: corpus: dir:train.txt: no column 'txt'; did you mean `text`?"),
    "third class to validate": (rows("validation", label=lambda number: number % 3),
                                "19: .* label 2 .* none of the classes 0 to 1; set `classes: 3`"),
    "class that is left out": (rows(label=lambda number: number % 2 * 2),
                               "18: .* label 2 .* none of the classes 0 to 1; set `classes: 3`"),
    "labels in words": (rows(label=lambda number: ("neg", "pos")[number % 2]),
                        "18: .* set `classes: [neg, pos]`"),
    "labels that YAML reads otherwise": (
        rows(label=lambda number: ("no", "a, b")[number % 2]),
        "18: .* set `classes: ['a, b', 'no']`"),
    "class without quotes": (edit("text: [text]", "text: [text]\n    classes: [1, 2]"),
                             "21: .*: text is needed; put it between double quotes (given: 2)"),
    "folder of rows": (edit("dir:train.jsonl", "dir:model"),
                       "18: .* dir:model is a folder; name its files, as in dir:model/*.parquet"),
    "no label in a row": (rows(label=lambda number: None if number == 3 else number % 2),
                          "18: .* row 3: None .*; remove the row or give it a label"),
    "one class": (rows(label=lambda _: 1), "18: .* every label .* is 1; choose rows of at least"),
    "one class to validate": (rows("validation", label=lambda _: 1),
                              "19: .*: every label in column 'label' is 1"),
    "no rows": (write("train.jsonl", ""), "18: .* the file is empty; write rows into it"),
    "broken row": (write("train.jsonl", '{"text": "a", "label": 0}\n{"text": "b" "label": 1}\n'),
                   "18: tasks.words: .*(train.jsonl):2: not JSON"),
    "semicolons": (both(edit("train.jsonl", "train.csv"), write("train.csv", "text;label\na;1\n")),
                   """18: .* is it delimited by ';'? then set `delimiter: ";"`"""),
    "encoding": (write("train.jsonl", '{"text": "café", "label": 0}\n'),
                 "18: .*:1: not utf-8: .*; set `encoding`"),
    "short corpus": (write("train.txt", "a b\n"),
                     "8: corpus: .* does not fill one block of 16 tokens; set a smaller `block_"),
    "long sequences": (edit("text: [text]", "text: [text]\n    max_length: 512"),
                       "21: models.tiny: it reads 128 tokens at most; set .*max_length: 128` or"),
    "model of several labels": (several_labels,
                                "4: models.tiny: .* several labels: .* remove that entry from"),
    "no tokenizer": (no_tokenizer, "4: models.tiny: .* no tokenizer in .* such as a tokenizer.js"),
    "pickled weights": (pickled, "4: .* no *.safetensors in .*; convert them with save_pretrained"),
    "pointer of git-lfs": (write("model/model.safetensors", "version https://git-lfs.github.com/"),
                           "4: .* is a pointer of git-lfs; fetch the weights by `git lfs pull`"),
    "data set of a mirror": (mirrored('{source: "hf:gleu#sst2", split: train}'),
                             "18: .* no such data set in the mirror mirror, which TAMT_MIRROR n"),
    "config of a mirror": (mirrored('{source: "hf:glue#sst3", split: train}'),
                           "18: .* name one of its configurations .* there are: sst2"),
    "split of a mirror": (mirrored('{source: "hf:glue#sst2", split: trian}'),
                          "18: .* no split 'trian' in the mirror mirror; there are: train"),
    "model without a network": (no_model_hub,
                                "4: models.tiny: .* cannot be downloaded: Got: ConnectError: Name "
                                "or service not known; check the name and the network, or set TAM"),
    "data without a network": (hub("Couldn't reach 'glue' on the Hub"),
                               "18: tasks.words: .* cannot be loaded: Couldn't reach 'glue' on the "
                               "Hub; check the source and the network, or set TAMT_MIRROR=<dir>"),
    "split of the hub": (hub('Unknown split "trian". Should be one of [\'train\'].'),
                         "18: .* Unknown split \"trian\". Should be one of ['train']; check"),
    "store in a file": (edit("name: first", "name: first\nstore: my.yaml/results"),
                        "the store my.yaml/results cannot be used: .*; name another place as `sto"),
    "cache in a file": (variable("TAMT_CACHE", "my.yaml/cache"),
                        "the cache cannot be written: .*; set TAMT_CACHE to a directory of your o"),
    "unwritable HOME": (no_home, "the cache cannot be written: .*; set TAMT_CACHE to a directory"),
    "store of others": (no_right("results", 0o555),
                        "the lease .*/results/leases/.* cannot be written: .* Permission denied"),
    "lease of others": (file("results/leases/first/00000001-0123456789ab.json", 0),
                        "the lease .*/leases/first/00000001-.* cannot be read: .* Permission deni"),
    "hidden store": (both(edit("name: first", "name: first\nstore: hidden/it"), no_right("hidden")),
                     "the store hidden/it cannot be used: .* Permission denied: .*/hidden/it"),
    "weights of others": (no_right("model/model.safetensors"),
                          "4: models.tiny: .* Permission denied: .*/model/model.safetensors"),
    "model of others": (no_right("model"), "4: models.tiny: .* Permission denied: .*/model"),
    "corpus of others": (no_right("train.txt"), "6: corpus: .* Permission denied: .*/train.txt"),
    "data of others": (no_right("train.jsonl"),
                       "18: tasks.words: .* Permission denied: .*/train.jsonl"),
    "temporary directory of others": (both(variable("RAY_TMPDIR", "tmp"), no_right("tmp", 0o555)),
                                      "tmp cannot be written; set RAY_TMPDIR to a directory of yo"),
    "HOME of others": (both(variable("HOME", "me"), no_right("me", 0o555)),
                       "Ray keeps its token in me/.ray/auth_token, and me is not yours to use; se"),
    "HOME of others, closed": (both(variable("HOME", "me"), no_right("me", 0)),
                               "Ray keeps its token in me/.ray/auth_token, and me is not yours"),
    "weights cut off": (cut_off("model/model.safetensors"),
                        "4: .* is damaged or cut off .*; fetch it again"),
    "config of another size": (config(hidden_size=64),
                               "4: .*: config.json and weights make no model: .* is [32] in model"),
    "flat weights": (flat_weights, "4: .* make no model: .* is [4096] in .* [128, 32] by config"),
    "config of another type": (config(num_hidden_layers="two"),
                               "4: .* make no model: .* expected int, got str"),
    "config too deep": (write("model/config.json", '{"a": ' * 100_000),
                        "4: .* config.json cannot be read: maximum recursion"),
    "flat mask": (mask(lambda w: (w > 0).float().flatten()), "10: .*: a mask is a bool matrix, "),
    "NaN as mask": (mask(lambda w: w * torch.nan), "10: .*.weight: a mask is made of 0 and 1"),
    "pipe as mask": (mask(None), "10: .*/m.safetensors is not a file"),
    "pointer as mask": (both(mask(torch.clone), write("m.safetensors", POINTER)),
                        "10: .* not a mask file"),
    "damaged page": (damaged_page, "18: .* (train.parquet): cannot be read: .* page integrity"),
    "row too deep": (write("train.jsonl", "[" * 100_000), "18: .*:1: not JSON: maximum recursion"),
    "label of 2**63": (rows(label=lambda number: 2**63 if number == 3 else number % 2),
                       "18: .*:4: column 'label' cannot be read: Python int too large"),
    "bytes as text": (bytes_as_text, "18: .* row 0: b'good a' in the text column 'text' is not"),
    "empty tokenizer": (empty_tokenizer,
                        "4: models.tiny: .* the tokenizer fails: .*; take the one that was"),
    "password": (edit("name: first", "name: first\nmlflow: postgres://user:word@host/runs"),
                 "2: `mlflow`: it holds credentials, .*; give it by an MLflow server"),
}  # fmt: skip


@pytest.fixture
def project(tmp_path: Path, model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a sound sweep, its model and its data, where the command is typed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TAMT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TAMT_MIRROR", raising=False)
    shutil.copytree(model_dir, tmp_path / "model")
    for part in ("train", "validation"):
        (tmp_path / f"{part}.txt").write_text("a b c d e f g h i j\n" * 40)
        rows(part)(tmp_path, monkeypatch)
    (tmp_path / "my.yaml").write_text(SWEEP)
    return tmp_path


@pytest.mark.parametrize(("mistake", "complaint"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_ends_with_two_and_says_what_helps(
    mistake: Mistake, complaint: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[object] = []
    monkeypatch.setattr("tamt_ray.execution.driver.run", lambda *given: started.append(given))
    mistake(project, monkeypatch)
    said = as_ordinary_user(lambda: call("run", "my.yaml"))
    assert said.exit_code == 2, said.output
    *_, line = said.stderr.splitlines()
    place = "my.yaml:" if complaint[:1].isdigit() else ""
    assert_says(f"{place}{complaint}", line)
    assert (said.stdout, started) == ("", [])
    assert not list(project.glob("results/units/*"))


def test_ctrl_c_behind_the_last_unit(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The results are there, and only the report is still to be written."""

    def interrupted(*_given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tamt_ray.execution.driver.run", lambda *_given: None)
    monkeypatch.setattr("tamt_ray.cli.carry_out.Tracker", MagicMock())
    monkeypatch.setattr("tamt_ray.cli.results.report_files", interrupted)
    said = call("run", "my.yaml")
    assert said.exit_code == 130, said.output
    line = said.stderr.splitlines()[-1]
    assert line == "interrupted; what is done is kept, the same command goes on"
    assert "before anything" not in said.stderr
    assert (project / "results").is_dir()


AT_HAND = (
    "column", "label column", "column of the corpus", "third class to validate",
    "class that is left out", "labels in words", "no label in a row", "one class", "no rows",
    "folder of rows", "broken row", "semicolons", "encoding",
)  # fmt: skip
"""Mistakes in rows: they need no model."""


@pytest.mark.parametrize("name", AT_HAND)
def test_plan_and_doctor_see_rows_that_do_not_fit(
    name: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mistake, complaint = MISTAKES[name]
    mistake(project, monkeypatch)
    for words in (["plan"], ["plan", "--json"], ["run", "--dry-run"]):
        said = call(words[0], "my.yaml", *words[1:])
        assert (said.exit_code, said.stdout) == (2, ""), said.output
        assert_says(f"my.yaml:{complaint}", said.stderr.splitlines()[-1])
    found = about_rows(as_planned(load_sweep(Path("my.yaml"))))
    assert not found.passed
    assert_says(complaint.partition(":")[2], found.said)


def test_rows_that_fit_pass(project: Path) -> None:
    found = about_rows(load_sweep(project / "my.yaml"))
    assert (found.passed, found.said) == (True, "those at hand fit their tasks")


def test_plan_names_rows_that_it_cannot_read(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(TRAIN, '{source: "hf:glue#sst2", split: train}')(project, monkeypatch)
    said = call("plan", "my.yaml")
    assert said.exit_code == 0, said.output
    assert "data sets not at hand are checked at the start: hf:glue#sst2#train\n" in said.stdout
    assert f"store: {project}/results\n" in said.stdout


def as_ordinary_user(act: Callable[[], Result]) -> Result:
    """Call it in a thread for which the modes of files count, even where this is root's."""
    with ThreadPoolExecutor(1) as pool:
        if os.geteuid() == 0:
            pool.submit(heed_modes).result()
        return pool.submit(act).result()


def heed_modes() -> None:
    """Take root's two rights to pass over the modes of files from this thread, for good."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    data = (ctypes.c_uint32 * 6)()
    assert libc.capget(header, data) == 0
    for effective_or_permitted in (0, 1):
        data[effective_or_permitted] &= ~0b110
    assert libc.capset(header, data) == 0, os.strerror(ctypes.get_errno())


def assert_says(parts: str, line: str) -> None:
    """Assert that a line has the parts, `.*` between them, and begins with a place in a file."""
    first, *rest = (part.strip() for part in parts.split(".*"))
    assert line.startswith(first) if first.startswith("my.yaml:") else first in line, line
    assert all(part in line for part in rest), line
