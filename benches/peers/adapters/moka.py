"""moka-py, the Rust crate moka."""

from __future__ import annotations

from typing import Any

from ..model import peer
from .table import Table, seconds


def tiny_lfu(capacity: int, ttl: float) -> Table:
    """Its default policy. It may hold more than its capacity for a while."""
    cache = peer("moka_py").Moka(capacity, ttl=ttl)
    return Table(cache.get, cache.set, seconds, length=cache.count)


def lru(capacity: int, ttl: float) -> Table:
    """The least recently used goes."""
    cache = peer("moka_py").Moka(capacity, ttl=ttl, policy="lru")
    return Table(cache.get, cache.set, seconds, length=cache.count)


def decorator(capacity: int, ttl: float) -> Table:
    """`@cached` on an `async def`: it has no set, so a call fills it."""

    async def value(key: Any) -> Any:
        return key

    called = peer("moka_py").cached(maxsize=capacity, ttl=ttl)(value)

    async def fill(key: Any, _: Any) -> None:
        await called(key)

    return Table(called, fill)


MEMORY = {"moka-py": tiny_lfu, "moka-py lru": lru, "moka-py @cached": decorator}
