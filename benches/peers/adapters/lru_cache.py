"""functools.lru_cache: no TTL, no set; a call fills it."""

from __future__ import annotations

import functools
from typing import Any

from .table import Table


def decorator(capacity: int, ttl: float) -> Table:
    """Around the identity: its value is its key."""

    @functools.lru_cache(capacity)
    def value(key: Any) -> Any:
        return key

    def fill(key: Any, _: Any) -> None:
        value(key)

    return Table(value, fill, length=lambda: value.cache_info().currsize)


MEMORY = {"functools.lru_cache": decorator}
