"""holdall itself, with and without `await`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import holdall
import holdall.sync

from .stores import Store
from .table import Table, seconds


def awaited(capacity: int, ttl: float) -> Table:
    """`CacheManager`."""
    cache = holdall.CacheManager(max_size=capacity, default_ttl=ttl)
    # The first use reads the settings and puts the fast methods into place: before that, the
    # methods that are taken here would be the slow ones for ever.
    len(cache)
    return Table(
        cache.get,
        cache.set,
        seconds,
        cache.get_many,
        cache.set_many,
        length=cache.__len__,
    )


def plain(capacity: int, ttl: float) -> Table:
    """`holdall.sync.CacheManager`."""
    cache = holdall.sync.CacheManager(max_size=capacity, default_ttl=ttl)
    len(cache)
    return Table(
        cache.get,
        cache.set,
        seconds,
        cache.get_many,
        cache.set_many,
        length=cache.__len__,
    )


def both(capacity: int, ttl: float) -> Table:
    """`StorageManager` over a store in a folder of its own, filled by `cache_set`."""
    import tempfile

    folder = tempfile.TemporaryDirectory()
    storage = holdall.StorageManager(folder.name, max_size=capacity, default_ttl=ttl)
    asyncio.run(storage.cache_set("first", None))
    return Table(storage.get, storage.set, close=folder.cleanup)


def files(folder: Path, **options: Any) -> Store:
    """`BlobManager`."""
    blobs = holdall.BlobManager(folder, **options)

    async def save_model(key: str, value: Any) -> None:
        await blobs.save(key, value)

    async def load_model(key: str, model: type[Any]) -> Any:
        return await blobs.load(key, model_class=model)

    async def put(key: str, data: bytes) -> None:
        await blobs.save(key, data)

    async def keys() -> int:
        return len([key async for key in blobs.keys()])  # noqa: SIM118

    async def count() -> int:
        return int((await blobs.get_stats())["entries"])

    return Store(
        put=put,
        get=blobs.load,
        own_save=save_model,
        own_load=load_model,
        keys=keys,
        count=count,
        close=blobs.close,
    )


def durable(folder: Path) -> Store:
    """With `durability="disk"`."""
    return files(folder, durability="disk")


def inline(folder: Path) -> Store:
    """With small values in a database instead of in files."""
    return files(folder, inline_below=4_096)


def fill(folder: Path, count: int) -> None:
    """Puts `count` small values into a new store, and closes it."""

    async def work() -> None:
        async with holdall.BlobManager(folder) as blobs:
            for first in range(0, count, 2_000):
                numbers = range(first, min(first + 2_000, count))
                await blobs.save_many({f"{n // 1000}/key{n}": {"number": n} for n in numbers})

    asyncio.run(work())


MEMORY = {
    "holdall": awaited,
    "holdall.sync": plain,
    "holdall StorageManager": both,
}
STORES = {"holdall": files, "holdall durable": durable, "holdall inline": inline}
