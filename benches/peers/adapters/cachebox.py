"""cachebox, a Rust extension."""

from __future__ import annotations

from typing import Any

from ..model import peer
from .table import Table, seconds


def lru(capacity: int, ttl: float) -> Table:
    """Without TTL."""
    cache = peer("cachebox").LRUCache(capacity)
    return Table(cache.get, cache.insert, set_many=cache.update, length=cache.__len__)


def fifo(capacity: int, ttl: float) -> Table:
    """Without TTL."""
    cache = peer("cachebox").FIFOCache(capacity)
    return Table(cache.get, cache.insert, set_many=cache.update, length=cache.__len__)


def one_ttl(capacity: int, ttl: float) -> Table:
    """One TTL for all."""
    cache = peer("cachebox").TTLCache(capacity, ttl)
    return Table(cache.get, cache.insert, set_many=cache.update, length=cache.__len__)


def own_ttl(capacity: int, ttl: float) -> Table:
    """A TTL for each entry."""
    cache = peer("cachebox").VTTLCache(capacity)
    return Table(cache.get, cache.insert, seconds, set_many=cache.update, length=cache.__len__)


def decorator(capacity: int, ttl: float) -> Table:
    """`@cached` on an `async def`: it has no set, so a call fills it."""
    module = peer("cachebox")

    async def value(key: Any) -> Any:
        return key

    called = module.cached(module.TTLCache(capacity, ttl))(value)

    async def fill(key: Any, _: Any) -> None:
        await called(key)

    return Table(called, fill)


MEMORY = {
    "cachebox LRUCache": lru,
    "cachebox FIFOCache": fifo,
    "cachebox TTLCache": one_ttl,
    "cachebox VTTLCache": own_ttl,
    "cachebox @cached": decorator,
}
