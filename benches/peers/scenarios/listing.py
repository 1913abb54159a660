"""A store of 100,000 keys: counting and listing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import holdall

from ..adapters import stores
from ..adapters.holdall import fill
from ..adapters.stores import Store
from ..model import Contender, Context, Measure, Scenario, Target
from .timing import keys, running

KEYS = 100_000


def full_store(context: Context) -> Path:
    """A store of ours with all keys, made once in a run."""
    return context.fixture("full-holdall", lambda folder: fill(folder, context.few(KEYS)))


def full_peer(name: str, context: Context) -> Path:
    """A store of a peer with all keys, made once in a run."""
    if name == "holdall":
        return full_store(context)

    def make(folder: Path) -> None:
        async def work() -> None:
            store = stores()[name](folder)
            for number in range(context.few(KEYS)):
                await store.put(f"key{number}", b'{"number": 1}')
            if store.close is not None:
                await store.close()

        asyncio.run(work())

    return context.fixture(f"full-{name.partition(',')[0]}", make)


def on_full(name: str, call: Callable[[Store], object]) -> Measure:
    """Milliseconds of the fastest of three calls on an opened store."""

    def measure(context: Context) -> float:
        folder = full_peer(name, context)

        async def work() -> float:
            store = stores()[name](folder)
            times = []
            for _ in range(3):
                begin = perf_counter()
                await call(store)  # type: ignore[misc]
                times.append(perf_counter() - begin)
            if store.close is not None:
                await store.close()
            return min(times) * 1e3

        return float(running(work()))

    return measure


def count(name: str) -> Measure:
    """How many keys there are."""
    return on_full(name, lambda store: store.count() if store.count is not None else None)


def listed(name: str) -> Measure:
    """All keys as a list."""
    return on_full(name, lambda store: store.keys() if store.keys is not None else None)


def statistics(call: str) -> Measure:
    """`len` and `get_stats` of a memory that holds 100,000 entries, in milliseconds."""

    def measure(context: Context) -> float:
        async def work() -> float:
            cache = holdall.CacheManager(max_size=KEYS)
            await cache.set_many(dict.fromkeys(keys(context.few(KEYS)), 1))
            times = []
            for _ in range(20):
                begin = perf_counter()
                if call == "len":
                    len(cache)
                else:
                    await cache.get_stats()
                times.append(perf_counter() - begin)
            return sorted(times)[10] * 1e3

        return float(running(work()))

    return measure


FULL = (
    "A store of 100,000 keys, made once in the run and then only read; best of "
    "three calls a round. "
)
SCENARIOS = [
    Scenario(
        name="list/stats",
        title="get_stats and len with 100,000 keys",
        unit="ms",
        measures=FULL + (
"holdall: `get_stats()` of the store, of a cache, and `len` of a cache; the "
"others: their way to count keys."
),
        leaves_out="The first call after opening. The floor lists one flat folder.",
        contenders=(
            Contender("holdall", "holdall", count("holdall")),
            Contender("holdall cache get_stats", "holdall", statistics("get_stats")),
            Contender("holdall cache len", "holdall", statistics("len")),
            Contender("diskcache", "peer", count("diskcache")),
            Contender("lmdb", "peer", count("lmdb")),
            Contender("pathlib", "peer", count("pathlib")),
        ),
        targets=(
            Target("get_stats() with 100,000 keys: below 0.2 ms", "below", 0.2),
            Target(
                "get_stats() of a cache with 100,000 keys: below 0.2 ms", "below", 0.2,
                ours="holdall cache get_stats",
            ),
            Target(
                "len with 100,000 keys: below 0.2 ms", "below", 0.2, ours="holdall cache len"
            ),
        ),
    ),
    Scenario(
        name="list/keys",
        title="All of 100,000 keys",
        unit="ms",
        measures=FULL + "As a list of `str`; holdall, lmdb and diskcache's iterkeys sort them.",
        leaves_out="Prefixes, pages, tags. pathlib lists one flat folder, which is the floor.",
        contenders=(
            Contender("holdall", "holdall", listed("holdall")),
            Contender("diskcache", "peer", listed("diskcache")),
            Contender("diskcache, sorted", "peer", listed("diskcache, sorted")),
            Contender("lmdb", "peer", listed("lmdb")),
            Contender("pathlib", "floor", listed("pathlib")),
        ),
        targets=(
            Target(
                "keys(): 5x diskcache's iterkeys(), which sorts as ours does",
                "faster", 5, ("diskcache, sorted",), floor="pathlib",
            ),
            Target(
                "keys(): 5x diskcache's list(cache), unsorted",
                "faster", 5, ("diskcache",), floor="pathlib",
            ),
        ),
    ),
]  # fmt: skip
