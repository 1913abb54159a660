"""pathlib through `asyncio.to_thread`: what many programs do. A crash leaves torn files."""

from __future__ import annotations

import os
from pathlib import Path

from .stores import Store, threaded


def files(folder: Path) -> Store:
    """One file for each key, written in place."""

    def put(key: str, data: bytes) -> None:
        (folder / key).write_bytes(data)

    def count() -> int:
        return len(os.listdir(folder))

    return threaded(put, lambda key: (folder / key).read_bytes(), count=count, keys=count)


def flushed(folder: Path) -> Store:
    """The same with fsync, for those scenarios that ask for it."""

    def put(key: str, data: bytes) -> None:
        with (folder / key).open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    return threaded(put, lambda key: (folder / key).read_bytes())


STORES = {"pathlib": files, "pathlib, flushed": flushed}
