"""Everything expires at once: how long the event loop stands still."""

from __future__ import annotations

import asyncio
import gc
import inspect
from time import perf_counter

from ..adapters import opened
from ..model import Context, Measure, Measured, Scenario, Target
from .hits import contenders
from .lag import Ticker
from .timing import keys, running

ENTRIES = 1_000_000
PEERS = (
    "cachebox VTTLCache", "cachebox TTLCache", "cachetools TTLCache", "theine", "moka-py",
    "cashews backend", "aiocache timeout=0",
)  # fmt: skip
LIFE = 15.0
"""Seconds: longer than the slowest peer takes to fill."""


def pause(name: str) -> Measure:
    """Milliseconds that one tick came late, beyond the p99 of the idle loop."""

    def measure(context: Context) -> Measured:
        known = keys(context.few(ENTRIES))
        life = 3.0 if context.quick else LIFE

        async def call(key: str) -> None:
            done = table.set(key, key)
            if inspect.isawaitable(done):
                await done
            try:
                got = table.get(key)
            except KeyError:
                return
            if inspect.isawaitable(got):
                await got

        async def work() -> Measured:
            if table.start is not None:
                await table.start()
            deadline = perf_counter() + life
            for key in known:
                left = table.ttl(deadline - perf_counter()) if table.ttl is not None else None
                done = table.set(key, key, left) if left is not None else table.set(key, key)
                if inspect.isawaitable(done):
                    await done
            gc.collect()
            gc.freeze()
            late = deadline - perf_counter() < 1.2
            async with Ticker() as idle:
                await asyncio.sleep(0.0 if late else 1.0)
            async with Ticker(call) as ticker:
                await asyncio.sleep(max(deadline - perf_counter(), 0) + 3.0)
            return Measured(max(ticker.worst - idle.p99, 0.0), {"idle p99": idle.p99})

        with opened(name, len(known) + 100_000, life) as table:
            return running(work())  # type: ignore[no-any-return]

    return measure


SCENARIOS = [
    Scenario(
        name="cache/mass-expiry",
        title="1,000,000 entries expire at once: longest pause of the loop",
        unit="ms",
        measures=(
            "All entries have the same deadline. From a second before it to three after it a"
            " coroutine wakes each millisecond, sets a key and gets it: the longest it came"
            " late, less the p99 of the second before. In a process of its own; garbage was"
            " collected and frozen before."
        ),
        leaves_out=(
            "Peers with one TTL for all expire over the time that filling took, which "
            "spares them. moka-py and cachebox free nothing until somebody calls. In the floor"
            " nothing expires: it is what the machine itself adds."
        ),
        contenders=contenders(pause, PEERS, ("dict",)),
        targets=(
            Target(
                "1,000,000 entries expiring at once: no pause above 2 ms",
                "below",
                2,
                floor="dict",
            ),
        ),
        isolated=True,
        rounds=3,
    )
]
