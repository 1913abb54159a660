"""How often the entry that is asked for is still there, on recorded traces."""

from __future__ import annotations

import array
from pathlib import Path
from typing import Any

from ..adapters import opened
from ..adapters.table import Table
from ..model import Absent, Context, Measure, Measured, Scenario, Target
from .hits import contenders

SIZES = {
    "cloudPhysicsIO_libCacheSim": (1_000, 5_000, 20_000),
    "multi3_LIRS": (500, 1_500, 3_000),
    "sprite_LIRS": (200, 600, 1_000),
    "web12_cache2k": (300, 1_000, 3_000),
}
"""Sizes by trace; a trace that is not named here gets 1, 5 and 20 percent of its distinct keys."""
PEERS = ("cachebox LRUCache", "cachebox FIFOCache", "theine", "moka-py", "cashews backend")


def found(context: Context) -> list[Path]:
    """The traces; `Absent` if there are none."""
    paths = sorted(context.traces.glob("*.i64")) if context.traces is not None else []
    if not paths:
        raise Absent("no traces: name their folder by --traces or HOLDALL_TRACES")
    return paths


def read(path: Path, few: bool) -> list[str]:
    """The keys of a trace: little-endian 64-bit integers."""
    numbers = array.array("q")
    numbers.frombytes(path.read_bytes())
    return [str(number) for number in (numbers[:20_000] if few else numbers)]


def ratio(name: str) -> Measure:
    """The mean over all traces and sizes, in percent; each cell as a detail."""

    def measure(context: Context) -> Measured:
        cells: dict[str, float] = {}
        for path in found(context):
            asked = read(path, context.quick)
            distinct = len(set(asked))
            sizes = SIZES.get(path.stem) or tuple(distinct * part // 100 for part in (1, 5, 20))
            for size in sizes:
                with opened(name, size, 1e6) as table:
                    cells[f"{path.stem} {size}"] = _run(table, asked, name == "cashews backend")
        return Measured(sum(cells.values()) / len(cells), cells)

    return measure


def _drive(coroutine: Any) -> Any:
    """Runs a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise RuntimeError("it waits")


def _run(table: Table, asked: list[str], waits: bool) -> float:
    """Percent of hits; a miss puts the key in."""
    get, put, miss = table.get, table.set, table.miss
    hits = 0
    for key in asked:
        got = _drive(get(key)) if waits else get(key)
        if not miss(got):
            hits += 1
        elif waits:
            _drive(put(key, key))
        else:
            put(key, key)
    return 100 * hits / len(asked)


def _there(context: Context) -> None:
    """`Absent` without traces."""
    found(context)


SCENARIOS = [
    Scenario(
        name="cache/hit-ratio",
        title="Hit ratio on recorded traces",
        unit="%",
        measures=(
"Each trace at each size: `get`, and on a miss `set`; every entry weighs the "
"same. The mean of all cells, and each cell."
),
        leaves_out=(
"moka-py holds more than its capacity for a while, which flatters it, and "
"differs from run to run. cashews evicts the least recently used."
),
        contenders=contenders(ratio, PEERS, ours=("holdall.sync",)),
        targets=(
            Target(
                "hit ratio: mean above every peer's", "above", 0, PEERS, ours="holdall.sync"
            ),
            Target(
                "hit ratio: nowhere more than half a point below LRU",
                "cells", -0.5, ("cachebox LRUCache",), ours="holdall.sync",
            ),
        ),
        better="higher",
        rounds=1,
        needs=_there,
    )
]  # fmt: skip
