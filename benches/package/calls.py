"""What single calls of the package take, by pyperf; `make bench` runs it.

pyperf takes each figure in several processes, warms up and looks at the spread. Awaited calls run
one after the other in one event loop; stores lie in a fresh folder of each process, which is
removed at its end. `--fast`, `--rigorous`, `-o FILE` and the rest are pyperf's own; two files are
compared by `python -m pyperf compare_to`.
"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pyperf
from pydantic import BaseModel

import holdall
import holdall.sync

BUILD = Path(__file__).parents[2] / ".build"
KEYS = [f"user:{number:08}" for number in range(1_000)]


class Recipe(BaseModel):
    """About 1 KB of JSON."""

    title: str
    servings: int
    steps: list[str]


def recipe(number: int) -> Recipe:
    """A value that differs by number."""
    steps = [f"step {step}: stir, and wait a while, then taste, {number}" for step in range(18)]
    return Recipe(title=f"Recipe {number}", servings=4, steps=steps)


Call = Callable[[int], Awaitable[Any]]


def in_loop(make: Callable[[Path], Awaitable[Call]]) -> Callable[[int], float]:
    """Times `loops` awaited calls; the loop, the folder and what `make` does are not counted."""

    async def work(loops: int, folder: Path) -> float:
        call = await make(folder)
        begin = time.perf_counter()
        for number in range(loops):
            await call(number)
        return time.perf_counter() - begin

    def timed(loops: int) -> float:
        BUILD.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=BUILD) as folder:
            return asyncio.run(work(loops, Path(folder)))

    return timed


async def cache_get(_: Path) -> Call:
    """A hit among 1,000 entries."""
    cache = holdall.CacheManager(max_size=2_000)
    await cache.set_many(dict.fromkeys(KEYS, 1))
    get, keys = cache.get, itertools.cycle(KEYS)
    return lambda _: get(next(keys))


async def cache_set(_: Path) -> Call:
    """A new key into a full cache, with a TTL of its own."""
    cache = holdall.CacheManager(max_size=1_000)
    await cache.set_many(dict.fromkeys(KEYS, 1))
    put = cache.set
    return lambda number: put(f"new:{number}", number, 60 + number % 60)


async def cache_get_many(_: Path) -> Call:
    """100 hits in one call."""
    cache = holdall.CacheManager(max_size=2_000)
    await cache.set_many(dict.fromkeys(KEYS, 1))
    keys = KEYS[:100]
    return lambda _: cache.get_many(keys)


async def storage_get(folder: Path) -> Call:
    """A hit in the memory of a store."""
    storage = holdall.StorageManager(folder, max_size=2_000)
    await storage.set_many({key: {"number": 1} for key in KEYS[:100]})
    get, keys = storage.get, itertools.cycle(KEYS[:100])
    return lambda _: get(next(keys))


async def save(folder: Path) -> Call:
    """A model under a new key."""
    blobs, value = holdall.BlobManager(folder), recipe(1)
    await blobs.save("first", value)
    return lambda number: blobs.save(f"new/{number}", value)


async def overwrite(folder: Path) -> Call:
    """A model over an older one."""
    blobs, value = holdall.BlobManager(folder), recipe(1)
    await blobs.save("first", value)
    return lambda _: blobs.save("first", value)


async def load(folder: Path) -> Call:
    """A model from the page cache."""
    blobs = holdall.BlobManager(folder)
    await blobs.save("first", recipe(1))
    return lambda _: blobs.load("first", model_class=Recipe)


async def load_bytes(folder: Path) -> Call:
    """1 KB of bytes from the page cache."""
    blobs = holdall.BlobManager(folder)
    await blobs.save("first", bytes(1_024))
    return lambda _: blobs.load("first")


async def exists(folder: Path) -> Call:
    """Whether there is a key."""
    blobs = holdall.BlobManager(folder)
    await blobs.save("first", b"")
    return lambda _: blobs.exists("first")


def sync_get(loops: int) -> float:
    """A hit without `await`."""
    cache = holdall.sync.CacheManager(max_size=2_000)
    cache.set_many(dict.fromkeys(KEYS, 1))
    get, keys = cache.get, itertools.cycle(KEYS)
    begin = time.perf_counter()
    for _ in range(loops):
        get(next(keys))
    return time.perf_counter() - begin


AWAITED = {
    "await cache.get, hit": cache_get,
    "await cache.set, full": cache_set,
    "await cache.get_many of 100": cache_get_many,
    "await storage.get, hit": storage_get,
    "await blobs.save, new key": save,
    "await blobs.save, over a value": overwrite,
    "await blobs.load, model": load,
    "await blobs.load, 1 KB of bytes": load_bytes,
    "await blobs.exists": exists,
}


def main() -> None:
    """Runs them all, in few processes unless told otherwise."""
    runner = pyperf.Runner(processes=5, values=3, warmups=1)
    runner.metadata["description"] = "single calls of holdall"
    runner.bench_time_func("cache.get, hit, without await", sync_get)
    for name, make in AWAITED.items():
        runner.bench_time_func(name, in_loop(make))


if __name__ == "__main__":
    main()
