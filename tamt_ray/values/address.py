"""Credentials in server addresses: sweep files are shared, and addresses are printed and logged.

A password may hold any character, also those at which a URL parser ends the host's part. Hence
everything before the last `@` is suspect.
"""

import re
from urllib.parse import unquote

_DATABASES = {"postgresql", "mysql", "mssql"}
_NAMES = r"(?:ssl)?password|passwd|pwd|access_key|secret_key|session_token"
_OPTION = re.compile(rf"(?i)(?<![a-z])({_NAMES})=[^&;\s'\"]+")


def instead_of_secret(uri: str) -> str | None:
    """Return advice in place of the credentials in an address; None if it holds none.

    The user of a database is no secret by itself: PostgreSQL knows users without a password. An `@`
    of a server's path is written `%40`.
    """
    scheme, *rest = uri.split("://")
    kinds = [re.split(r"\W", before)[-1].lower() for before in (scheme.partition("+")[0], *rest)]
    inner = ["://".join(rest[n:]) for n in range(len(rest))]
    found = (_has_credentials(kind, after) for kind, after in zip(kinds, inner, strict=False))
    if not any(found) and not _OPTION.search(unquote(uri.partition("?")[2])):
        return None
    match kinds[0]:
        case "http" | "https":
            return (
                "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
                "MLFLOW_TRACKING_TOKEN"
            )
        case "s3":
            return "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the machine a role"
        case "postgresql":
            return "set PGPASSWORD, or write ~/.pgpass"
        case _:
            return "give it by an MLflow server, `mlflow: http://…`, that knows them"


def masked(text: str) -> str:
    """Return a text with `***` for the credentials in its addresses."""
    # A path behind `sqlite://` begins with a slash.
    hosts = re.sub(r"(?:(?<=https://)|(?<=http://)|(?<=://)(?!/))\S*@", "***@", text)
    return _OPTION.sub(r"\1=***", hosts)


def _has_credentials(kind: str, rest: str) -> bool:
    """Return whether an address holds credentials; `rest`: what follows its `://`."""
    before = rest.rpartition("@")[0]
    server = kind in {"http", "https"}
    if not before or (rest.startswith("/") and not server):
        return False
    user, colon, _ = before.partition(":")
    if colon and not re.search(r"[/?#]", user):
        return True
    if server or (colon and kind in _DATABASES):
        return True
    return kind not in _DATABASES and "@" in re.split(r"[/?#]", rest)[0]
