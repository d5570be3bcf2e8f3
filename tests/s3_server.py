"""An S3 server on loopback that fails every tenth request."""

import logging
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

Start = Callable[..., Any]


@dataclass
class Failing:
    """A web application that answers every `every`-th request with an error instead."""

    inner: Callable[[dict[str, Any], Start], Iterable[bytes]]
    every: int = 10
    kinds: tuple[str, ...] = ("500", "503", "reset", "cut")
    requests: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        with self.lock:
            words = [environ["REQUEST_METHOD"], environ["PATH_INFO"], environ["QUERY_STRING"]]
            self.requests.append(" ".join(words))
            fails = len(self.requests) % self.every == 0
            if fails:
                kind = self.kinds[len(self.failed) % len(self.kinds)]
                self.failed.append(kind)
        if not fails:
            return self.inner(environ, start)
        if kind in {"500", "503"}:
            start(f"{kind} Slow Down", [("Content-Length", "0")])
            return [b""]
        # What was asked for is done, but the answer is lost, or its second half.
        body = b"".join(self.inner(environ, start))
        if kind == "cut" and len(body) > 1:
            return [body[: len(body) // 2]]
        environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        raise ConnectionResetError


@dataclass(frozen=True)
class S3:
    """Where the server is and what it was asked."""

    uri: str
    web: Failing


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    """A bucket of its own, empty."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    for name, value in {
        "AWS_ACCESS_KEY_ID": "of-the-test", "AWS_SECRET_ACCESS_KEY": "of-the-test",
        "AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    web = Failing(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, web, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    make_bucket(server.server_port)
    yield S3(
        f"s3://bucket/some/where?scheme=http&endpoint_override=127.0.0.1:{server.server_port}", web
    )
    server.shutdown()
    thread.join()
    server.server_close()


def make_bucket(port: int) -> None:
    from pyarrow import fs

    filesystem = fs.S3FileSystem(
        scheme="http", endpoint_override=f"127.0.0.1:{port}", allow_bucket_creation=True,
        allow_bucket_deletion=True,
    )  # fmt: skip
    filesystem.create_dir("bucket")
    filesystem.delete_dir_contents("bucket")
