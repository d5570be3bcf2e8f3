"""Optuna's journal as files of a store: for stores that a database file cannot lie in."""

import json
from collections.abc import Iterable
from typing import Any

from optuna.storages.journal import BaseJournalBackend

from tamt_ray.store.store import Store


class StoreJournal(BaseJournalBackend):
    """One file for what is told at a time, numbered by the operations before it.

    It is read once: whoever writes holds the sweep's lease, so that nobody else does. The store's
    fence refuses what a driver tells that has lost its lease.
    """

    def __init__(self, store: Store, folder: str) -> None:
        """Raises StoreError where the store cannot be read."""
        self._store, self._folder = store, folder
        self._logs = [log for logs in store.folder(folder).values() for log in json.loads(logs)]

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        """The operations from that number on."""
        return self._logs[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Keep further operations. Raises UnwritableError or LeaseLostError, and then has not."""
        name = f"{self._folder}/{len(self._logs):08}.json"
        self._store.write(name, json.dumps(logs).encode())
        self._logs += json.loads(json.dumps(logs))
