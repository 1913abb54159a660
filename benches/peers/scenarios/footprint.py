"""Bytes in memory beside key and value."""

from __future__ import annotations

import gc
import inspect
import os
from pathlib import Path

from ..adapters import opened
from ..model import Context, Measure, Scenario, Target
from .hits import contenders
from .timing import keys, running

ENTRIES = 1_000_000
PEERS = (
    "cachebox VTTLCache", "cachebox TTLCache", "cachebox LRUCache", "cachetools LRUCache",
    "cachetools TTLCache", "cachetools TLRUCache", "theine", "moka-py", "aiocache timeout=0",
    "cashews backend", "functools.lru_cache",
)  # fmt: skip


def resident() -> int:
    """Bytes of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def footprint(name: str) -> Measure:
    """Bytes an entry, with a TTL for each where the peer has it."""

    def measure(context: Context) -> float:
        known = keys(context.few(ENTRIES))

        async def work() -> float:
            if table.start is not None:
                await table.start()
            ttl = table.ttl(3_600.0) if table.ttl is not None else None
            gc.collect()
            gc.freeze()
            before = resident()
            for key in known:
                done = table.set(key, key, ttl) if ttl is not None else table.set(key, key)
                if inspect.isawaitable(done):
                    await done
            gc.collect()
            return (resident() - before) / len(known)

        with opened(name, len(known), 3_600.0) as table:
            return float(running(work()))

    return measure


SCENARIOS = [
    Scenario(
        name="cache/bytes-per-entry",
        title="Bytes for each entry beside key and value",
        unit="bytes",
        measures=(
            "Growth of the resident memory of a fresh process while 1,000,000 entries are "
            "set one by one into a cache of that capacity, divided by their number. Keys "
            "and values exist before, and are counted for nobody. Each entry has a TTL of "
            "its own where the peer can."
        ),
        leaves_out=(
            "What an allocator keeps from before; copies of keys that a library makes are counted."
        ),
        contenders=contenders(footprint, PEERS, ("dict",)),
        targets=(Target("memory: 90 bytes an entry, TTL included", "below", 90, floor="dict"),),
        isolated=True,
        rounds=1,
    )
]
