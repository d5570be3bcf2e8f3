"""Optuna's journal as files of a store: for stores that a database file cannot lie in."""

import json
from collections.abc import Iterable
from typing import Any

from optuna.storages.journal import BaseJournalBackend

from tamt_ray.store.store import Store
from tamt_ray.store.trouble import StoreError


class StoreJournal(BaseJournalBackend):
    """One file for what is told at a time, numbered by the operations before it.

    It is read once: whoever writes holds the sweep's lease, so that nobody else does. The store's
    fence refuses what a driver tells that has lost its lease.
    """

    def __init__(self, store: Store, folder: str) -> None:
        """Raises StoreError where the store or a file of the journal cannot be read."""
        self._store, self._folder = store, folder
        self._logs: list[dict[str, Any]] = []
        for name, text in store.folder(folder).items():
            try:
                self._logs += json.loads(text)
            except ValueError as error:
                raise StoreError(
                    f"{store.uri}/{folder}/{name} is not what was written; move the folder away to "
                    "begin the tuning anew"
                ) from error

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        """The operations from that number on."""
        return self._logs[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Keep further operations. Raises UnwritableError or LeaseLostError, and then has not."""
        name = f"{self._folder}/{len(self._logs):08}.json"
        text = json.dumps(logs)
        self._store.write(name, text.encode())
        self._logs += json.loads(text)
