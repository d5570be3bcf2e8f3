"""Training states of running searches: `states/<trajectory>/<step>-<sha256>.safetensors`."""

import hashlib
import re

from tamt_ray.store.files import Files

_NAME = re.compile(r"(\d{10})-([0-9a-f]{64})\.safetensors")
_SPARE = 1
"""States kept beside the newest, for the case that it turns out damaged."""


class States:
    """The states of one trajectory. Each file's name vouches for its content.

    Nothing but time is lost when they are deleted.
    """

    def __init__(self, files: Files, trajectory: str) -> None:
        self._files = files
        self._folder = f"states/{trajectory}"

    def newest(self, last: int) -> str | None:
        """Return the name of the newest sound state of at most `last` steps. Damaged ones are
        removed."""
        for name, step in reversed(self._steps()):
            if step > last:
                continue
            if self._sound(name):
                return name
            self._files.remove(f"{self._folder}/{name}")
        return None

    def read(self, name: str) -> bytes:
        """Return a state that `newest` named. Raises FileNotFoundError."""
        return self._files.read(f"{self._folder}/{name}")

    def keep(self, step: int, data: bytes) -> None:
        """Write a state, then remove those that it makes superfluous."""
        digest = hashlib.sha256(data).hexdigest()
        self._files.write(f"{self._folder}/{step:010d}-{digest}.safetensors", data)
        earlier = [name for name, other in self._steps() if other < step]
        for name in earlier[: len(earlier) - _SPARE]:
            self._files.remove(f"{self._folder}/{name}")

    def clear(self) -> None:
        """Remove all states."""
        for name, _ in self._steps():
            self._files.remove(f"{self._folder}/{name}")

    def _steps(self) -> list[tuple[str, int]]:
        """Return the names with their steps, in the order of steps."""
        found = [(name, _NAME.fullmatch(name)) for name in self._files.names(self._folder)]
        return [(name, int(match[1])) for name, match in found if match]

    def _sound(self, name: str) -> bool:
        match = _NAME.fullmatch(name)
        return match is not None and hashlib.sha256(self.read(name)).hexdigest() == match[2]
