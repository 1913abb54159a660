"""rocksdict (RocksDB) through `asyncio.to_thread`; one process at a time, not plain files."""

from __future__ import annotations

from pathlib import Path

from ..model import peer
from .stores import Store, threaded


def files(folder: Path) -> Store:
    """As it comes."""
    table = peer("rocksdict").Rdict(str(folder / "rocks"))
    return threaded(
        table.__setitem__,
        table.__getitem__,
        keys=lambda: len(list(table.keys())),
        close=table.close,
    )


STORES = {"rocksdict": files}
