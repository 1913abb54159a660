"""Loops that time calls. An empty loop over the same keys is subtracted."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from time import perf_counter_ns
from typing import Any

from ..adapters.table import Table


def keys(count: int) -> list[str]:
    """Keys as programs have them: a prefix and a number."""
    return [f"user:{number:08}" for number in range(count)]


def shuffled(items: Sequence[str], length: int) -> list[str]:
    """All of them in a random order, the same in each run, again and again up to a length."""
    order = list(items)
    random.Random(7).shuffle(order)
    return (order * (length // len(order) + 1))[:length]


def _empty(items: Sequence[Any]) -> int:
    begin = perf_counter_ns()
    for _ in items:
        pass
    return perf_counter_ns() - begin


def each(get: Callable[[Any], Any], items: Sequence[Any]) -> float:
    """Nanoseconds for each plain call."""
    empty = _empty(items)
    begin = perf_counter_ns()
    for item in items:
        get(item)
    return (perf_counter_ns() - begin - empty) / len(items)


async def awaited(get: Callable[[Any], Any], items: Sequence[Any]) -> float:
    """Nanoseconds for each awaited call, one after the other."""
    empty = _empty(items)
    begin = perf_counter_ns()
    for item in items:
        await get(item)
    return (perf_counter_ns() - begin - empty) / len(items)


async def filled(table: Table, items: Sequence[str]) -> None:
    """Starts an async cache and puts every key into it, through its own set."""
    if table.start is not None:
        await table.start()
    for key in items:
        await table.set(key, key)


def running(work: Any) -> Any:
    """Runs a coroutine in an event loop of its own."""
    return asyncio.run(work)
