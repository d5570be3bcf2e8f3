"""The command line: `tamt VERB FILE`."""

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, ParamSpec

import typer

from tamt_ray import __version__
from tamt_ray.cli import views
from tamt_ray.cli.opened import held, open_sweep, put_aside
from tamt_ray.cli.options import Address, AsJson, Chosen, File, Form, Only, Set
from tamt_ray.cli.speech import exit_on_error, fail, out, plain, talk, tell, warn
from tamt_ray.cli.supervisor import leave
from tamt_ray.cli.views import one, print_plan
from tamt_ray.spec.schema import sweep_schema
from tamt_ray.store.logs import read_logs

P = ParamSpec("P")
app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False,
    help="Find transferable subnetworks of pre-trained language models, over a whole grid.",
)  # fmt: skip


def _version(asked: bool) -> None:
    if asked:
        out.print(f"tamt_ray {__version__}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
]


def verb(act: Callable[P, int | None]) -> Callable[P, None]:
    """Register a verb. It ends with the exit code that it returns, or with that of an error that
    is meant for the user."""

    @wraps(act)
    def acted(*arguments: P.args, **options: P.kwargs) -> None:
        with exit_on_error():
            code = act(*arguments, **options)
        raise typer.Exit(code or 0)

    app.command(act.__name__.replace("_", "-"))(acted)
    return acted


@app.callback()
def whole(version: Version = False) -> None:
    """Find transferable subnetworks of pre-trained language models, over a whole grid."""


@verb
def run(
    file: File,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would run.")] = False,
    as_json: AsJson = False,
    only: Only = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run units again that failed before.")
    ] = False,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Start nothing new after the first failure.")
    ] = False,
    settings: Set = None,
    address: Address = None,
) -> int:
    """Run what is missing of a sweep."""
    opened = open_sweep(file, only, retry_failed=retry_failed, overrides=settings)
    if dry_run:
        print_plan(opened, as_json)
        return 0
    from tamt_ray.cli.carry_out import carry_out
    from tamt_ray.execution.interruption import BrokenOffError

    try:
        return carry_out(opened, address, fail_fast=fail_fast, as_json=as_json)
    except BrokenOffError as error:
        tell(str(error))
        # Threads of Tune and Train are still alive, and their exit handlers would start Ray
        # anew; everything worth keeping is on disk.
        leave(error.code)
    except KeyboardInterrupt:
        fail(130, "interrupted; what is done is kept, the same command goes on")


@verb
def plan(
    file: File,
    as_json: AsJson = False,
    only: Only = None,
    power: Annotated[
        bool, typer.Option("--power", help="Say how many seeds it takes to see one point, from "
                           "the variance of the runs that are done.")
    ] = False,
    settings: Set = None,
) -> None:  # fmt: skip
    """Say what would run, and what it would cost."""
    opened = open_sweep(file, only, overrides=settings)
    if power:
        from tamt_ray.cli.power import print_power

        print_power(opened, as_json)
    else:
        print_plan(opened, as_json)


@verb
def status(
    file: File,
    as_json: AsJson = False,
    settings: Set = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Stay, and say what lands; Ctrl-C leaves.")
    ] = False,
    address: Address = None,
) -> int:
    """Say what is done, what failed and why."""
    opened = open_sweep(file, overrides=settings)
    if watch and as_json:
        fail(2, "--watch prints lines for people: leave --json out")
    if as_json:
        print_plan(opened, as_json)
        return 0
    from tamt_ray.cli.watch import follow, print_state

    if watch:
        return follow(opened, out, address)
    print_plan(opened, as_json)
    views.print_troubles(opened)
    if not opened.sweep.tune:
        print_state(opened, out, address)
    out.print(f"store: {opened.store.uri}", highlight=False)
    return 0


@verb
def explain(
    file: File,
    unit: Annotated[
        str | None,
        typer.Argument(help="One unit, by the first digits of its id or by its path."),
    ] = None,
    matrices: Annotated[
        bool, typer.Option("--matrices", help="List the matrices that are pruned of each model.")
    ] = False,
    as_json: AsJson = False,
    settings: Set = None,
) -> None:
    """Print every setting of models, search and methods and where it comes from, or all that
    decides one unit."""
    opened = open_sweep(file, overrides=settings)
    if matrices:
        views.print_matrices(opened, as_json)
    elif unit is None:
        views.print_settings(opened, as_json)
    else:
        views.print_unit(opened, unit)


@verb
def report(
    file: File,
    published: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="Digitised values of Fig. 5, drawn beside ours."),
    ] = None,
    settings: Set = None,
) -> None:
    """Write the report from what the store holds."""
    from tamt_ray.cli.results import load_published, mark_report, write_report

    beside = load_published(published) if published else None
    opened = open_sweep(file, overrides=settings)
    if not opened.records:
        fail(
            2,
            f"nothing to report: the store {opened.store.uri} has no result of "
            f"{opened.sweep.name!r}; `store:` is relative to the directory you type in; "
            f"run it: python -m tamt_ray.sweep {opened.words}",
        )
    page = write_report(opened, published=beside)
    mark_report(opened)
    out.print(page)


@verb
def results(
    file: File,
    form: Annotated[
        Form, typer.Option("--as", help="table, markdown or latex as a run prints it; csv or json "
                           "with fractions and intervals.")
    ] = Form.TABLE,
    settings: Set = None,
) -> None:  # fmt: skip
    """Print the table of scores that the store holds so far."""
    from tamt_ray.cli.result_table import result_table

    opened = open_sweep(file, overrides=settings)
    sys.stdout.write(result_table(opened, form))


@verb
def logs(file: File, unit: Chosen, settings: Set = None) -> None:
    """Print what workers wrote while they did a unit, each attempt for itself."""
    opened = open_sweep(file, overrides=settings)
    found = one(opened, unit, opened.plan.units)
    texts = read_logs(opened.store, found.kind, found.id)
    if not texts:
        fail(
            2,
            f"{found} has no logs: it was not begun yet, or its node was lost with "
            f"them; tamt status {opened.words} --watch shows when it begins",
        )
    for text in texts:
        # A progress bar's line ends where it begins again.
        sys.stdout.write(plain(text.replace("\r", "\n")))


@verb
def profile(
    file: File,
    unit: Annotated[
        str | None,
        typer.Argument(help="One unit; without it the first search and the first fine-tune."),
    ] = None,
    settings: Set = None,
) -> None:
    """Train a few steps here and say where their time goes; nothing is kept."""
    opened = open_sweep(file, overrides=settings)
    from tamt_ray.cli.tables import profile_table
    from tamt_ray.data.cache import SourceError
    from tamt_ray.execution.profile import first_units, time_steps

    units = opened.plan.units
    chosen = [one(opened, unit, units)] if unit else first_units(units.values())
    try:
        for each in chosen:
            out.print(profile_table(time_steps(each)))
            out.print()
    except (SourceError, ValueError) as error:
        fail(2, f"{opened.file}: {error}")


@verb
def export(
    file: File,
    unit: Annotated[
        str, typer.Argument(help="First digits of a search's id, or its path, such as "
                            "'search/*/omp/0.5*'; with --best a folder in its place.")
    ],
    to: Annotated[
        Path | None,
        typer.Argument(metavar="TO", help="X.safetensors for its mask, or a new folder for the "
                       "pruned model with a model card."),
    ] = None,
    best: Annotated[
        bool, typer.Option("--best", help="Write the pruned model with the best average of every "
                           "model and sparsity into a folder.")
    ] = False,
    logged: Annotated[
        bool, typer.Option("--mlflow", help="Enter each pruned model into MLflow too, as a logged "
                           "model of the subnetwork's run.")
    ] = False,
    settings: Set = None,
) -> None:  # fmt: skip
    """Write one subnetwork out: its mask, or the pruned model for `from_pretrained`."""
    from tamt_ray.cli.export import enter, write_best, write_out

    if best == (to is not None):
        fail(2, "tamt export FILE UNIT TO, or tamt export FILE FOLDER --best")
    opened = open_sweep(file, overrides=settings)
    if to is None:
        written = write_best(opened, Path(unit))
    else:
        if logged and to.suffix == ".safetensors":
            fail(2, f"--mlflow enters a model: name a folder in the place of {to}")
        searches = [i for i, record in opened.records.items() if record.kind == "search"]
        chosen = one(opened, unit, searches)
        write_out(opened, chosen, to)
        written = {to: chosen}
    for folder, subnetwork in written.items():
        out.print(str(folder))
        if logged:
            enter(opened, subnetwork, folder)


@verb
def publish(
    file: File,
    to: Annotated[Path, typer.Argument(help="A folder; it becomes a store of records alone.")],
    settings: Set = None,
) -> None:
    """Write the records out without masks and curves, for a repository: their numbers stay, and
    units that need a mask search it again, which must then come out the same."""
    from tamt_ray.cli.results import publish_records

    opened = open_sweep(file, overrides=settings)
    out.print(f"{publish_records(opened, to)} records in {to}")


@verb
def verify(
    file: File,
    quarantine: Annotated[
        bool, typer.Option("--quarantine", help="Set aside what is damaged; a run computes it.")
    ] = False,
    as_json: AsJson = False,
    settings: Set = None,
) -> int:
    """Read every file of every result and compare it with its digest."""
    opened = open_sweep(file, overrides=settings)
    damaged = [*opened.damaged, *opened.store.verify(opened.records.values())]
    views.print_verified(opened, damaged, as_json)
    if not damaged:
        return 0
    if quarantine:
        with held(opened, warn) as (mine, _):
            put_aside(mine, mine.store.verify(mine.records.values()), warn)
        talk.print(f"compute them again: python -m tamt_ray.sweep {opened.words}")
    else:
        talk.print(f"set them aside: tamt verify {opened.words} --quarantine")
    return 1


@verb
def submit(
    file: File,
    address: Annotated[
        str, typer.Option(envvar="RAY_API_SERVER_ADDRESS", help="The cluster's dashboard.")
    ] = "http://127.0.0.1:8265",
    settings: Set = None,
) -> int:
    """Hand a sweep to a cluster, where it goes on without this machine."""
    from tamt_ray.cli.submit import hand_over

    return hand_over(file, settings or [], address)


@verb
def doctor(
    file: Annotated[
        Path | None, typer.Argument(help="A sweep, for its store, sources and MLflow.")
    ] = None,
    address: Address = None,
    as_json: AsJson = False,
    settings: Set = None,
) -> int:
    """Check a cluster before money is spent, and say what to do about each fault."""
    from tamt_ray.cli.doctor import print_examination

    return print_examination(file, settings or [], address, as_json)


@verb
def sync_mlflow(file: File, settings: Set = None) -> int:
    """Write everything the store holds to MLflow, report included; what is there already stays."""
    from tamt_ray.cli.results import report_files
    from tamt_ray.cli.summary import final_summary
    from tamt_ray.tracking.place import ui_lines
    from tamt_ray.tracking.sync import sync

    opened = open_sweep(file, overrides=settings)
    found = sync(
        opened.grid, opened.plan, opened.store, opened.records,
        final_summary(opened, report_files(opened)) if opened.records else None,
    )  # fmt: skip
    out.print(str(found))
    talk.print(ui_lines(opened.sweep, found.link), soft_wrap=True, highlight=False)
    return 1 if found.refused else 0


@verb
def init(
    file: Annotated[Path, typer.Argument(help="The file to write.")] = Path("my.yaml"),
    model: Annotated[str | None, typer.Option(help="minilm, bert, hf:<repo> …")] = None,
    tasks: Annotated[str | None, typer.Option(help="Tasks, with commas between.")] = None,
    methods: Annotated[str | None, typer.Option(help="Methods, with commas between.")] = None,
    budget: Annotated[str | None, typer.Option(help="minutes, hours or paper.")] = None,
) -> None:
    """Write a minimal sweep whose lines are explained: answer four questions, or give options."""
    from tamt_ray.cli.init import QUESTIONS, ask, write_sweep

    given = {"model": model, "tasks": tasks, "methods": methods, "budget": budget}
    write_sweep(file, {name: ask(name, given[name], sys.stdin.isatty()) for name in QUESTIONS})
    out.print(str(file))
    talk.print(
        f"look at it: {file}\nits price:  python -m tamt_ray.sweep {file} --dry-run\n"
        f"run it:     python -m tamt_ray.sweep {file}",
        highlight=False, soft_wrap=True,
    )  # fmt: skip


@verb
def new_method(
    name: Annotated[str, typer.Argument(help="What a sweep file shall call it, as in my_method.")],
    trains: Annotated[
        bool, typer.Option("--trains", help="A method that trains on text, in gangs.")
    ] = False,
    folder: Annotated[Path, typer.Option(help="Where the package's folder is made.")] = Path(),
) -> None:
    """Write a package with a method of your own, ready to run and to change."""
    from tamt_ray.cli.new_method import write_method

    to = write_method(name, folder, trains=trains)
    out.print(str(to))
    talk.print(f'try it: cd {to} && pip install -e ".[test]" && pytest')


@verb
def schema() -> None:
    """Print the JSON schema of a sweep file, for editors."""
    sys.stdout.write(sweep_schema())


alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
"""The verb `run` alone."""
alone.command()(run)
