"""Diagnoses from the nodes' reports and from rows at hand, each with advice."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tamt_ray.execution.cluster.checkup import NodeReport
from tamt_ray.execution.gang.allreduce import Exchange
from tamt_ray.execution.rows import PreflightError, check_at_hand
from tamt_ray.spec.sweep import Sweep

_LEAST_FREE = 5e9
"""Bytes below which a disk fills up within the first hours: a model, its state and a few logs."""


@dataclass(frozen=True)
class Checked:
    """One thing looked at."""

    check: str
    where: str
    """A node, the driver, or the whole cluster."""
    passed: bool
    said: str
    advice: str = ""
    """The remedy."""


def fine(check: str, said: str, advice: str = "") -> Checked:
    """Return that the whole cluster passed."""
    return Checked(check, "cluster", True, said, advice)


def about_nodes(works: Mapping[str, bool], *, local: bool) -> Checked:
    """Check that each node has CPUs for units."""
    if local:
        return fine("nodes", "this machine only, no --address was given")
    said = f"{len(works)} node{'s' * (len(works) > 1)}: {', '.join(works)}"
    if any(works.values()):
        return fine("nodes", said)
    advice = "only what is up was looked at: look again when the first worker has come"
    return fine("nodes", f"{said}, and none that runs units", advice)


def silent(missing: Mapping[str, str], patience: float) -> list[Checked]:
    """Nodes that did not answer, and why."""
    return [
        Checked(
            "answer", name, False, why or f"no answer within {patience:g} s",
            "install the same tamt-ray on it" if "No module named" in why
            else "look at `ray status` and at /tmp/ray/session_latest/logs on it",
        )
        for name, why in missing.items()
    ]  # fmt: skip


def about_versions(versions: Mapping[str, Mapping[str, str]]) -> Checked:
    """Check that all nodes and the driver have the same versions."""
    names = list(dict.fromkeys(name for found in versions.values() for name in found))
    unlike = _differing({n: {w: found.get(n, "-") for w, found in versions.items()} for n in names})
    if not unlike:
        one = next(iter(versions.values()))
        return fine("versions", ", ".join(f"{name} {one[name]}" for name in names))
    advice = (
        "install the same versions on every node: a result must not depend on where it was computed"
    )
    return Checked("versions", "cluster", False, "; ".join(unlike), advice)


def about_store(uri: str, troubles: Mapping[str, str | None]) -> list[Checked]:
    """Check that each node can write, list, read and delete, and that all see the same files."""
    advice = "set `store:` to s3://… or to a file system that all nodes mount"
    if "://" in uri:
        advice = "give this node the same credentials as the others"
    failed = [
        Checked("store", name, False, f"{uri}: {trouble}", advice)
        for name, trouble in troubles.items()
        if trouble
    ]
    return failed or [fine("store", f"{uri} is written and read by all nodes")]


def about_sources(answers: Mapping[str, NodeReport]) -> list[Checked]:
    """Check that every node that reads sources can do so and finds the same content."""
    read = {name: one for name, one in answers.items() if one.sources or one.unreadable}
    by_fault: defaultdict[str, list[str]] = defaultdict(list)
    for name, one in read.items():
        for fault in one.unreadable.values():
            by_fault[fault].append(name)
    advice = "set TAMT_MIRROR to a place that every node can read, or put the files there"
    failed = [
        Checked("sources", ", ".join(places), False, fault, advice)
        for fault, places in by_fault.items()
    ]
    names = {name for one in read.values() for name in one.sources}
    unlike = _differing(
        {n: {w: one.sources[n] for w, one in read.items() if n in one.sources} for n in names}
    )
    if unlike:
        said = "not the same everywhere: " + "; ".join(unlike)
        advice = "copy the same files to every node, or name them by TAMT_MIRROR, s3:// or pypi:"
        failed.append(Checked("sources", "cluster", False, said, advice))
    return failed or [fine("sources", f"{len(names)} are the same everywhere")]


def about_rows(sweep: Sweep) -> Checked:
    """Look through columns, labels and texts of the driver's data sets at hand, as a run does.

    `sweep` has the settings that its rows decide.
    """
    try:
        others = check_at_hand(sweep)
    except PreflightError as error:
        return Checked(
            "rows", "driver", False, str(error),
            "correct the sweep file or the data; `tamt plan` names the line",
        )  # fmt: skip
    said = f"; not at hand, checked at the start: {', '.join(others)}" if others else ""
    return Checked("rows", "driver", True, f"those at hand fit their tasks{said}")


def about_disks(free: Mapping[str, Mapping[str, int]]) -> list[Checked]:
    """Check that caches and temporary directories have room."""
    advice = (
        "free some space, or set TAMT_CACHE (TMPDIR) to a larger disk; above 95 % Ray itself stops"
    )
    failed = [
        Checked("disk", name, False, f"{place} has {room / 1e9:.1f} GB free", advice)
        for name, places in free.items()
        for place, room in places.items()
        if room < _LEAST_FREE
    ]
    least = min(room for places in free.values() for room in places.values())
    return failed or [fine("disk", f"at least {least / 1e9:.0f} GB free in caches and /tmp")]


def about_devices(
    expected: Mapping[str, int], seen: Mapping[str, Sequence[str]], missing: Mapping[str, str]
) -> list[Checked]:
    """Check that Torch sees the GPUs that Ray assigns."""
    later = "look again when the sweep that has them is done"
    mend = (
        "look at `nvidia-smi` there, install a torch for its driver, or correct --num-gpus and "
        "`resources`"
    )
    failed = [
        Checked(
            "gpus", name, False, why or "its GPUs are all at work and were not looked at", later
        )
        for name, why in missing.items()
    ]
    failed += [
        Checked(
            "gpus", name, False, f"Ray counts {expected[name]} GPUs, torch sees {len(found)}", mend
        )
        for name, found in seen.items()
        if len(found) != expected[name]
    ]
    kinds = Counter(name for found in seen.values() for name in found)
    said = ", ".join(f"{count} × {name}" for name, count in sorted(kinds.items()))
    mixed = "fine-tunes get the share that the smallest of them needs" if len(kinds) > 1 else ""
    return failed or [fine("gpus", said, mixed)]


def about_mps(troubles: Mapping[str, str | None]) -> list[Checked]:
    """Check that the nodes with GPUs offer the Multi-Process Service that the sweep asks for."""
    advice = (
        "start it there by `nvidia-cuda-mps-control -d` as the user that runs Ray, or set "
        "`execution.finetune.share: time`"
    )
    failed = [
        Checked("mps", name, False, trouble, advice)
        for name, trouble in troubles.items()
        if trouble
    ]
    return failed or [fine("mps", "its daemon answers on all nodes with GPUs")]


def about_exchange(found: Exchange | Exception, *, gpus: bool = False) -> Checked:
    """Report the speed of the gradient exchange, or the error that prevents it."""
    if isinstance(found, Exchange):
        over = f"{found.processes} processes on {found.nodes} node{'s' * (found.nodes > 1)}"
        gloo = "" if gpus or found.backend == "nccl" else " (gloo, since there are no GPUs)"
        said = f"{found.bytes >> 20} MiB in {1000 * found.seconds:.1f} ms"
        speed = f"{found.bandwidth / 1e9:.2f} GB/s{gloo}"
        return fine("all-reduce", f"{found.backend}, {over}: {said}, {speed}")
    if isinstance(found, TimeoutError):
        said = "no room for its processes, or they were not in time"
        advice = "look again when nothing else runs; nodes must reach each other on all ports"
        return Checked("all-reduce", "cluster", False, said, advice)
    names = "NCCL_SOCKET_IFNAME" if gpus else "GLOO_SOCKET_IFNAME"
    advice = (
        "open all ports among the nodes; a host name that means 127.0.0.1 or the wrong network "
        f"card is mended by {names}; searches with `workers: 1` work without"
    )
    return Checked("all-reduce", "cluster", False, str(found), advice)


def _differing(values: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return one line per value that differs between nodes, the most common value first."""
    lines: list[str] = []
    for name, by_place in sorted(values.items()):
        counts = Counter(by_place.values()).most_common()
        if len(counts) > 1:
            places = [
                f"{value} on {', '.join(w for w, v in by_place.items() if v == value)}"
                for value, _ in counts
            ]
            lines.append(f"{name} is {' but '.join(places)}")
    return lines
