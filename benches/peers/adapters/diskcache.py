"""diskcache through `asyncio.to_thread`: SQLite, and files for large values."""

from __future__ import annotations

from pathlib import Path

from ..model import peer
from .stores import Store, threaded


def files(folder: Path) -> Store:
    """As it comes."""
    cache = peer("diskcache").Cache(str(folder), size_limit=2**40)
    return threaded(
        cache.set,
        cache.__getitem__,
        keys=lambda: len(list(cache)),
        count=cache.__len__,
        close=cache.close,
    )


STORES = {"diskcache": files}
