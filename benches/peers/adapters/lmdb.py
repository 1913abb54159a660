"""lmdb through `asyncio.to_thread`; not plain files."""

from __future__ import annotations

from pathlib import Path

from ..model import peer
from .stores import Store, threaded


def _made(folder: Path, sync: bool) -> Store:
    env = peer("lmdb").open(str(folder), map_size=2**34, sync=sync, writemap=False)

    def put(key: str, data: bytes) -> None:
        with env.begin(write=True) as work:
            work.put(key.encode(), data)

    def get(key: str) -> bytes:
        with env.begin() as work:
            found: bytes = work.get(key.encode())
            return found

    def keys() -> int:
        with env.begin() as work:
            return len([key.decode() for key in work.cursor().iternext(values=False)])

    def count() -> int:
        return int(env.stat()["entries"])

    return threaded(put, get, keys=keys, count=count, close=env.close)


def unsynced(folder: Path) -> Store:
    """Commits without a flush, as holdall's `durability="process"`."""
    return _made(folder, sync=False)


def synced(folder: Path) -> Store:
    """Its default: each commit is flushed."""
    return _made(folder, sync=True)


STORES = {"lmdb": unsynced, "lmdb, flushed": synced}
