"""One call into memory: hits, awaited and plain, and sets into a full cache."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from time import perf_counter_ns

from ..adapters import opened
from ..model import Contender, Context, Measure, Scenario, Target
from .timing import awaited, each, filled, keys, running, shuffled

CAPACITY = 100_000
TTL = 3_600.0
CALLS = 200_000

ASYNC_WITH_TTL = (
    "cashews", "cashews backend", "cachebox @cached", "theine @Memoize", "moka-py @cached",
)  # fmt: skip
"""The peers that are awaited and have both a TTL and a limit of size."""
ASYNC_UNLIMITED = ("aiocache", "aiocache timeout=0")
FLOORS = ("async def over a dict", "C awaitable over a dict")


def async_hit(name: str, count: int) -> Measure:
    """An awaited hit among `count` keys in random order."""

    def measure(context: Context) -> float:
        known = keys(count)
        asked = shuffled(known, context.few(CALLS))

        async def work() -> float:
            await filled(table, known)
            await awaited(table.get, asked[: len(asked) // 10])
            return await awaited(table.get, asked)

        with opened(name, CAPACITY, TTL) as table:
            return float(running(work()))

    return measure


def plain_hit(name: str) -> Measure:
    """A hit without `await`."""

    def measure(context: Context) -> float:
        known = keys(1_000)
        asked = shuffled(known, context.few(CALLS))
        with opened(name, CAPACITY, TTL) as table:
            for key in known:
                table.set(key, key)
            each(table.get, asked[: len(asked) // 10])
            return each(table.get, asked)

    return measure


def _ttls(convert: Callable[[float], object] | None, count: int) -> list[object]:
    """Between one and two hours, for as many calls; none if a peer takes none."""
    if convert is None:
        return []
    some = [convert(TTL + second * 3.6) for second in range(1_000)]
    return list(islice(cycle(some), count))


def full_set(name: str, waits: bool) -> Measure:
    """A new key into a full cache, with a TTL of its own."""

    def measure(context: Context) -> float:
        old = keys(context.few(CAPACITY))
        new = [f"new:{key}" for key in shuffled(old, context.few(CALLS))]
        with opened(name, len(old), TTL) as table:
            ttls = _ttls(table.ttl, len(new))

            async def work() -> float:
                await filled(table, old)
                begin = perf_counter_ns()
                if ttls:
                    for key, ttl in zip(new, ttls, strict=True):
                        await table.set(key, key, ttl)
                else:
                    for key in new:
                        await table.set(key, key)
                return (perf_counter_ns() - begin) / len(new)

            if waits:
                return float(running(work()))
            for key in old:
                table.set(key, key)
            begin = perf_counter_ns()
            if ttls:
                for key, ttl in zip(new, ttls, strict=True):
                    table.set(key, key, ttl)
            else:
                for key in new:
                    table.set(key, key)
            return (perf_counter_ns() - begin) / len(new)

    return measure


def contenders(
    make: Callable[[str], Measure],
    peers: Sequence[str],
    floors: Sequence[str] = (),
    ours: Sequence[str] = ("holdall",),
) -> tuple[Contender, ...]:
    """Ours first, then the peers, then the floors."""
    return (
        *(Contender(name, "holdall", make(name)) for name in ours),
        *(Contender(name, "peer", make(name)) for name in peers),
        *(Contender(name, "floor", make(name)) for name in floors),
    )


# From 3.12 on an awaited call of C goes through StopIteration: the targets differ.
HIT_TARGETS = (
    (
        Target(
            "awaited hit, 1,000 hot keys, on CPython 3.12 and later: 3x the fastest async peer",
            "faster", 3, ASYNC_WITH_TTL,
        ),
        Target(
            "awaited hit, 1,000 hot keys, on CPython 3.12 and later: 1.3x an async def over a dict",
            "at most", 1.3, ("async def over a dict",), floor="async def over a dict",
        ),
    )
    if sys.version_info >= (3, 12)
    else (
        Target(
            "awaited hit, 1,000 hot keys: 5x the fastest async peer", "faster", 5, ASYNC_WITH_TTL
        ),
        Target(
            "awaited hit, 1,000 hot keys: 2x the floor",
            "at most", 2, ("C awaitable over a dict",), floor="C awaitable over a dict",
        ),
    )
)  # fmt: skip

HOT = Scenario(
    name="cache/hit-1000",
    title="An awaited hit, 1,000 hot keys",
    unit="ns",
    measures=(
"`await get(key)` one after the other in one running loop, keys in random "
"order, the same `str` objects each time, default TTL of an hour; an empty loop"
" is subtracted."
),
    leaves_out=(
"Misses, threads, keys that are equal but other objects. Decorators build their"
" key from the arguments, which is their way. aiocache has no limit of size and"
" is in no target."
),
    contenders=contenders(
        lambda name: async_hit(name, 1_000),
        (*ASYNC_WITH_TTL, *ASYNC_UNLIMITED),
        FLOORS,
        ("holdall", "holdall StorageManager"),
    ),
    targets=(
        *HIT_TARGETS,
        Target(
            "StorageManager.get in memory: 2x cache.get",
            "at most", 2, ("holdall",), ours="holdall StorageManager", floor="holdall",
        ),
    ),
)  # fmt: skip

SPREAD = Scenario(
    name="cache/hit-100000",
    title="An awaited hit, 100,000 keys in random order",
    unit="ns",
    measures="As with 1,000 keys; here the processor's caches miss.",
    leaves_out="As with 1,000 keys.",
    contenders=contenders(
        lambda name: async_hit(name, CAPACITY), (*ASYNC_WITH_TTL, *ASYNC_UNLIMITED), FLOORS
    ),
    targets=(
        Target(
            "awaited hit, 100,000 keys: 3x the fastest async peer",
            "faster", 3, ASYNC_WITH_TTL, floor="C awaitable over a dict",
        ),
    ),
)  # fmt: skip

PLAIN_PEERS = (
    "cachebox TTLCache", "cachebox VTTLCache", "cachebox LRUCache", "cachetools TTLCache",
    "cachetools TLRUCache", "theine", "moka-py", "functools.lru_cache",
)  # fmt: skip
PLAIN = Scenario(
    name="cache/hit-sync",
    title="A hit without await, 1,000 hot keys",
    unit="ns",
    measures=(
"Each library's fastest call for a key that is there, with a TTL where the "
"library has one."
),
    leaves_out=(
"cachetools is not safe for threads as measured; cachebox LRUCache and "
"lru_cache have no TTL."
),
    contenders=contenders(plain_hit, PLAIN_PEERS, ("dict",), ("holdall.sync",)),
    targets=(
        Target(
            "sync hit with TTL: level with cachebox's TTLCache",
            "at most", 1, ("cachebox TTLCache",), ours="holdall.sync", floor="dict",
        ),
    ),
)  # fmt: skip


def _set(name: str) -> Measure:
    awaits = {"holdall", "cashews", "cashews backend", "aiocache timeout=0", *FLOORS}
    return full_set(name, name in awaits)


SETS = Scenario(
    name="cache/set-full",
    title="A set into a full cache of 100,000, with a TTL of its own",
    unit="ns",
    measures=(
"New keys, each with a TTL between one and two hours, each evicting another. "
"holdall, cashews and aiocache are awaited, the others are not."
),
    leaves_out="cachebox TTLCache and lru_cache have no TTL for an entry; cachetools' comes from a "
    "function. aiocache never evicts. No key is set twice.",
    contenders=contenders(
        _set,
        (
            "cachebox VTTLCache", "cachebox TTLCache", "cachetools TLRUCache", "theine", "moka-py",
            "cashews", "cashews backend", "aiocache timeout=0",
        ),
        ("dict", "C awaitable over a dict"),
        ("holdall", "holdall.sync"),
    ),
    targets=(
        Target(
            "await cache.set at capacity with a TTL of its own: 4x cachebox's VTTLCache, sync",
            "faster", 4, ("cachebox VTTLCache",), floor="C awaitable over a dict",
        ),
    ),
)  # fmt: skip

SCENARIOS = [HOT, SPREAD, PLAIN, SETS]
