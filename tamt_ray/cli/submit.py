"""`tamt submit`: a sweep handed to a cluster, from a laptop that may be closed afterwards."""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import yaml

from tamt_ray.cli.speech import fail, out, talk
from tamt_ray.cli.sweep_context import words_of
from tamt_ray.spec.load import SpecError, load_sweep
from tamt_ray.spec.sweep import Sweep
from tamt_ray.values.plugin import OURS, code_of, plugin_packages
from tamt_ray.values.scratch import Scratch
from tamt_ray.values.table import parse_source


def hand_over(file: Path, overrides: Sequence[str], address: str) -> int:
    """Submit the sweep, print the job's id and what to type next; returns the exit code.

    Raises SpecError.
    """
    sweep = load_sweep(file, overrides)
    if wrong := places_of_here(sweep):
        raise SpecError("\n".join(f"{file}: {complaint}" for complaint in wrong))
    from tamt_ray.execution.cluster import submission

    files, words = what_travels(file), words_of(file, overrides)
    try:
        size = submission.check_size(files)
        with Scratch("job") as folder:
            for name, path in files.items():
                to = folder / name
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, to)
            there = next(name for name, path in files.items() if path == file.absolute())
            command = f"python -m tamt_ray.sweep {words_of(Path(there), overrides)} --address auto"
            job = submission.submit(address, folder, command, sweep.name)
    except (submission.TooLargeError, submission.SubmissionError) as error:
        fail(2 if isinstance(error, submission.TooLargeError) else 3, str(error))
    out.print(job)
    talk.print(
        f"{len(files)} files, {size / 1e6:.1f} MB, have travelled\n"
        f"follow it:   tamt status {words} --watch\n"
        f"its words:   ray job logs --follow --address {address} {job}\n"
        f"a unit's:    tamt logs {words} UNIT\n"
        f"stop it:     ray job stop --address {address} {job}",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    return 0


def what_travels(file: Path) -> dict[str, Path]:
    """Return the files of the package, of local plug-ins, of the sweep and those it is made of, by
    their place on the way."""
    sweeps = sorted(_made_of(file.absolute()))
    root = os.path.commonpath([path.parent for path in sweeps])
    ours = {f"sweeps/{path.relative_to(root)}": path for path in sweeps}
    return {**code_of(OURS), **_local_plugins(), **ours}


def _local_plugins() -> dict[str, Path]:
    """Return the files of plug-ins that were installed from a folder here, which no node can
    install; with their entry points, so that they are found beside the code."""
    found: dict[str, Path] = {}
    for top, package in plugin_packages().items():
        url = json.loads(package.read_text("direct_url.json") or "{}").get("url", "")
        if not url.startswith("file:"):
            continue
        found |= code_of(top)
        for file in package.files or ():
            if file.name in {"METADATA", "entry_points.txt"}:
                found[f"{file.parent.name}/{file.name}"] = Path(str(file.locate()))
    return found


def _made_of(file: Path) -> set[Path]:
    """Return a sweep file and those that it extends or unites."""
    data = yaml.safe_load(file.read_text(encoding="utf-8"))
    names = [*data.get("parts", ()), *([data["extends"]] if "extends" in data else ())]
    others = (Path(os.path.normpath(file.parent / name)) for name in names)
    return {file}.union(*map(_made_of, others))


def places_of_here(sweep: Sweep) -> list[str]:
    """Complaints about places that mean another directory on the cluster than here."""
    wrong: list[str] = []
    if "://" not in sweep.store and not Path(sweep.store).is_absolute():
        wrong.append(
            f"`store: {sweep.store}` would be a directory that goes with the job; name an s3:// "
            "address, or an absolute path that all nodes mount"
        )
    database = sweep.mlflow.removeprefix("sqlite:///")
    if database != sweep.mlflow and not database.startswith("/"):
        wrong.append(
            f"`mlflow: {sweep.mlflow}` would be a file that goes with the job; name the server, "
            "such as http://127.0.0.1:5000, or an absolute path, sqlite:////…"
        )
    tables = [sweep.corpus.train, sweep.corpus.validation]
    tables += [table for task in sweep.tasks.values() for table in (task.train, *task.validation)]
    sources = [
        *(model.source for model in sweep.models.values()),
        *(table.source for table in tables),
        *(source for method in sweep.methods for source in method.sources),
    ]
    for source in dict.fromkeys(sources):
        ref = parse_source(source)
        if ref.scheme == "dir" and not Path(ref.path).is_absolute():
            wrong.append(f"{source} is relative; name an absolute path that all nodes have")
    return wrong
