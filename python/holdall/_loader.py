"""The loaders of `get_or_set`: functions without arguments, plain or `async`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from holdall._core import InvalidArgumentError
from holdall._driver import Driver
from holdall._messages import told


async def loaded(loader: Callable[[], Any], driver: Driver) -> Any:
    """The value that a loader produces, awaited if it is `async`."""
    made = loader()
    if not isinstance(made, Awaitable):
        return made
    if driver.blocking:
        close = getattr(made, "close", None)
        if close is not None:
            close()
        raise told(
            InvalidArgumentError,
            "the loader is an async function, which holdall.sync cannot wait for",
            "give a plain function, or use the manager of holdall",
            operation="load",
        )
    return await made
