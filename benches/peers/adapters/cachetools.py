"""cachetools. Its fastest calls are those of a dict; the lock that threads need is left out."""

from __future__ import annotations

import time
from typing import Any

from ..model import peer
from .table import Table


def lru(capacity: int, ttl: float) -> Table:
    """Without TTL."""
    cache = peer("cachetools").LRUCache(capacity)
    return Table(cache.get, cache.__setitem__, length=cache.__len__)


def one_ttl(capacity: int, ttl: float) -> Table:
    """One TTL for all."""
    cache = peer("cachetools").TTLCache(capacity, ttl)
    return Table(cache.__getitem__, cache.__setitem__, length=cache.__len__)


def own_ttl(capacity: int, ttl: float) -> Table:
    """A TTL for each entry: a function tells it from key and value; here it is the default one."""

    def until(key: Any, value: Any, now: float) -> float:
        return now + ttl

    cache = peer("cachetools").TLRUCache(capacity, until, timer=time.monotonic)
    return Table(cache.__getitem__, cache.__setitem__, length=cache.__len__)


MEMORY = {
    "cachetools LRUCache": lru,
    "cachetools TTLCache": one_ttl,
    "cachetools TLRUCache": own_ttl,
}
