"""aiocache in memory. It has no limit of size, and a timer of the loop for each entry."""

from __future__ import annotations

from typing import Any

from ..model import peer
from .table import Table, seconds


def default(capacity: int, ttl: float) -> Table:
    """As it comes: each call is a task under a time limit of 5 seconds."""
    return _made(ttl, {})


def untimed(capacity: int, ttl: float) -> Table:
    """Without that time limit, which is its fastest form."""
    return _made(ttl, {"timeout": 0})


def _made(ttl: float, options: dict[str, int]) -> Table:
    cache = peer("aiocache").SimpleMemoryCache(ttl=ttl, **options)

    def set_many(items: dict[Any, Any]) -> Any:
        return cache.multi_set([*items.items()])

    return Table(cache.get, cache.set, seconds, cache.multi_get, set_many)


MEMORY = {"aiocache": default, "aiocache timeout=0": untimed}
