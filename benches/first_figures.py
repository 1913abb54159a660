"""First figures of what a caller waits for, each beside `asyncio.to_thread` with pathlib.

`make bench` runs it on a release build. Every round has a new folder, all are removed at the end
(on ext4 deleting thousands of files slows later saves for minutes); figures are medians. The other
column writes and reads the same bytes without temporary file, record, checksum or lock: it is
the least that a program does which keeps JSON in files of its own, and it may tear them.
"""

from __future__ import annotations

import asyncio
import importlib
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pydantic_core

import holdall

ROUNDS = 5
ALONE = 1_000
TOGETHER = 10_000
HITS = 200_000


def recipe(number: int) -> dict[str, Any]:
    """A value of about 900 bytes as JSON."""
    steps = [f"step {step}: stir, and wait a while, then taste, {number}" for step in range(16)]
    return {"title": f"Recipe {number}", "servings": 4, "vegetarian": True, "steps": steps}


class Threads:
    """What most programs do today."""

    def __init__(self, folder: Path) -> None:
        """Keeps values below a folder."""
        self.folder = folder

    async def save(self, key: str, value: Any) -> None:
        """Writes the file in a thread."""
        data = pydantic_core.to_json(value)
        await asyncio.to_thread((self.folder / f"{key}.json").write_bytes, data)

    async def load(self, key: str) -> Any:
        """Reads the file in a thread."""
        return pydantic_core.from_json(await asyncio.to_thread((self.folder / key).read_bytes))


async def timed(work: Callable[[], Awaitable[Any]], count: int) -> float:
    """Seconds for each of `count` calls."""
    begin = time.perf_counter()
    await work()
    return (time.perf_counter() - begin) / count


async def disk(
    save: Callable[[str, Any], Awaitable[Any]], load: Callable[[str], Awaitable[Any]], suffix: str
) -> dict[str, float]:
    """Seconds a call, one by one and together."""
    one = {f"one{number}": recipe(number) for number in range(ALONE)}
    many = {f"many{number}": recipe(number) for number in range(TOGETHER)}

    async def saves() -> None:
        for key, value in one.items():
            await save(key, value)

    async def loads() -> None:
        for key in one:
            await load(key + suffix)

    async def all_saves() -> None:
        await asyncio.gather(*(save(key, value) for key, value in many.items()))

    async def all_loads() -> None:
        await asyncio.gather(*(load(key + suffix) for key in many))

    return {
        "save, one by one": await timed(saves, ALONE),
        "load, one by one": await timed(loads, ALONE),
        f"save, gather of {TOGETHER:,}": await timed(all_saves, TOGETHER),
        f"load, gather of {TOGETHER:,}": await timed(all_loads, TOGETHER),
    }


async def memory(folder: Path) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds a hit: ours, and those of a dict in the same place."""
    values = {f"hit{number}": recipe(number) for number in range(1_000)}
    keys = list(values) * (HITS // len(values))

    async def from_dict(key: str) -> Any:
        return values.get(key)

    async def hits(get: Callable[[str], Awaitable[Any]]) -> None:
        for key in keys:
            await get(key)

    cache = holdall.CacheManager(max_size=2_000)
    await cache.set_many(values)
    async with holdall.StorageManager(folder, max_size=2_000) as storage:
        await storage.set_many(values)
        ours = {
            "hit, CacheManager": await timed(lambda: hits(cache.get), HITS),
            "hit, StorageManager": await timed(lambda: hits(storage.get), HITS),
        }
    plain = await timed(lambda: hits(from_dict), HITS)
    return ours, dict.fromkeys(ours, plain)


async def one_round(base: Path) -> tuple[dict[str, float], dict[str, float]]:
    """Every figure once, below a new folder."""
    (base / "threads").mkdir(parents=True)
    ours, theirs = await memory(base / "memory")
    async with holdall.BlobManager(base / "holdall") as blobs:
        ours |= await disk(blobs.save, blobs.load, "")
    threads = Threads(base / "threads")
    theirs |= await disk(threads.save, threads.load, ".json")
    return ours, theirs


def bare() -> None:
    """A hit without `await`, and one of cachebox if that is installed: it is the faster one."""
    import holdall.sync

    values = {f"hit{number}": number for number in range(1_000)}
    caches: dict[str, Callable[[str], Any]] = {}
    cache = holdall.sync.CacheManager(max_size=2_000)
    cache.set_many(values)
    caches["holdall.sync.CacheManager"] = cache.get
    try:
        cachebox: Any = importlib.import_module("cachebox")
    except ImportError:
        pass
    else:
        other: Any = cachebox.LRUCache(2_000)
        other.update(values)
        caches[f"cachebox {cachebox.__version__} LRUCache"] = other.get
    print(f"\n{'a hit without await':<36}{'ns':>8}")
    for name, get in caches.items():
        times = []
        for _ in range(ROUNDS):
            begin = time.perf_counter()
            for _ in range(HITS // len(values)):
                for key in values:
                    get(key)
            times.append((time.perf_counter() - begin) / HITS)
        print(f"{name:<36}{statistics.median(times) * 1e9:>8.0f}")


def main() -> None:
    """Prints the table."""
    with tempfile.TemporaryDirectory() as name:
        every = [asyncio.run(one_round(Path(name, str(round)))) for round in range(ROUNDS + 1)]
    rounds = every[1:]  # the first one warmed up
    print(
        f"holdall {holdall.__version__}, Python {platform.python_version()}, "
        f"{platform.system()} {platform.release()}, {platform.machine()}; "
        f"{len(pydantic_core.to_json(recipe(1)))} bytes a value, median of {ROUNDS} rounds"
    )
    print(f"{'microseconds a call':<28}{'holdall':>10}{'beside':>10}   beside is")
    for what in rounds[0][0]:
        ours = statistics.median(round[0][what] for round in rounds) * 1e6
        theirs = statistics.median(round[1][what] for round in rounds) * 1e6
        beside = "async def over a dict" if what.startswith("hit") else "to_thread and pathlib"
        print(f"{what:<28}{ours:>10.3f}{theirs:>10.3f}   {beside}")
    bare()
    sys.stdout.flush()


if __name__ == "__main__":
    main()
