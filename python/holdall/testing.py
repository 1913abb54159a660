"""Help for tests of programs that use holdall: a clock to move by hand, a store that goes away.

>>> import asyncio
>>> async def main() -> None:
...     clock = ManualClock()
...     async with temporary_store(clock=clock) as storage:
...         await storage.set("token", "secret", ttl=3600)
...         clock.advance(3601)
...         print(await storage.get("token", default="expired"))
>>> asyncio.run(main())
expired
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from holdall._core import ManualClock
from holdall.storage_manager import StorageManager

__all__ = ["ManualClock", "temporary_store"]


@asynccontextmanager
async def temporary_store(
    clock: ManualClock | None = None, **options: Any
) -> AsyncGenerator[StorageManager, None]:
    """A `StorageManager` on a new folder that is removed at the end.

    Args:
        clock: The clock that its TTLs follow; left out, the machine's.
        options: Whatever else `StorageManager` takes.
    """
    with tempfile.TemporaryDirectory(prefix="holdall-") as folder:
        async with StorageManager(folder, clock=clock, **options) as storage:
            yield storage
