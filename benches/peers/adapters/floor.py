"""The floors: a bare dict and bare system calls, without any promise."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ..native import floor
from .stores import Store
from .table import Table


def bare(capacity: int, ttl: float) -> Table:
    """A dict."""
    table: dict[Any, Any] = {}
    return Table(
        table.__getitem__,
        table.__setitem__,
        get_many=lambda keys: {key: table[key] for key in keys},
        set_many=table.update,
        length=table.__len__,
    )


def coroutine(capacity: int, ttl: float) -> Table:
    """An `async def` around a dict."""
    table: dict[Any, Any] = {}

    async def get(key: Any) -> Any:
        return table[key]

    async def put(key: Any, value: Any) -> None:
        table[key] = value

    async def get_many(keys: Any) -> Any:
        return {key: table[key] for key in keys}

    async def set_many(items: Any) -> None:
        table.update(items)

    return Table(get, put, get_many=get_many, set_many=set_many)


def completed(capacity: int, ttl: float) -> Table:
    """A type of C whose method looks into a dict and returns an awaitable that is complete."""
    table = floor().Table()
    return Table(table.get, table.set)


def files(folder: Path) -> Store:
    """Bare system calls from C: no index, no checksum, no lock, one flat folder."""
    return _files(folder, False)


def flushed(folder: Path) -> Store:
    """The same, with fdatasync before the rename."""
    return _files(folder, True)


def _files(folder: Path, flush: bool) -> Store:
    calls, at = floor(), str(folder)
    draft = f"{at}/draft"

    async def put(key: str, data: bytes) -> None:
        calls.write_file(draft, f"{at}/{key}", data, flush)

    async def get(key: str) -> Any:
        return calls.read_file(f"{at}/{key}")

    async def count() -> int:
        return len(os.listdir(at))

    return Store(put, get, count=count)


MEMORY = {"dict": bare, "async def over a dict": coroutine, "C awaitable over a dict": completed}
STORES = {"system calls": files, "system calls, flushed": flushed}
