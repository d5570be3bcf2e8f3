"""Ray's token, which lets its bearer run code on every Ray of this user."""

import contextlib
import os
import tempfile
from pathlib import Path

from ray._private.authentication.authentication_token_generator import (
    generate_new_authentication_token,
)
from ray._raylet import AuthenticationTokenLoader  # pyright: ignore[reportAttributeAccessIssue]


def close_token() -> None:
    """Create the token of a local Ray where there is none, and let only its owner read it.

    Ray itself creates it readable by every user. Raises OSError.
    """
    token = Path.home() / ".ray" / "auth_token"
    loader = AuthenticationTokenLoader.instance()
    if os.environ.get("RAY_AUTH_MODE", "token") == "token" and not loader.has_token(
        ignore_auth_mode=True
    ):
        token.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(token, generate_new_authentication_token())
        loader.reset_cache()
    if token.exists():
        token.parent.chmod(0o700)
        token.chmod(0o600)


def _write(token: Path, content: str) -> None:
    """Write the file atomically; the file of a faster process stays."""
    descriptor, name = tempfile.mkstemp(dir=token.parent)
    with open(descriptor, "w") as stream:
        stream.write(content)
    with contextlib.suppress(FileExistsError):
        os.link(name, token)
    Path(name).unlink()
