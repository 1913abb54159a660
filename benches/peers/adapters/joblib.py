"""joblib.dump and load through `asyncio.to_thread`; not atomic."""

from __future__ import annotations

from pathlib import Path

from ..model import peer
from .stores import Store, threaded


def files(folder: Path) -> Store:
    """One file for each key."""
    joblib = peer("joblib")
    return threaded(
        lambda key, data: joblib.dump(data, folder / key), lambda key: joblib.load(folder / key)
    )


STORES = {"joblib": files}
