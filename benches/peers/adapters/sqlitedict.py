"""sqlitedict through `asyncio.to_thread`; its commit happens in a thread of its own, later."""

from __future__ import annotations

from pathlib import Path

from ..model import peer
from .stores import Store, threaded


def files(folder: Path) -> Store:
    """With autocommit."""
    table = peer("sqlitedict").SqliteDict(str(folder / "values.sqlite"), autocommit=True)
    return threaded(
        table.__setitem__,
        table.__getitem__,
        keys=lambda: len(list(table.keys())),
        count=table.__len__,
        close=table.close,
    )


STORES = {"sqlitedict": files}
