"""Ray's token: whoever has it runs code on every Ray of this user."""

import contextlib
import os
import tempfile
from pathlib import Path

from ray._private.authentication.authentication_token_generator import (
    generate_new_authentication_token,
)
from ray._raylet import AuthenticationTokenLoader  # pyright: ignore[reportAttributeAccessIssue]


def close_token() -> None:
    """Make the token that a local Ray asks for, where there is none yet, and have only its owner
    read it. Ray itself would make a file that everybody can read. Raises OSError."""
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
    """Whole or not at all; that of another process that was quicker stays."""
    descriptor, name = tempfile.mkstemp(dir=token.parent)
    with open(descriptor, "w") as stream:
        stream.write(content)
    with contextlib.suppress(FileExistsError):
        os.link(name, token)
    Path(name).unlink()
