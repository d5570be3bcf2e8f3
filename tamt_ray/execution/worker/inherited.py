"""Settings that workers take over from the driver, beside the environment that Ray gives them."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ray

_CREDENTIALS = ("HF_TOKEN",)


@dataclass(frozen=True)
class Inherited:
    """Credentials and the umask, handed to workers as an argument, by reference.

    Credentials have no place in a runtime_env, which Ray writes into its logs, nor in the config of
    a trial, which Tune writes into the store. Nodes start under a umask that keeps Ray's files
    private, and results are to be as readable as the driver's own files.
    """

    reference: Any
    """Ray's reference to the credentials, by name of their variable."""
    umask: int

    @staticmethod
    def of_this_process() -> "Inherited":
        """Settings of the calling process."""
        found = {name: os.environ[name] for name in _CREDENTIALS if name in os.environ}
        # The umask can only be read by setting it.
        umask = os.umask(0o077)
        os.umask(umask)
        return Inherited(ray.put(found), umask)

    def take(self) -> None:
        """Apply them to the calling worker."""
        found: Mapping[str, str] = ray.get(self.reference)
        os.environ.update(found)
        os.umask(self.umask)
