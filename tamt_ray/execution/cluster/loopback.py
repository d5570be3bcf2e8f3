"""Keeping a local Ray off the network."""

import os


def listen_on_loopback() -> None:
    """Make a Ray started by this process use 127.0.0.1 and nothing else.

    Ray has this as a default on some systems only, behind a variable that it reads when it is
    imported: call this before.
    """
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"


def visit_loopback() -> None:
    """Make this process able to join the local Ray of another process: it listens on loopback and
    asks for its user's token. Call this before Ray is imported.
    """
    listen_on_loopback()
    os.environ.setdefault("RAY_AUTH_MODE", "token")
