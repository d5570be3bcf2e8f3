"""Credentials have no place in a sweep file, nor in what is said about them."""

import pytest

from tamt_ray.spec.load import SpecError, parse_sweep
from tamt_ray.store.store import Store
from tamt_ray.store.trouble import StoreError
from tamt_ray.values.address import instead_of_secret, masked

SWEEP = """\
name: small
{key}: "{uri}"
models: {{mini: {{source: "dir:m"}}}}
corpus: {{train: {{source: "dir:a.txt"}}, validation: {{source: "dir:b.txt"}}}}
methods: [omp]
sparsities: [0.5]
"""


@pytest.mark.parametrize(
    ("key", "uri", "instead"),
    [
        ("mlflow", "https://me:hush@host/", "MLFLOW_TRACKING_PASSWORD"),
        ("mlflow", "https://hush@host:5000", "MLFLOW_TRACKING_TOKEN"),
        ("mlflow", "postgresql://me:hush@host/runs", "PGPASSWORD"),
        ("mlflow", "postgresql+psycopg2://host/runs?user=me&password=hush", "PGPASSWORD"),
        ("mlflow", "mysql://me:hush@host/runs", "mlflow: http://"),
        ("store", "s3://me:hush@bucket/results", "AWS_SECRET_ACCESS_KEY"),
        ("store", "s3://bucket/a?endpoint_override=http://me:hush@host", "AWS_SECRET_ACCESS_KEY"),
        ("mlflow", "mssql+pyodbc:///?odbc_connect=UID%3Dme%3BPWD%3Dhush", "mlflow: http://"),
        ("store", "s3://bucket/results?access_key=me&secret_key=hush", "AWS_SECRET_ACCESS_KEY"),
    ],
)
def test_credentials_are_refused_and_not_repeated(key: str, uri: str, instead: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_sweep(SWEEP.format(key=key, uri=uri), "a.yaml")
    said = str(caught.value)
    assert said.startswith(f"a.yaml:2: `{key}`: it holds credentials")
    assert instead in said
    assert "hush" not in said


@pytest.mark.parametrize("password", ["hu/sh", "hush?", "#hush", "hu[sh", "h:u@sh", "hush%2F", "/"])
@pytest.mark.parametrize(
    "uri",
    [
        "postgresql://me:{}@host/db", "postgresql+psycopg://me:{}@host:5432/db", "mysql://me:{}@h/d",
        "s3://AKIA:{}@bucket/x", "https://me:{}@host", "https://{}@host", "gs://me:{}@bucket/x",
    ],
)  # fmt: skip
def test_a_password_holds_any_character(uri: str, password: str) -> None:
    """Also those that end the host's part for a parser of URLs."""
    given = uri.format(password)
    assert instead_of_secret(given)
    shown = masked(f"no answer: {given} (twice)")
    scheme, _, rest = uri.partition("://")
    assert shown == f"no answer: {scheme}://***@{rest.partition('@')[2]} (twice)"
    with pytest.raises(StoreError, match=r"the store \S+://\*\*\*@\w") as caught:
        Store(given)
    assert password == "/" or password not in str(caught.value)
    with pytest.raises(SpecError, match="it holds credentials") as refused:
        parse_sweep(SWEEP.format(key="mlflow", uri=given), "a.yaml")
    assert "hu" not in str(refused.value)


@pytest.mark.parametrize(
    "uri",
    [
        "results", "/data/results", "~/a@b", "s3://bucket/results", "gs://bucket/x",
        "s3://bucket/a?scheme=http&endpoint_override=127.0.0.1:9000", "http://127.0.0.1:5000",
        "sqlite:///mlflow.db", "sqlite:////data/a@b:c/mlflow.db", "postgresql://me@/runs?host=/run",
        "s3://bucket/me@lab/a:b@c", "https://host/a%40b", "postgresql://host/runs?application_name=a@b",
    ],
)  # fmt: skip
def test_an_address_without_credentials_is_fine(uri: str) -> None:
    assert instead_of_secret(uri) is None
    assert parse_sweep(SWEEP.format(key="mlflow", uri=uri)).mlflow == uri
