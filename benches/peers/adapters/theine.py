"""theine: W-TinyLFU, a TTL for each entry, a thread that frees what expired."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from ..model import peer
from .table import Table


def cache(capacity: int, ttl: float) -> Table:
    """Its `get` returns the value and whether it was there."""
    made = peer("theine").Cache(capacity)
    return Table(
        made.get,
        made.set,
        lambda count: timedelta(seconds=count),
        miss=lambda got: not got[1],
        close=made.close,
        length=made.__len__,
    )


def decorator(capacity: int, ttl: float) -> Table:
    """`@Memoize` on an `async def`: it has no set, so a call fills it."""

    async def value(key: Any) -> Any:
        return key

    called = peer("theine").Memoize(capacity, timedelta(seconds=ttl))(value)
    called.key(str)

    async def fill(key: Any, _: Any) -> None:
        await called(key)

    return Table(called, fill)


MEMORY = {"theine": cache, "theine @Memoize": decorator}
