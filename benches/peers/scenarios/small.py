"""Values of about 1 KB on disk: one by one, together, and flushed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import perf_counter

from pydantic import BaseModel

from ..adapters import stores
from ..adapters.stores import Store
from ..model import Contender, Context, Scenario, Target
from .hits import contenders
from .timing import running

ONE_BY_ONE = 1_000
TOGETHER = 5_000
FLUSHED = 200

PLAIN_FILES = ("pathlib", "obstore")
ASYNC_PEERS = (
    "pathlib", "diskcache", "sqlitedict", "lmdb", "rocksdict", "obstore", "joblib",
)  # fmt: skip
EVERY = ("specification", *ASYNC_PEERS)


class Recipe(BaseModel):
    """About 1 KB of JSON."""

    title: str
    servings: int
    rating: float
    vegetarian: bool
    steps: list[str]


def recipe(number: int) -> Recipe:
    """A value that differs by number."""
    steps = [f"step {step}: stir, and wait a while, then taste, {number}" for step in range(18)]
    return Recipe(title=f"Recipe {number}", servings=4, rating=4.5, vegetarian=True, steps=steps)


Work = Callable[[Store, Context], Awaitable[float]]


def with_store(name: str, work: Work) -> Callable[[Context], float]:
    """Runs `work` on a new store in a fresh folder; microseconds."""

    def measure(context: Context) -> float:
        with context.folder() as folder:

            async def whole() -> float:
                store = stores()[name](folder)
                try:
                    return await work(store, context)
                finally:
                    if store.close is not None:
                        await store.close()

            return float(running(whole()))

    return measure


def _saves(store: Store, count: int) -> list[tuple[str, Recipe]]:
    return [(f"key{number}", recipe(number)) for number in range(count)]


async def _begun(store: Store) -> None:
    """Opens what opens at the first call."""
    await store.save("first", recipe(0))
    await store.load("first", Recipe)


async def save_new(store: Store, context: Context) -> float:
    """Each save makes a key."""
    await _begun(store)
    items = _saves(store, context.few(ONE_BY_ONE, 50))
    begin = perf_counter()
    for key, value in items:
        await store.save(key, value)
    return (perf_counter() - begin) / len(items) * 1e6


async def overwrite(store: Store, context: Context) -> float:
    """Each save replaces a value."""
    await _begun(store)
    items = _saves(store, context.few(ONE_BY_ONE, 50))
    for key, value in items:
        await store.save(key, value)
    begin = perf_counter()
    for key, value in items:
        await store.save(key, value)
    return (perf_counter() - begin) / len(items) * 1e6


async def load(store: Store, context: Context) -> float:
    """From the page cache, to a validated model."""
    items = _saves(store, context.few(ONE_BY_ONE, 50))
    for key, value in items:
        await store.save(key, value)
    for key, _ in items:
        await store.load(key, Recipe)
    begin = perf_counter()
    for key, _ in items:
        await store.load(key, Recipe)
    return (perf_counter() - begin) / len(items) * 1e6


async def load_bytes(store: Store, context: Context) -> float:
    """Bytes as they are."""
    names = [f"key{number}" for number in range(context.few(ONE_BY_ONE, 50))]
    for number, key in enumerate(names):
        await store.put(key, number.to_bytes(4, "little") * 256)
    for key in names:
        await store.get(key)
    begin = perf_counter()
    for key in names:
        await store.get(key)
    return (perf_counter() - begin) / len(names) * 1e6


def gathered(count: int) -> Work:
    """New keys, all at once."""

    async def work(store: Store, context: Context) -> float:
        await _begun(store)
        items = _saves(store, context.few(count, 100))
        begin = perf_counter()
        await asyncio.gather(*(store.save(key, value) for key, value in items))
        return (perf_counter() - begin) / len(items) * 1e6

    return work


async def flushed_alone(store: Store, context: Context) -> float:
    """Saves that survive a power cut, one by one."""
    await _begun(store)
    items = _saves(store, context.few(FLUSHED, 20))
    begin = perf_counter()
    for key, value in items:
        await store.save(key, value)
    return (perf_counter() - begin) / len(items) * 1e6


async def gathered_loads(store: Store, context: Context) -> float:
    """All values at once, to models."""
    items = _saves(store, context.few(TOGETHER, 100))
    await asyncio.gather(*(store.save(key, value) for key, value in items))
    begin = perf_counter()
    await asyncio.gather(*(store.load(key, Recipe) for key, _ in items))
    return (perf_counter() - begin) / len(items) * 1e6


def _by(work: Work) -> Callable[[str], Callable[[Context], float]]:
    return lambda name: with_store(name, work)


SLOW = (
    "Cold reads; crashes; several processes. sqlitedict acknowledges before it "
    "commits; lmdb and rocksdict keep no plain files, only diskcache, lmdb, "
    "sqlitedict, rocksdict and obstore replace a value whole."
)
FLOOR = ("system calls",)
COMMON = "A pydantic model of about 1 KB as JSON, in a fresh folder each round; "

LOAD = Scenario(
    name="disk/load-model",
    title="Load of a 1 KB pydantic model, one by one",
    unit="us",
    measures=COMMON + "1,000 keys, read once before, so from the page cache; pydantic validates.",
    leaves_out=SLOW,
    contenders=contenders(_by(load), EVERY, FLOOR, ("holdall", "holdall inline")),
    targets=(
        Target(
            "hot load of a 1 KB model: 15x the specification's way",
            "faster", 15, ("specification",), floor="system calls",
        ),
        Target(
            "hot load of a 1 KB model: 3x the best async peer",
            "faster", 3, ASYNC_PEERS, floor="system calls",
        ),
    ),
)  # fmt: skip
LOAD_BYTES = Scenario(
    name="disk/load-bytes",
    title="Load of 1 KB of bytes, one by one",
    unit="us",
    measures=(
"1,000 keys from the page cache. The floor is open, fstat, read and close in C,"
" awaited through an `async def`."
),
    leaves_out=SLOW,
    contenders=contenders(_by(load_bytes), EVERY, FLOOR),
    targets=(
        Target(
            "bytes load: 2x open+fstat+read+close and one await",
            "at most", 2, ("system calls",), floor="system calls",
        ),
    ),
)  # fmt: skip
NEW = Scenario(
    name="disk/save-new",
    title="Save of a new 1 KB key, one by one",
    unit="us",
    measures=COMMON + "1,000 new keys, not flushed.",
    leaves_out=SLOW,
    contenders=contenders(_by(save_new), EVERY, FLOOR, ("holdall", "holdall inline")),
    targets=(
        Target(
            "save of a new 1 KB key: 6x the specification's way",
            "faster", 6, ("specification",), floor="system calls",
        ),
    ),
)  # fmt: skip
OVER = Scenario(
    name="disk/overwrite",
    title="Save of 1 KB over an older value, one by one",
    unit="us",
    measures=COMMON + "1,000 keys that were just saved, not flushed.",
    leaves_out=SLOW,
    contenders=contenders(_by(overwrite), EVERY, FLOOR, ("holdall", "holdall inline")),
    targets=(
        Target(
            "overwrite: 6x the specification's way",
            "faster", 6, ("specification",), floor="system calls",
        ),
    ),
)  # fmt: skip
GATHER = Scenario(
    name="disk/save-gather",
    title="gather of 5,000 saves of new 1 KB keys",
    unit="us",
    measures=COMMON + "time for each of 5,000 that are started at once.",
    leaves_out=SLOW,
    contenders=contenders(
        _by(gathered(TOGETHER)), EVERY, FLOOR, ("holdall", "holdall inline")
    ),
    targets=(
        Target(
            "gather of 5,000 saves: 12x the specification's way",
            "faster", 12, ("specification",), floor="system calls",
        ),
        Target(
            "gather of 5,000 saves: 1.5x the best async peer with plain files",
            "faster", 1.5, PLAIN_FILES, floor="system calls",
        ),
        Target(
            "inline_below=, gather of saves: 3x plain files",
            "faster", 3, ("holdall",), ours="holdall inline", floor="system calls",
        ),
        Target(
            "inline_below=, gather of saves: 2x lmdb through to_thread",
            "faster", 2, ("lmdb",), ours="holdall inline", floor="system calls",
        ),
    ),
)  # fmt: skip
LOADS = Scenario(
    name="disk/load-gather",
    title="gather of 5,000 loads of 1 KB models",
    unit="us",
    measures=COMMON
    + "time for each of 5,000 that are started at once, just after they were saved.",
    leaves_out=SLOW,
    contenders=contenders(_by(gathered_loads), EVERY, FLOOR),
)
DURABLE_PEERS = ("lmdb, flushed", "pathlib, flushed")
DURABLE_FLOOR = ("system calls, flushed",)
DURABLE = Scenario(
    name="disk/durable",
    title="Saves that survive a power cut: gathered, and one by one",
    unit="us",
    measures=COMMON + "with `durability=\"disk\"`: 1,000 gathered, and 200 one by one.",
    leaves_out=(
"That they do survive one. lmdb's default flushes too; the floor flushes the "
"file alone and not the folder. Disks and hosts differ more in this than in "
"anything else."
),
    contenders=(
        *contenders(
            _by(gathered(1_000)), DURABLE_PEERS, DURABLE_FLOOR, ("holdall durable",)
        ),
        Contender(
            "holdall durable, one by one", "holdall", with_store("holdall durable", flushed_alone)
        ),
    ),
    targets=(
        Target(
            "durability=\"disk\" under gather: 4x one by one",
            "faster", 4, ("holdall durable, one by one",), ours="holdall durable",
            floor="system calls, flushed",
        ),
        Target(
            "grouped durable saves: 3x one by one (as corrected)",
            "faster", 3, ("holdall durable, one by one",), ours="holdall durable",
            floor="system calls, flushed",
        ),
    ),
)  # fmt: skip

SCENARIOS = [LOAD, LOAD_BYTES, NEW, OVER, GATHER, LOADS, DURABLE]
