"""Sources of models, corpora and data sets."""

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator

FORMS = (
    "hf:<repo>[#<config>]",
    "dir:<path>",
    "pypi:<name>==<version>/<path inside>#sha256=<digest of the archive>",
)

_HF = re.compile(r"^hf:(?P<name>[\w.-]+(?:/[\w.-]+)?)(?:#(?P<config>[\w.-]+))?$")
_DIR = re.compile(r"^dir:(?P<path>[^#]+)$")
_WINDOWS = re.compile(r"^(dir:)?([A-Za-z]:|.*\\)")
"""Drive letters and backslashes."""
_PYPI = re.compile(
    r"^pypi:(?P<name>[\w.-]+)==(?P<version>[\w.!+]+)/(?P<path>[^#]+)#sha256=(?P<sha256>[0-9a-f]{64})$"
)


@dataclass(frozen=True, slots=True)
class SourceRef:
    """A parsed source. `path` is inside the archive for `pypi`, on disk for `dir`."""

    scheme: Literal["hf", "dir", "pypi"]
    name: str = ""
    config: str | None = None
    version: str = ""
    path: str = ""
    sha256: str = ""


def parse_source(text: str) -> SourceRef:
    """The parts of a source string. Raises ValueError naming the accepted forms."""
    if match := _HF.match(text):
        return SourceRef("hf", name=match["name"], config=match["config"])
    if _WINDOWS.match(text):
        raise ValueError(
            f"{text!r} is a path of Windows; write it with `/`; under WSL, C: is /mnt/c"
        )
    if match := _DIR.match(text):
        return SourceRef("dir", path=match["path"])
    if match := _PYPI.match(text):
        if ".." in match["path"].split("/"):
            raise ValueError(f"the path inside {text!r} leaves the archive")
        return SourceRef(
            "pypi", match["name"], None, match["version"], match["path"], match["sha256"]
        )
    if re.fullmatch(r"[\w./~-]+", text):
        raise ValueError(
            f"{text!r} is not a source; write `dir:{text}` for a place on this machine, or "
            f"`hf:{text}` for the hub"
        )
    raise ValueError(f"{text!r} is not a source; the forms are: " + ", ".join(FORMS))


def _check(text: str) -> str:
    parse_source(text)
    return text


Source = Annotated[str, AfterValidator(_check)]
