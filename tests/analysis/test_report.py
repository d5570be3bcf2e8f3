"""The report: self-contained, escaped, honest about what is missing, the same bytes every time."""

import base64
import hashlib
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from tamt_ray.analysis.artifacts import ArtifactReader
from tamt_ray.analysis.claims.catalogue import CLAIMS
from tamt_ray.analysis.figures.vega import Figure
from tamt_ray.analysis.report.blocks import Block
from tamt_ray.analysis.report.context import Context
from tamt_ray.analysis.report.page import SECTIONS, build_report, page
from tamt_ray.analysis.report.sections import settings
from tamt_ray.analysis.report_data import gather
from tamt_ray.analysis.stats.averages import AVERAGE
from tamt_ray.analysis.stats.distances import MASK
from tamt_ray.masks.bits import Bits
from tamt_ray.plan.expand import Plan, expand
from tamt_ray.plan.unit import NOWHERE, Cell
from tamt_ray.spec.load import load_sweep, parse_sweep
from tamt_ray.spec.sweep import Sweep
from tamt_ray.store.record import Artifact, Failure

from .html_page import Page

TABLES = {
    f"tables/{name}.parquet"
    for name in (
        "downstream", "pretrain", "averages", "correlations", "comparisons", "search_costs",
        "claims",
    )
}  # fmt: skip


@pytest.fixture(scope="module")
def report(sweep: Sweep, plan: Plan, all_records: dict) -> dict[str, bytes]:
    return build_report(sweep, plan, all_records)


def page_of(*arguments: object) -> str:
    return page(Context(gather(*arguments)))


def text_of(*arguments: object) -> str:
    return " ".join(Page(page_of(*arguments)).text.split())


def test_files_and_tables(report: dict[str, bytes]) -> None:
    figures = {"main_results", "losses_by_sparsity", "mlm_loss_by_task", "kd_loss_by_task"}
    assert set(report) == {
        *TABLES, "report.html", *(f"figures/{f}.{end}" for f in figures for end in ("svg", "pdf"))
    }  # fmt: skip
    averages = pl.read_parquet(io.BytesIO(report["tables/averages.parquet"]))
    assert averages.height == 5 * 3
    keys = averages.select("model", "method", "sparsity", "task")
    assert keys.equals(keys.sort(keys.columns))
    assert pl.read_parquet(io.BytesIO(report["tables/downstream.parquet"])).height == 32
    claims = pl.read_parquet(io.BytesIO(report["tables/claims.parquet"]))
    assert set(claims["statement"]) == {claim.statement for claim in CLAIMS}
    assert set(claims["verdict"]) <= {"supported", "does not hold here", "not decidable"}


def test_page_asks_for_nothing_and_runs_only_its_own(report: dict[str, bytes]) -> None:
    html = report["report.html"].decode()
    page = Page(html)
    assert page.open == []
    assert not {"link", "iframe", "object", "embed", "base", "form"} & {tag for tag, _ in page.tags}
    sources = {attrs["src"] for _, attrs in page.tags if "src" in attrs}
    assert sources
    # Shown where scripts are switched off, from beside the page.
    assert all(re.fullmatch(r"figures/\w+\.svg", source) for source in sources)
    links = {attrs["href"] for _, attrs in page.tags if "href" in attrs}
    assert all(re.fullmatch(r"#[a-z0-9-]+|figures/\w+\.(svg|pdf)", link) for link in links)
    # Addresses stand in scripts (names of schemas), and the browser may open none of them.
    policy = next(a["content"] for _, a in page.tags if "Content" in a.get("http-equiv", ""))
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    assert len(scripts) == 2
    for script in scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert "unsafe-inline" not in policy.split("script-src")[1].split(";")[0]
    assert "@import" not in html.split("</style>")[0]


def test_the_answer_comes_first(report: dict[str, bytes]) -> None:
    text = " ".join(Page(report["report.html"].decode()).text.split())
    begin = text.index("Highest average over 2 tasks: tamt_kd at 50 % (")
    assert begin < 120
    assert begin < text.index("method average over tasks") < text.index("Paired differences")
    assert "32 of 32 runs are done" in text
    assert "results of 2023-11-14 22:13 UTC · tamt_ray" in text


def test_sections_follow_one_another(report: dict[str, bytes]) -> None:
    page = Page(report["report.html"].decode())
    titles = [attrs["id"] for tag, attrs in page.tags if tag == "h2"]
    links = [attrs["href"] for tag, attrs in page.tags if tag == "a"]
    assert titles == [
        "paired-differences", "losses-against-scores", "masks", "cost", "what-the-paper-says",
        "how-far-to-trust-this", "completeness", "settings", "sources",
    ]  # fmt: skip
    assert {f"#{title}" for title in titles} <= set(links)


def test_numbers_equal_those_of_the_tables(report: dict[str, bytes]) -> None:
    averages = pl.read_parquet(io.BytesIO(report["tables/averages.parquet"]))
    text = " ".join(Page(report["report.html"].decode()).text.split())
    for method, task, mean, std in averages.select("method", "task", "mean", "std").iter_rows():
        assert f"{mean * 100:.1f} ± {std * 100:.1f}" in text, (method, task)


def test_scores_in_tables_are_fractions(report: dict[str, bytes]) -> None:
    def table(name: str) -> pl.DataFrame:
        return pl.read_parquet(io.BytesIO(report[f"tables/{name}.parquet"]))

    runs = table("downstream").filter(method="omp", sparsity=0.5, task="stsb")["best"]
    mean = table("averages").filter(method="omp", sparsity=0.5, task="stsb")["mean"].item()
    assert mean == pytest.approx(runs.mean())
    pair = table("comparisons").filter(task="stsb", sparsity=0.5, a="omp", b="random")
    other = table("downstream").filter(method="random", sparsity=0.5, task="stsb")["best"].mean()
    assert pair["effect"].item() == pytest.approx(runs.mean() - other)


def test_page_says_what_was_run(report: dict[str, bytes]) -> None:
    text = Page(report["report.html"].decode()).text
    for words in ("dir:models/mini", "tamt_kd", "sha256:0123abcd", "31.8", "40 to 2,792 steps",
                  "demonstration"):  # fmt: skip
        assert words in text


def test_complete_only_where_every_unit_is(sweep: Sweep, plan: Plan, records: dict) -> None:
    # IMP's lower levels are units of the plan without a cell of their own.
    levels = set(plan.units) - set(records)
    text = text_of(sweep, plan, records, {})
    assert f"Incomplete: {len(records)} of {len(plan.units)}" in text
    some = next(iter(records.values()))
    whole = records | {
        unit: some.model_copy(update={"id": unit, "kind": "search"}) for unit in levels
    }
    text = text_of(sweep, plan, whole, {})
    assert f"Complete: all {len(plan.units)} units" in text


def test_missing_and_failed_are_shown(sweep: Sweep, plan: Plan, records: dict) -> None:
    cell, mask = next(each for each in plan.cells["search"].items() if each[0].method == "omp")
    gone = {mask} | {unit.id for unit in plan.units.values() if mask in unit.parents}
    failure = Failure(
        id=mask, kind="search", cell=cell, error="FloatingPointError",
        message="the loss is NaN at step 17", traceback="", attempts=1, at=1.7e9,
    )  # fmt: skip
    kept = {unit: record for unit, record in records.items() if unit not in gone}
    html = page_of(sweep, plan, kept, {mask: failure})
    text = " ".join(Page(html).text.split())
    assert "the loss is NaN at step 17" in text
    assert re.search(r"omp – missing – missing – missing 0 of 2", text)
    # One search failed; its evaluation and four fine-tunes wait for it in vain.
    assert re.search(r"fine-tunes 32 28 0 4 0", text)
    assert re.search(r"pre-training evaluations 8 7 0 1 0", text)


def test_failure_of_a_unit_done_since_is_not_a_failure(
    sweep: Sweep, plan: Plan, records: dict
) -> None:
    unit = next(iter(records))
    failure = Failure(id=unit, kind="search", cell=NOWHERE, error="OSError", message="gone by now",
                      traceback="", attempts=1, at=0.0)  # fmt: skip
    assert "gone by now" not in text_of(sweep, plan, records, {unit: failure})


def test_outside_text_is_escaped(sweep: Sweep, plan: Plan, records: dict) -> None:
    nasty = '<script>alert("x")</script>&'
    source = {f"dir:{nasty}": nasty}
    dirty = {
        unit: record.model_copy(update={"device": nasty, "sources": source})
        for unit, record in records.items()
    }
    failure = Failure(id="f", kind="search", cell=Cell(nasty), error=nasty, message=nasty,
                      traceback="", attempts=1, at=0.0)  # fmt: skip
    named = sweep.model_copy(update={"name": nasty})
    html = page_of(named, plan, dirty, {"f": failure})
    assert "<script>alert" not in html
    assert Page(html).text.count(nasty) >= 6


def test_names_are_escaped_in_attributes_and_in_the_data_of_charts(
    sweep_text: str, fill: Callable
) -> None:
    nasty = "</script><script>alert(1)</script>"
    text = sweep_text.replace("  movies:", f"  {json.dumps(nasty)}:")
    try:
        sweep = parse_sweep(text)
    except ValueError:
        # A sweep file may not name a task so; a sweep made by hand still must not break the page.
        plain = parse_sweep(sweep_text)
        sweep = plain.model_copy(
            update={"tasks": {nasty: plain.tasks["movies"], "stsb": plain.tasks["stsb"]}}
        )
    plan = expand(sweep)
    html = page(Context(gather(sweep, plan, fill(plan, lambda _: 0.5), {})))
    # The charts' own data, and the two scripts of the page.
    assert html.count("<script") == html.count('<script type="application/json">') + 2
    assert Page(html).open == []
    assert nasty in Page(html).text


def test_same_records_same_bytes(
    sweep: Sweep, plan: Plan, records: dict, report: dict[str, bytes]
) -> None:
    shuffled = dict(reversed(records.items()))
    again = build_report(sweep, plan, shuffled)
    assert again.keys() == report.keys()
    # The library orders the objects in a PDF as it likes.
    for name, content in report.items():
        assert name.endswith(".pdf") or content == again[name], name


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are made and not painted, which is what takes the time."""
    monkeypatch.setattr(Figure, "svg", "<svg/>")
    monkeypatch.setattr(Figure, "pdf", b"%PDF")


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    "change",
    [
        {"tasks": {}},
        {"mask_seeds": (1,), "finetune_seeds": (1,)},
        {"sparsities": (0.3, 0.5, 0.7)},
    ],
)
def test_other_shapes(sweep: Sweep, change: dict, fill: Callable) -> None:
    changed = sweep.model_copy(update=change)
    plan = expand(changed)
    for records in ({}, fill(plan, lambda _: 0.5)):
        report = build_report(changed, plan, records)
        assert set(report) > {*TABLES, "report.html"} or not changed.tasks
        assert "nan" not in Page(report["report.html"].decode()).text.lower().split()


def test_places_and_users_stay_out(sweep_text: str) -> None:
    sweep = parse_sweep(
        sweep_text + "store: s3://bucket/secret-place\nmlflow: postgresql://somebody@db/mlflow\n"
    )
    html = page(Context(gather(sweep, expand(sweep), {}, {})))
    assert "kind: regression" in settings.sweep_file(gather(sweep, expand(sweep), {}, {})).text
    assert "somebody" not in html
    assert "secret-place" not in html


def test_every_section_stands_alone(sweep: Sweep, plan: Plan, all_records: dict) -> None:
    """Each is a function of the context; without records it still says what it can."""
    for records in (all_records, {}):
        for title, draw in SECTIONS.items():
            blocks = list(draw(Context(gather(sweep, plan, records, {}))))
            assert all(isinstance(block, Block) for block in blocks), title


@pytest.fixture(scope="module")
def grid(grid_text: Callable, fill_grid: Callable) -> tuple[Sweep, Plan, dict]:
    """One sparsity with checkpoints, prune intervals and a smaller training set."""
    sweep = parse_sweep(
        grid_text(("bert",), ("mnli", "squad"), (0.7,), (1000,), (500,), {"mnli": (900,)})
    )
    plan = expand(sweep)
    return sweep, plan, fill_grid(plan)


def test_main_tables_hold_the_main_results_only(grid: tuple[Sweep, Plan, dict]) -> None:
    sweep, plan, records = grid
    material = gather(sweep, plan, records, {})
    runs = {"full": 3, "omp": 3}
    # Two tasks and their average; 3 masks × 3 fine-tuning seeds, no matter what else was trained.
    assert {
        row[:-1]: row[-1] for row in material.averages.select("method", "task", "n").rows()
    } == {
        (method, task): runs.get(method, 9)
        for method in ("full", *(m.name for m in sweep.methods))
        for task in (AVERAGE, "mnli", "squad")
    }
    assert set(material.losses.select("method", "n").rows()) == {
        ("full", 1), ("omp", 1), *((m.name, 3) for m in sweep.methods if m.name != "omp"),
    }  # fmt: skip
    masks = material.searches.filter(pl.col("checkpoint").is_null()).height
    assert masks == 1 + 3 * 6
    # Six methods of nine runs and OMP's three, on all data and on less.
    sized = material.reduced.filter(pl.col("sparsity") > 0).group_by("train_size").agg(pl.sum("n"))
    assert dict(sized.rows()) == {None: 57, 900: 57}
    assert set(material.reduced["task"]) == {"mnli"}


@pytest.mark.usefixtures("undrawn")
def test_everything_a_sweep_can_show(grid: tuple[Sweep, Plan, dict]) -> None:
    sweep, plan, records = grid
    records = {
        unit: record.model_copy(update={"artifacts": {MASK: Artifact(sha256=unit, bytes=1)}})
        for unit, record in records.items()
    }
    curve = pl.DataFrame({"step": [50, 100], "name": ["mlm_loss"] * 2, "value": [5.0, 4.0]})
    reader = ArtifactReader(lambda unit: Bits.of({"w": bytes([int(unit[:2], 16)])}, {"w": (2, 4)}),
                  lambda _: curve)  # fmt: skip
    files = build_report(sweep, plan, records, None, reader)
    text = " ".join(Page(files["report.html"].decode()).text.split())
    for words in ("What the paper says", "not decidable", "Paired differences",
                  "tamt_mlm − imp", "is best at", "times fewer", "Less training data",
                  "mnli, 70 % of the weights removed", "TAMT − IMP at 70 %", "training time",
                  "Losses during the searches", "not tested: 60 %, 80 %, 90 %"):  # fmt: skip
        assert words in text, words
    assert {"figures/mask_distances.svg", "figures/training_sizes.svg", "figures/search_cost.pdf",
            "tables/distances.parquet"} < set(files)  # fmt: skip
    known = pl.read_parquet(io.BytesIO(files["tables/distances.parquet"]))
    again = build_report(sweep, plan, records, None, ArtifactReader(_never, lambda _: curve, known))
    assert again == files


def _never(unit: str) -> Bits:
    raise AssertionError(f"the mask {unit} was read though its distances are known")


@pytest.mark.usefixtures("undrawn")
def test_a_union_of_sweeps(tmp_path: Path, sweep_text: str, fill: Callable[..., dict]) -> None:
    """Parts with other sparsities and other tasks: what no part asks for is not missing."""
    first = sweep_text.replace("name: small", "name: first")
    other = first[: first.index("  movies:")].replace("name: first", "name: second")
    (tmp_path / "a.yaml").write_text(first)
    (tmp_path / "b.yaml").write_text(other.replace("sparsities: [0.5]", "sparsities: [0.7, 0.9]"))
    (tmp_path / "u.yaml").write_text("name: both\nparts: [a.yaml, b.yaml]\n")
    sweep = load_sweep(tmp_path / "u.yaml")
    plan = expand(sweep)
    files = build_report(sweep, plan, fill(plan))
    text = Page(files["report.html"].decode()).text
    assert "Highest average over 2 tasks: tamt_kd at 50 %" in text
    assert "70 % of the weights removed" in text
    averages = pl.read_parquet(io.BytesIO(files["tables/averages.parquet"]))
    rows = averages.filter(pl.col("sparsity") == 0.7)
    assert set(rows["task"]) == {"stsb"}
    assert rows["missing"].sum() == 0
