"""`tamt doctor`: a cluster looked at before a sweep is run on it."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.text import Text

from tamt_ray.cli.speech import fail, lasting_out, talk
from tamt_ray.cli.sweep_context import settle, words_of
from tamt_ray.spec.load import load_sweep
from tamt_ray.spec.sweep import Sweep
from tamt_ray.store.store import Store
from tamt_ray.store.trouble import StoreError


def print_examination(
    file: Path | None, overrides: Sequence[str], address: str | None, as_json: bool
) -> int:
    """Print what is found, as it is found; returns the exit code. Raises SpecError."""
    sweep = as_planned(load_sweep(file, overrides)) if file else None
    if address is None:
        from tamt_ray.execution.cluster.address import listen_on_loopback

        listen_on_loopback()
    from tamt_ray.execution.cluster.connection import ClusterError
    from tamt_ray.execution.cluster.diagnosis import Checked
    from tamt_ray.execution.cluster.doctor import examine

    out = lasting_out()

    def show(finding: Checked) -> None:
        if as_json:
            return
        mark, style = ("ok    ", "green") if finding.passed else ("FAILED", "red")
        place = "" if finding.where == "cluster" else f"{finding.where}: "
        out.print(Text(f"{mark} {finding.check:<10} {place}{finding.said}", style))
        if finding.advice:
            out.print(Text(f"       {finding.advice}", "yellow"))

    try:
        findings = examine(address, sweep, show)
    except ClusterError as error:
        fail(3, str(error))
    failed = sum(not finding.passed for finding in findings)
    if as_json:
        body = {"fine": not failed, "findings": [asdict(finding) for finding in findings]}
        sys.stdout.write(json.dumps(body) + "\n")
    elif failed:
        talk.print(f"{failed} of {len(findings)} checks failed", style="red")
    else:
        words = words_of(file, overrides) if file else "SWEEP.yaml"
        where = f" --address {address}" if address else ""
        talk.print(f"what it costs: tamt plan {words}", soft_wrap=True)
        talk.print(f"run it: python -m tamt_ray.sweep {words}{where}", soft_wrap=True)
    return 1 if failed else 0


def as_planned(sweep: Sweep) -> Sweep:
    """Return the sweep with the settings that its store or rows at hand decide."""
    try:
        return settle(sweep, Store(sweep.store))
    except (StoreError, OSError):
        # The examination of the store says what is wrong with it.
        from tamt_ray.execution.rows import settled

        return settled(sweep, {})
