"""Run beside a Ray head: what listens, and what a stranger without the token gets to hear.

Prints one JSON object. Only the standard library and gRPC, as a stranger would.
"""

import http.client
import json
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import grpc

METHODS = (
    "/ray.rpc.NodeInfoGcsService/GetAllNodeInfo",
    "/ray.rpc.NodeManagerService/GetNodeStats",
    "/ray.rpc.ObjectManagerService/Pull",
    "/ray.rpc.CoreWorkerService/GetCoreWorkerStats",
    "/ray.rpc.ReporterService/ReportOCMetrics",
    "/ray.rpc.events.EventAggregatorService/AddEvents",
    "/ray.rpc.LogService/ListLogs",
    "/ray.rpc.RayletDriver/ClusterInfo",
)
"""One of each kind of server in Ray; the request is empty, which all of them can read."""


def listening() -> list[tuple[str, int, str]]:
    """Addresses, ports and the programs behind them."""
    lines = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True, check=True).stdout
    places: list[tuple[str, int, str]] = []
    for line in lines.splitlines():
        *_, place, _, users = line.split(maxsplit=5)
        host, _, port = place.rpartition(":")
        process = re.search(r"pid=(\d+)", users)
        program = Path(f"/proc/{process[1]}/cmdline").read_bytes() if process else b""
        words = program.decode().split("\0")
        named = next((w for w in words if w.endswith(".py") or w.startswith("ray")), words[0])
        places.append((host, int(port), Path(named).name))
    return sorted(places)


def heard_from(host: str, port: int) -> str:
    """What a server tells a stranger: `token`, `metrics`, or its own words."""
    door = http.client.HTTPConnection(host, port, timeout=20)
    try:
        door.request("GET", "/")
        answer = door.getresponse()
        body = answer.read(4000)
    except (http.client.HTTPException, OSError):
        return heard_by_grpc(host, port)
    finally:
        door.close()
    if answer.status in {401, 403}:
        return "token"
    if answer.status == 200 and b"# HELP" in body:
        return "metrics"
    return f"HTTP {answer.status}"


def heard_by_grpc(host: str, port: int) -> str:
    said = "no words"
    with grpc.insecure_channel(f"{host}:{port}") as channel:
        for method in METHODS:
            call = channel.unary_unary(method)
            try:
                call(b"", timeout=20)
                return f"{method} answers"
            except grpc.RpcError as error:
                if error.code() is grpc.StatusCode.UNAUTHENTICATED:
                    return "token"
                if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
                    said = f"{method}: {error.code()}: {error.details()}"
    return said


def submit(mark: Path, token: str | None) -> int:
    """The status of a job submission that, if it is run, leaves a mark."""
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    body = json.dumps({"entrypoint": f"touch {mark}"}).encode()
    asked = urllib.request.Request("http://127.0.0.1:8265/api/jobs/", body, headers)
    try:
        with urllib.request.urlopen(asked, timeout=120) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def main(host: str, token_file: Path, folder: Path) -> None:
    token = token_file.read_text().strip()
    jobs = {"stranger": submit(folder / "stranger", None), "wrong": submit(folder / "x", "0" * 64)}
    jobs["owner"] = submit(folder / "owner", token)
    until = time.monotonic() + 240
    while not (folder / "owner").exists() and time.monotonic() < until:
        time.sleep(0.5)
    ran = sorted(path.name for path in folder.iterdir())
    places = listening()
    exposed = {p: heard_from(host, p) for h, p, _ in places if not h.startswith(("127.", "[::1]"))}
    print(json.dumps({"places": places, "exposed": exposed, "jobs": jobs, "ran": ran}))  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
