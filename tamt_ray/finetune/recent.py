"""A bounded memory of features."""

from collections import OrderedDict
from collections.abc import Callable, Hashable

from tamt_ray.tasks.features.examples import Examples


class Recent:
    """An LRU cache limited in bytes; the newest entry stays, whatever its size."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: OrderedDict[Hashable, Examples] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Examples]) -> Examples:
        """Return the entry of `key`, computed by `make` if it is not there."""
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        made = self._kept[key] = make()
        while (
            len(self._kept) > 1 and sum(kept.nbytes for kept in self._kept.values()) > self._limit
        ):
            self._kept.popitem(last=False)
        return made
