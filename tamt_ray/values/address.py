"""Credentials in server addresses: sweep files are shared, and addresses are printed and logged."""

from urllib.parse import parse_qsl, urlsplit


def instead_of_secret(uri: str) -> str | None:
    """Return advice in place of the credentials in an address; None if it holds none.

    The user of a database is no secret by itself: PostgreSQL knows users without a password.
    """
    try:
        parts = urlsplit(uri)
    except ValueError:
        return None
    user, _, password = parts.netloc.rpartition("@")[0].partition(":")
    secrets = {"password", "passwd", "access_key", "secret_key", "session_token"}
    if not password and not (secrets & dict(parse_qsl(parts.query)).keys()):
        kind = parts.scheme.partition("+")[0]
        if not user or kind in {"postgresql", "mysql", "mssql"}:
            return None
    if parts.scheme in {"http", "https"}:
        return "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
    if parts.scheme == "s3":
        return "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the machine a role"
    if parts.scheme.startswith("postgresql"):
        return "set PGPASSWORD, or write ~/.pgpass"
    return "give it by an MLflow server, `mlflow: http://…`, that knows them"
