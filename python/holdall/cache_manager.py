"""`CacheManager`: objects in memory, bounded, with a TTL for each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeVar, cast, overload

from holdall._arguments import (
    check_call,
    check_integer,
    check_key,
    check_keys,
    check_mapping,
    check_ttl,
    several,
)
from holdall._cached import AWAITS_NATIVELY, CacheCore
from holdall._core import Cache, hot_get
from holdall._loader import loaded
from holdall._sentinels import DEFAULT, MISSING
from holdall._warm import getter, setter
from holdall.types import CacheStats, Ttl

__all__ = ["CacheManager"]

T = TypeVar("T")


class CacheManager(CacheCore):
    """Keeps objects in memory: `await set(key, value)`, `await get(key)`.

    What `get` returns is the object that was set, not a copy. Nothing here touches a disk or waits,
    except for the loader of `get_or_set`; the first call reads the settings. Calls may be made
    from any number of tasks, event loops and threads.

    >>> import asyncio
    >>> async def main() -> None:
    ...     cache = CacheManager(max_size=100, default_ttl=60)
    ...     await cache.set("greeting", "hello", ttl=5)
    ...     print(await cache.get("greeting"), await cache.get("other", default="nobody"))
    >>> asyncio.run(main())
    hello nobody
    """

    def _warm(self, cache: Cache) -> None:
        """Puts faster functions in front of the methods; a subclass keeps those of its own."""
        mine = type(self)
        if mine.get is CacheManager.get:
            look = hot_get(cache, AWAITS_NATIVELY)
            # What the function returns is to be awaited, where no coroutine is needed for that.
            self.__dict__["get"] = look if AWAITS_NATIVELY else getter(look, CacheManager.get)
        if mine.set is CacheManager.set:
            self.__dict__["set"] = setter(self._keep, CacheManager.set)

    async def get(self, key: str, default: Any = None) -> Any:
        """The value, or `default` if there is none or it has expired."""
        return self._look(key, default)

    async def set(self, key: str, value: Any, ttl: Ttl = DEFAULT) -> None:
        """Keeps a value for `ttl` seconds (or a `timedelta`); `None` for ever."""
        self._keep(key, value, ttl)

    async def get_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """What was found, in the order asked."""
        return self._cache.get_many(several(keys, "get"))

    async def set_many(self, items: Mapping[str, Any], ttl: Ttl = DEFAULT) -> None:
        """Keeps several values; either all keys are valid or nothing is kept."""
        check_mapping("items", items, "set")
        self._cache.set_many(items, ttl)

    async def add(self, key: str, value: Any, ttl: Ttl = DEFAULT) -> bool:
        """Keeps a value if there is none; whether it did."""
        return self._cache.add(check_key(key, "add"), value, check_ttl(ttl, "add", key))

    @overload
    async def get_or_set(
        self, key: str, loader: Callable[[], Awaitable[T]], *, ttl: Ttl = DEFAULT
    ) -> T: ...
    @overload
    async def get_or_set(self, key: str, loader: Callable[[], T], *, ttl: Ttl = DEFAULT) -> T: ...
    async def get_or_set(self, key: str, loader: Callable[[], Any], *, ttl: Ttl = DEFAULT) -> Any:
        """The value; a missing one is loaded once for all who ask at the same time, and kept.

        If the key is written or deleted while the load runs, the loaded value is returned and not
        kept, and whoever asks after that does not wait for it.

        Args:
            key: The key.
            loader: A function without arguments, plain or `async`. Its failure reaches all who
                wait and is not kept. A plain one runs on the event loop's thread.
            ttl: How long a loaded value lives.

        Raises:
            ReentrantLoadError: The loader asks for the key that it loads.
        """
        check_key(key, "get")
        check_call("loader", loader, "get")
        ttl = check_ttl(ttl, "set", key)
        cache = self._cache
        value = cache.get(key, MISSING)
        if value is not MISSING:
            return value
        # Whoever asks after the key was written or deleted gets another number.
        number = cache.begin_load(key)
        flight = (number, key)

        async def load() -> Any:
            # Who came a moment late finds what the load before has just brought.
            found = cache.get(key, MISSING)
            if found is not MISSING:
                return found
            made = await loaded(loader, self._driver)
            cache.land(key, number, made, ttl)
            return made

        try:
            return await self._driver.share(self._flights, flight, load)
        finally:
            if flight not in self._flights:
                cache.end_load(key, number)

    async def incr(self, key: str, by: int = 1, *, ttl: Ttl = DEFAULT) -> int:
        """Adds to a counter, from 0 if there is none, and returns its new value.

        Raises:
            InvalidArgumentError: The value there is not an integer.
        """
        check_integer("by", by, "count")
        return self._cache.incr(check_key(key, "count"), by, check_ttl(ttl, "count", key))

    async def delete(self, key: str) -> bool:
        """Removes an entry; whether there was one."""
        return self._cache.delete(check_key(key, "delete"))

    async def delete_many(self, keys: Iterable[str]) -> int:
        """Removes several entries; how many there were."""
        return self._cache.delete_many(check_keys(keys, "delete"))

    async def contains(self, key: str) -> bool:
        """Whether there is an entry that has not expired; not counted as a hit or a miss."""
        return self._cache.contains(check_key(key, "look for"))

    async def touch(self, key: str, ttl: Ttl = DEFAULT) -> bool:
        """Lets an entry live for `ttl` from now; whether there is one."""
        return self._cache.touch(check_key(key, "touch"), check_ttl(ttl, "touch", key))

    async def ttl_of(self, key: str) -> float | None:
        """Seconds that an entry has left; `None` if it lives for ever.

        Raises:
            BlobNotFoundError: There is no entry (a `KeyError`).
        """
        return self._cache.ttl_of(check_key(key, "look for"))

    async def clear(self) -> int:
        """Removes every entry; how many there were."""
        return self._cache.clear()

    async def keys(self) -> list[str]:
        """The keys of the entries, in no order."""
        return self._cache.keys()

    async def get_stats(self) -> CacheStats:
        """`entries`, `hits`, `misses`, `hit_rate` (0.0 without lookups), `evictions`, and more."""
        return cast(CacheStats, self._cache.get_stats())
