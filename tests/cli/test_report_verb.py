"""`tamt report`: masks from the store, distances kept for the next time, published values."""

import io
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import torch
from click.testing import Result
from typer.testing import CliRunner

from tamt_ray.analysis.figures.vega import Figure
from tamt_ray.cli import results
from tamt_ray.cli.app import app
from tamt_ray.cli.report_mark import OF, is_current
from tamt_ray.cli.sweep_context import open_sweep
from tamt_ray.masks.file import mask_to_bytes
from tamt_ray.masks.mask import Mask
from tamt_ray.plan.expand import expand
from tamt_ray.spec.load import load_sweep
from tamt_ray.store.files import Files
from tamt_ray.store.record import Record
from tamt_ray.store.store import Store
from tamt_ray.values.identity import written

SWEEP = """\
name: small
store: {store}
models: {{mini: {{source: "dir:m"}}}}
corpus: {{train: {{source: "dir:a.txt"}}, validation: {{source: "dir:b.txt"}}}}
methods: [random, omp]
sparsities: [0.5]
mask_seeds: [1, 2]
"""
PUBLISHED = """\
# the paper's
method,sparsity,avg_low,avg_high,mlm_loss_low,mlm_loss_high,kd_loss_low,kd_loss_high
omp,0.5,79.1,{high},4.5,4.5,0.2,0.2
"""


def call(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_nothing_to_report_ends_with_two_and_writes_nothing(tmp_path: Path) -> None:
    """As from another directory, where `store: results` is another place."""
    path = tmp_path / "small.yaml"
    path.write_text(SWEEP.format(store=tmp_path / "results"))
    said = call("report", path)
    assert (said.exit_code, said.stdout) == (2, "")
    assert f"the store {tmp_path / 'results'} has no result of 'small'" in said.stderr
    assert not (tmp_path / "results").exists()


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are made and not painted, which is what takes the time."""
    monkeypatch.setattr(Figure, "svg", "<svg/>")
    monkeypatch.setattr(Figure, "pdf", b"%PDF")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A sweep all of whose masks are there: OMP keeps the first half, the others rows of it."""
    path = tmp_path / "small.yaml"
    path.write_text(SWEEP.format(store=tmp_path / "results"))
    store = Store(str(tmp_path / "results"))
    for number, unit in enumerate(expand(load_sweep(path)).units.values()):
        if unit.kind == "search":
            kept = torch.zeros(4, 4, dtype=torch.bool)
            kept[: number + 1] = True
            metrics = {"zeros": 8.0, "weights": 16.0, "sparsity": 0.5}
            artifacts = {"mask.safetensors": mask_to_bytes(Mask({"w": kept}))}
        else:
            metrics, artifacts = {"mlm_loss": 4.0, "kd_loss": 0.2}, {}
        record = Record(id=unit.id, kind=unit.kind, config=written(unit.config),
                        metrics=metrics, started=0.0, seconds=1.0, device="cpu", place="here",
                        parents=unit.parents)  # fmt: skip
        store.commit(record, artifacts)
    return path


def distances(file: Path) -> pl.DataFrame:
    data = (file.parent / "results/reports/small/tables/distances.parquet").read_bytes()
    return pl.read_parquet(io.BytesIO(data))


def test_masks_are_compared_once(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = call("report", file)
    assert result.exit_code == 0, result.output
    first = distances(file)
    assert first.select("a", "b").rows() == [
        ("random·1", "random·2"), ("random·1", "omp"), ("random·2", "omp"),
    ]  # fmt: skip
    page = (file.parent / "results/reports/small/report.html").read_bytes()

    def refuse(_: bytes) -> None:
        raise AssertionError("a mask was read though its distances are known")

    monkeypatch.setattr(results, "bits_from_bytes", refuse)
    assert call("report", file).exit_code == 0
    assert distances(file).equals(first)
    assert (file.parent / "results/reports/small/report.html").read_bytes() == page


def test_half_a_report_and_an_old_one_are_written_anew(file: Path) -> None:
    """A sweep that is done only looks whether its report is: whole, and of these results."""
    folder = file.parent / "results/reports/small"
    assert call("run", file).exit_code == 0
    page, of = (folder / "report.html").read_bytes(), (folder / "of.txt").read_bytes()
    for spoil in ((folder / "of.txt").unlink, lambda: (folder / "of.txt").write_text("of others")):
        (folder / "report.html").write_text("old")
        spoil()
        assert call("run", file).exit_code == 0
        assert (folder / "report.html").read_bytes() == page
        assert (folder / "of.txt").read_bytes() == of
    (folder / "report.html").write_text("untouched")
    assert call("run", file).exit_code == 0
    assert (folder / "report.html").read_text() == "untouched"
    # A part of the sweep has the report of the whole one.
    assert call("run", file, "--only", "search/*").exit_code == 0
    assert (folder / "report.html").read_text() == "untouched"


def test_kills_while_a_report_is_written(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report of an edited sweep is written over the one before. After each kill, a report that
    counts as current is whole, no file is half a file, and the next call writes the same bytes as
    one that nothing disturbed and leaves no temporary file."""
    crashes = tmp_path / "crashes"
    first, text = open_sweep(file), file.read_text()

    def written(root: Path) -> dict[str, bytes]:
        folder = root / "reports" / "small"
        paths = [p for p in folder.rglob("*") if p.is_file() and p.suffix != ".tmp"]
        return {str(path.relative_to(folder)): path.read_bytes() for path in paths}

    assert call("run", file).exit_code == 0
    before = written(tmp_path / "results")
    shutil.copytree(tmp_path / "results", crashes / "before")
    file.write_text(text.replace("[1, 2]", "[1]"))
    edited = open_sweep(file)
    assert call("run", file).exit_code == 0
    after = written(tmp_path / "results")
    assert before["report.html"] != after["report.html"]
    subprocess.run(
        [sys.executable, Path(__file__).with_name("report_crasher.py"), file,
         tmp_path / "results" / "reports" / "small", crashes],
        check=True, timeout=200,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )  # fmt: skip
    roots = [path for path in crashes.iterdir() if path.name != "before"]
    assert len(roots) > len(after) / 2
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # slow, and no matter of a kill
    for root in sorted(roots, key=lambda path: int(path.name)):
        store, found = Store(str(root)), written(root)
        for name, content in found.items():
            unmarked = b"being written\n" if name == OF else None
            assert content in {before.get(name), after.get(name), unmarked}, (root, name)
        for sweep, whole in ((first, before), (edited, after)):
            if is_current(replace(sweep, store=store)):
                assert whole.items() <= found.items(), root
        again = replace(edited, store=store)
        results.write_report(again, {name: after[name] for name in after if name != OF})
        results.mark_report(again)
        assert after.items() <= written(root).items()
        assert not list(root.rglob("*.tmp")), root


def test_the_page_and_what_it_is_of_are_written_last(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    plain = Store.write

    def write(store: Store, name: str, data: bytes) -> None:
        written.append(name)
        plain(store, name, data)

    monkeypatch.setattr(Store, "write", write)
    assert call("report", file).exit_code == 0
    assert [name.rsplit("/", 1)[-1] for name in written[-2:]] == ["report.html", "of.txt"]
    assert len(written) > 10


def test_a_damaged_shortcut_is_no_obstacle(file: Path) -> None:
    assert call("report", file).exit_code == 0
    first = distances(file)
    (file.parent / "results/reports/small/tables/distances.parquet").write_bytes(b"PAR1 not")
    assert call("report", file).exit_code == 0
    assert distances(file).equals(first)


def test_published_values_reach_the_report(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []
    build: Callable[..., dict[str, bytes]] = results.build_report

    def spy(*arguments: object) -> dict[str, bytes]:
        seen.append(arguments[5])
        return build(*arguments)

    monkeypatch.setattr(results, "build_report", spy)
    (tmp_path / "p.csv").write_text(PUBLISHED.format(high=79.2))
    result = call("report", file, "--published", tmp_path / "p.csv")
    assert result.exit_code == 0, result.output
    assert isinstance(seen[0], pl.DataFrame)
    assert seen[0]["avg_high"].to_list() == [79.2]


def test_a_bad_table_ends_the_call(file: Path, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(PUBLISHED.format(high="lots"))
    result = call("report", file, "--published", tmp_path / "p.csv")
    assert result.exit_code == 2
    assert f"{tmp_path / 'p.csv'}:3: 'lots' is not a number" in result.stderr
    result = call("report", file, "--published", tmp_path / "none.csv")
    assert result.exit_code == 2
    assert "none.csv: cannot be read" in result.stderr
    assert not (tmp_path / "results/reports").exists()


def test_a_part_of_a_sweep_reports_the_whole(file: Path) -> None:
    files = results.report_files(open_sweep(file, "search/*/omp/*"))
    assert pl.read_parquet(io.BytesIO(files["tables/pretrain.parquet"])).height == 4


def test_the_store_is_read_once(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One listing and one read per record, with `--only` and a report to write as well."""
    listings, reads = list[str](), Counter[str]()
    sizes, read = Files.sizes, Files.read
    monkeypatch.setattr(Files, "sizes", lambda s, name: listings.append(name) or sizes(s, name))
    monkeypatch.setattr(Files, "read", lambda s, name: reads.update([name]) or read(s, name))
    records = len(expand(load_sweep(file)).units)
    for words in (["status", file], ["run", file], ["run", file, "--only", "search/*/omp/*"]):
        listings.clear()
        reads.clear()
        assert call(*words).exit_code == 0
        assert [name for name in listings if not name.startswith("leases")] == ["units"]
        assert sum(name.endswith("record.json") for name in reads) == records
        assert {n for name, n in reads.items() if name.startswith("units/")} == {1}
