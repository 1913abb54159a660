"""Many keys in one call into memory."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from time import perf_counter_ns
from typing import Any

from ..adapters import opened
from ..model import Context, Measure, Scenario, Target
from .hits import CAPACITY, TTL, contenders
from .timing import keys, running, shuffled

BATCH = 100
PEERS = ("aiocache timeout=0", "cashews", "cashews backend")
SET_PEERS = (*PEERS, "cachebox VTTLCache", "cachebox TTLCache")


async def _start(table: Any, known: Sequence[str]) -> None:
    if table.start is not None:
        await table.start()
    for key in known:
        done = table.set(key, key)
        if inspect.isawaitable(done):
            await done


def get_many(name: str, count: int, same: bool) -> Measure:
    """Nanoseconds a key of `get_many` of 100 of `count` keys, the `same` objects or equal ones."""

    def measure(context: Context) -> float:
        known = keys(count)
        asked = shuffled(known if same else keys(count), context.few(200_000, 2_000))
        batches = [asked[at : at + BATCH] for at in range(0, len(asked), BATCH)]

        async def work() -> float:
            await _start(table, known)
            for batch in batches[: len(batches) // 10]:
                await call(batch)
            begin = perf_counter_ns()
            for batch in batches:
                await call(batch)
            return (perf_counter_ns() - begin) / len(asked)

        with opened(name, CAPACITY, TTL) as table:
            call: Any = table.get_many
            return float(running(work()))

    return measure


def set_many(name: str) -> Measure:
    """Nanoseconds a key of `set_many` of 100 keys, half of them new; awaited where it can be."""

    def measure(context: Context) -> float:
        named = shuffled(keys(20_000), context.few(200_000, 2_000))
        batches = [dict.fromkeys(named[at : at + BATCH], at) for at in range(0, len(named), BATCH)]

        async def work() -> float:
            await _start(table, keys(10_000))
            first = call(batches[0])
            waits = inspect.isawaitable(first)
            if waits:
                await first
            begin = perf_counter_ns()
            if waits:
                for batch in batches:
                    await call(batch)
            else:
                for batch in batches:
                    call(batch)
            return (perf_counter_ns() - begin) / len(named)

        with opened(name, CAPACITY, TTL) as table:
            call: Any = table.set_many
            return float(running(work()))

    return measure


def _gets(name: str, title: str, keyed: str, count: int, same: bool) -> Scenario:
    return Scenario(
        name=name,
        title=title,
        unit="ns/key",
        measures=f"100 keys that are all there, in one awaited call; {keyed}. Time for each key.",
        leaves_out=(
            "The sync peers have no such call. aiocache and cashews return lists, holdall a dict,"
            " as the floor does: no public call makes a dict of a size, so it grows five times."
        ),
        contenders=contenders(
            lambda contender: get_many(contender, count, same), PEERS, ("async def over a dict",)
        ),
        targets=(
            Target(
                f"{title}: 3x the best peer, per key",
                "faster", 3, PEERS, floor="async def over a dict",
            ),
        ),
    )  # fmt: skip


GETS = _gets(
    "cache/get-many", "get_many of 100, 1,000 hot keys",
    "keys of 1,000 in random order, the same `str` objects each time", 1_000, True,
)  # fmt: skip
GETS_SPREAD = _gets(
    "cache/get-many-10000", "get_many of 100, 10,000 keys, other objects",
    "keys of 10,000 in random order, equal to those that were set but other objects", 10_000, False,
)  # fmt: skip

PUTS = Scenario(
    name="cache/set-many",
    title="set_many of 100",
    unit="ns/key",
    measures="100 keys, half of them new, with the default TTL, below capacity; time for each key. "
    "cachebox's `update` is not awaited; its VTTLCache has no default TTL, so none expires.",
    leaves_out="Eviction. The target names the best peer, which here is one without await.",
    contenders=contenders(set_many, SET_PEERS, ("async def over a dict",)),
    targets=(
        Target(
            "set_many of 100: 3x the best awaited peer, per key",
            "faster", 3, PEERS, floor="async def over a dict",
        ),
        Target(
            "set_many of 100: 3x the best peer of all, per key",
            "faster", 3, SET_PEERS, floor="async def over a dict",
        ),
    ),
)  # fmt: skip

SCENARIOS = [GETS, GETS_SPREAD, PUTS]
