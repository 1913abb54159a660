"""How long the event loop stands still while work goes on beside it."""

from __future__ import annotations

import asyncio
import gc
import pickle
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any

import numpy as np

from ..adapters import stores
from ..adapters.stores import Store
from ..model import Contender, Context, Measure, Measured, Scenario, Target
from .small import recipe
from .timing import running

PERIOD = 0.001


class Ticker:
    """A coroutine that wakes each millisecond, and notes how late it came, in milliseconds."""

    def __init__(self, call: Callable[[str], Awaitable[None]] | None = None) -> None:
        """With something to do at each tick, whose time counts."""
        self.call = call
        self.lags: list[float] = []

    async def __aenter__(self) -> Ticker:
        """Starts to tick."""
        self._task = asyncio.create_task(self._tick())
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Takes the tick that is due, then stops."""
        await asyncio.sleep(PERIOD * 2)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _tick(self) -> None:
        number = 0
        last = perf_counter()
        while True:
            await asyncio.sleep(PERIOD)
            if self.call is not None:
                number += 1
                await self.call(f"tick{number}")
            now = perf_counter()
            self.lags.append((now - last - PERIOD) * 1e3)
            last = now

    @property
    def worst(self) -> float:
        """The longest."""
        return max(self.lags, default=0.0)

    @property
    def p99(self) -> float:
        """Longer than 99 of 100."""
        ordered = sorted(self.lags)
        return ordered[len(ordered) * 99 // 100] if ordered else 0.0


Save = Callable[[str, Any], Awaitable[Any]]


def lag(opener: Callable[[Any], tuple[Save, Store | None]], work: str) -> Measure:
    """The worst tick during a work, less the idle p99, in milliseconds."""

    def measure(context: Context) -> Measured:
        values = WORKS[work](context)
        with context.folder(remove=work in ("arrays", "graph")) as folder:

            async def whole() -> Measured:
                save, store = opener(folder)
                await save("first", b"first")
                gc.collect()
                gc.freeze()
                async with Ticker() as idle:
                    await asyncio.sleep(1.0)
                async with Ticker() as ticker:
                    begin = perf_counter()
                    await asyncio.gather(*(save(f"k{n}", one) for n, one in enumerate(values)))
                    took = perf_counter() - begin
                if store is not None and store.close is not None:
                    await store.close()
                details = {"idle p99": idle.p99, "took s": took, "p99": ticker.p99}
                return Measured(max(ticker.worst - idle.p99, 0.0), details)

            return running(whole())  # type: ignore[no-any-return]

    return measure


def arrays(context: Context) -> list[Any]:
    """Eight arrays of 64 MiB."""
    return [np.random.default_rng(n).random(context.few(8 << 20)) for n in range(8)]


def graph(context: Context) -> list[Any]:
    """One graph of small objects whose pickle has about 54 MiB."""
    count = context.few(1_100_000)
    return [[{"id": n, "name": f"name-{n:08}", "tags": ["a", str(n)]} for n in range(count)]]


def many(context: Context) -> list[Any]:
    """10,000 small models."""
    return [recipe(number) for number in range(context.few(10_000, 200))]


def few(context: Context) -> list[Any]:
    """32 small models."""
    return [recipe(number) for number in range(32)]


WORKS = {"arrays": arrays, "graph": graph, "many": many, "few": few}


def ours(folder: Any, **options: Any) -> tuple[Save, Store | None]:
    """`BlobManager.save`, each value in the format of its type; graphs as pickles."""
    import holdall

    blobs = holdall.BlobManager(folder, **options)

    async def save(key: str, value: Any) -> None:
        await blobs.save(key, value, "pickle" if isinstance(value, list) else None)

    return save, Store(blobs.save, blobs.load, close=blobs.close)


def ours_durable(folder: Any) -> tuple[Save, Store | None]:
    """With a flush for each save."""
    return ours(folder, durability="disk")


def theirs(name: str) -> Callable[[Any], tuple[Save, Store | None]]:
    """A peer; what is no model or bytes is pickled in a thread first, as programs do."""

    def opener(folder: Any) -> tuple[Save, Store | None]:
        store = stores()[name](folder)

        async def save(key: str, value: Any) -> None:
            if isinstance(value, bytes):
                await store.put(key, value)
            elif hasattr(value, "model_dump_json"):
                await store.save(key, value)
            else:
                await store.put(key, await asyncio.to_thread(pickle.dumps, value, 5))

        return save, store

    return opener


def idle(folder: Any) -> tuple[Save, Store | None]:
    """The loop alone: each save sleeps, for as long as a flush on the slow disk."""

    async def save(key: str, value: Any) -> None:
        await asyncio.sleep(0.3)

    return save, None


class Nowhere:
    """A file that keeps nothing."""

    def write(self, data: Any) -> int:
        """Takes it."""
        return len(data)


def bare(folder: Any) -> tuple[Save, Store | None]:
    """Python's own pickler in a thread, which writes nowhere: what its table of objects costs."""

    async def save(key: str, value: Any) -> None:
        await asyncio.to_thread(lambda: pickle.Pickler(Nowhere(), 5).dump(value))

    return save, None


PEERS = ("specification", "pathlib", "diskcache", "lmdb", "obstore")


def _scenario(
    name: str,
    work: str,
    title: str,
    about: str,
    target: Target,
    launcher: str = "",
    floors: tuple[Contender, ...] = (),
) -> Scenario:
    mine = ours_durable if launcher else ours
    peers = ("pathlib, flushed", "lmdb, flushed") if launcher else PEERS
    return Scenario(
        name=f"lag/{name}",
        title=title,
        unit="ms",
        measures=about
        + " A coroutine that sleeps for a millisecond notes how late it wakes: the longest, "
        "less the p99 of an idle second before. In a process of its own, garbage frozen before.",
        leaves_out="How long the work takes, which is in the results as a detail.",
        contenders=(
            Contender("holdall", "holdall", lag(mine, work)),
            *(Contender(peer, "peer", lag(theirs(peer), work)) for peer in peers),
            *floors,
            Contender("idle loop", "floor", lag(idle, work)),
        ),
        targets=(target,),
        isolated=True,
        launcher=launcher,
    )


SCENARIOS = [
    _scenario(
        "arrays", "arrays", "Loop lag: eight 64 MiB arrays saved at once",
        "holdall saves them as npy, the peers as pickles.",
        Target("eight 64 MiB arrays at once: max lag below 15 ms", "below", 15, floor="idle loop"),
    ),
    _scenario(
        "graph", "graph", "Loop lag: one graph of small objects pickled, 54 MiB",
        "The peers pickle it in a thread; so does the bare pickler, which writes nowhere.",
        Target("54 MiB graph pickled: max lag below 30 ms", "below", 30, floor="idle loop"),
        floors=(Contender("pickle.Pickler, no file", "floor", lag(bare, "graph")),),
    ),
    _scenario(
        "many",
        "many",
        "Loop lag: 10,000 gathered saves of 1 KB models", "All are started at once.",
        Target("10,000 gathered saves: max lag below 120 ms", "below", 120, floor="idle loop"),
    ),
    _scenario(
        "slow-disk", "few", "Loop lag: every flush takes 0.3 s longer",
        "32 durable saves at once, under `slow_flush`, which holds each fsync, fdatasync and "
        "sync_file_range of the process for 0.3 s in the kernel.",
        Target(
            "a disk whose every fsync takes 0.3 s: max lag below 30 ms", "below", 30,
            floor="idle loop",
        ),
        launcher="slow_flush",
    ),
]  # fmt: skip
