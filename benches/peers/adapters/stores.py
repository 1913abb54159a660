"""What a peer that keeps small values on disk hands out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Store:
    """Calls that are awaited on the event loop; what a store has not is `None`."""

    put: Callable[[str, bytes], Awaitable[Any]]
    get: Callable[[str], Awaitable[Any]]
    own_save: Callable[[str, Any], Awaitable[None]] | None = None
    """How it saves a model, if it does that itself; else pydantic's JSON is put."""
    own_load: Callable[[str, type[Any]], Awaitable[Any]] | None = None
    keys: Callable[[], Awaitable[int]] | None = None
    """Lists all keys, in Python, and returns how many they were."""
    count: Callable[[], Awaitable[int]] | None = None
    close: Callable[[], Awaitable[Any]] | None = None

    async def save(self, key: str, value: Any) -> None:
        """Saves a model."""
        if self.own_save is not None:
            await self.own_save(key, value)
        else:
            await self.put(key, value.model_dump_json().encode())

    async def load(self, key: str, model: type[Any]) -> Any:
        """Loads and validates a model."""
        if self.own_load is not None:
            return await self.own_load(key, model)
        return model.model_validate_json(await self.get(key))


def threaded(
    put: Callable[[str, bytes], Any],
    get: Callable[[str], Any],
    *,
    keys: Callable[[], int] | None = None,
    count: Callable[[], int] | None = None,
    close: Callable[[], Any] | None = None,
) -> Store:
    """A store without `await`, each call through `asyncio.to_thread`."""

    def call(work: Callable[..., Any] | None) -> Any:
        if work is None:
            return None

        async def through(*arguments: Any) -> Any:
            return await asyncio.to_thread(work, *arguments)

        return through

    return Store(call(put), call(get), keys=call(keys), count=call(count), close=call(close))
