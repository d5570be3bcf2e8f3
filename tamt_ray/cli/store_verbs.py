"""Verbs that write results out of the store, or check them."""

from pathlib import Path
from typing import Annotated

import typer

from tamt_ray.cli import views
from tamt_ray.cli.options import AsJson, File, Set
from tamt_ray.cli.speech import fail, out, talk, warn
from tamt_ray.cli.sweep_context import held, open_sweep, put_aside
from tamt_ray.cli.verb import verb
from tamt_ray.cli.views import one


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
