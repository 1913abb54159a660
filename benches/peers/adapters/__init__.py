"""One file for each peer: how to open it, and its own calls under common names.

A memory peer hands out its own bound methods, never a wrapper, so that nothing is timed but its
own work. `MEMORY` and `STORES` list all of them; a peer that is not installed raises `Absent` when
it is opened, and the report says so.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from .stores import Store
from .table import Table

MemoryOpener = Callable[[int, float], Table]
"""Opens a cache for so many entries, whose default TTL is so many seconds."""
StoreOpener = Callable[[Path], Store]
"""Opens a store in an empty folder."""


def memory() -> dict[str, MemoryOpener]:
    """The caches by name."""
    from . import aiocache, cachebox, cachetools, cashews, floor, holdall, lru_cache, moka, theine

    modules = (holdall, cachetools, cachebox, theine, moka, aiocache, cashews, lru_cache, floor)
    return {name: opener for module in modules for name, opener in module.MEMORY.items()}


def stores() -> dict[str, StoreOpener]:
    """The stores of small values by name."""
    from . import (
        diskcache,
        floor,
        holdall,
        joblib,
        lmdb,
        obstore,
        pathlib,
        rocksdict,
        specification,
        sqlitedict,
    )

    modules = (holdall, specification, pathlib, diskcache, sqlitedict, lmdb, rocksdict, obstore)
    every = (*modules, joblib, floor)
    return {name: opener for module in every for name, opener in module.STORES.items()}


@contextmanager
def opened(name: str, capacity: int, ttl: float) -> Generator[Table, None, None]:
    """A cache, closed at the end."""
    table = memory()[name](capacity, ttl)
    try:
        yield table
    finally:
        table.close()
