"""cashews in memory: as it is documented, and its backend alone."""

from __future__ import annotations

from typing import Any

from ..model import peer
from .table import Table, seconds


def documented(capacity: int, ttl: float) -> Table:
    """`cache.setup("mem://")`; a sweep over everything runs each second."""
    cache = peer("cashews").Cache()
    cache.setup("mem://", size=capacity)

    def get_many(keys: list[Any]) -> Any:
        return cache.get_many(*keys)

    return Table(cache.get, cache.set, seconds, get_many, cache.set_many, start=cache.init)


def backend(capacity: int, ttl: float) -> Table:
    """What lies below, without keys' prefixes, middleware and statistics."""
    cache = peer("cashews.backends.memory").Memory(size=capacity)

    def get_many(keys: list[Any]) -> Any:
        return cache.get_many(*keys)

    return Table(cache.get, cache.set, seconds, get_many, cache.set_many, start=cache.init)


MEMORY = {"cashews": documented, "cashews backend": backend}
