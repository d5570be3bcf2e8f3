"""Processes below another one, as Linux tells of them."""

from pathlib import Path


def descendants(root: int) -> list[int]:
    """Ids of the processes that descend from one, parents first; none where there is no `/proc`."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name in brackets may hold anything; what follows it has a fixed form.
            parent = int(stat.read_bytes().rpartition(b")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        children.setdefault(parent, []).append(int(stat.parent.name))
    found = [*children.get(root, ())]
    for pid in found:
        found.extend(children.get(pid, ()))
    return found
