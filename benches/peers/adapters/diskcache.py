"""diskcache through `asyncio.to_thread`: SQLite, and files for large values."""

from __future__ import annotations

from pathlib import Path

from ..model import peer
from .stores import Store, threaded


def files(folder: Path, in_order: bool = False) -> Store:
    """As it comes; its plain iterator lists keys as they were put."""
    cache = peer("diskcache").Cache(str(folder), size_limit=2**40)
    return threaded(
        cache.set,
        cache.__getitem__,
        keys=lambda: len(list(cache.iterkeys() if in_order else cache)),
        count=cache.__len__,
        close=cache.close,
    )


def in_order(folder: Path) -> Store:
    """The same; keys come sorted, by its `iterkeys`."""
    return files(folder, in_order=True)


STORES = {"diskcache": files, "diskcache, sorted": in_order}
