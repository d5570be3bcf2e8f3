"""`tamt new-method`: a package with a method of its own, ready to run and to change."""

import re
from importlib.resources import files
from pathlib import Path
from string import Template

from tamt_ray.cli.speech import UsageError
from tamt_ray.methods.registry import METHODS


def write_method(name: str, folder: Path, *, trains: bool) -> Path:
    """Write the package `tamt-NAME` into a new folder below `folder`; return that folder.

    Raises UsageError for a name that is taken or no Python word, or a folder that exists.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise UsageError(
            f"{name!r} is no name of a method; use small letters, digits and underscores"
        )
    if name in METHODS.classes:
        raise UsageError(f"{name!r} is a method already; choose another name")
    to = folder / f"tamt-{name.replace('_', '-')}"
    if to.exists():
        raise UsageError(f"{to} exists already; choose another name or another folder")
    entry = f'{{"method": "{name}", "steps": 6, "lr": 1e-3}}' if trains else f'"{name}"'
    words = {
        "name": name, "dashed": name.replace("_", "-"), "entry": entry,
        "Class": "".join(part.capitalize() for part in name.split("_")),
    }  # fmt: skip
    templates = files("tamt_ray.cli") / "templates" / "method"
    for template, place in (
        ("pyproject.toml", "pyproject.toml"),
        ("README.md", "README.md"),
        ("trained.py" if trains else "one_shot.py", f"tamt_{name}.py"),
        ("test.py", f"tests/test_{name}.py"),
    ):
        path = to / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            Template((templates / f"{template}.template").read_text()).substitute(words)
        )
    return to
