"""`CacheManager` without `await`: the native cache, directly."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar, TypeVar, cast

from holdall._arguments import (
    check_call,
    check_integer,
    check_key,
    check_keys,
    check_mapping,
    check_ttl,
    several,
)
from holdall._cached import CacheCore
from holdall._core import Cache
from holdall._driver import BlockingDriver, Driver, run
from holdall._loader import loaded
from holdall._sentinels import DEFAULT, MISSING
from holdall.types import CacheStats, Ttl

__all__ = ["CacheManager"]

T = TypeVar("T")


class CacheManager(CacheCore):
    """Keeps objects in memory, bounded, with a TTL for each.

    >>> cache = CacheManager(max_size=100, default_ttl=60)
    >>> cache.set("greeting", "hello")
    >>> cache.get("greeting")
    'hello'
    """

    _driver: ClassVar[Driver] = BlockingDriver()

    def get(self, key: str, default: Any = None) -> Any:
        """The value, or `default` if there is none or it has expired."""
        return self._look(key, default)

    def _warm(self, cache: Cache) -> None:
        """A hit needs no layer between."""
        if type(self).get is CacheManager.get:
            self.__dict__["get"] = self._look
        if type(self).set is CacheManager.set:
            self.__dict__["set"] = self._keep

    def set(self, key: str, value: Any, ttl: Ttl = DEFAULT) -> None:
        """Keeps a value for `ttl` seconds (or a `timedelta`); `None` for ever."""
        self._keep(key, value, ttl)

    def get_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """What was found, in the order asked."""
        return self._cache.get_many(several(keys, "get"))

    def set_many(self, items: Mapping[str, Any], ttl: Ttl = DEFAULT) -> None:
        """Keeps several values; either all keys are valid or nothing is kept."""
        check_mapping("items", items, "set")
        self._cache.set_many(items, ttl)

    def add(self, key: str, value: Any, ttl: Ttl = DEFAULT) -> bool:
        """Keeps a value if there is none; whether it did."""
        return self._cache.add(check_key(key, "add"), value, check_ttl(ttl, "add", key))

    def get_or_set(self, key: str, loader: Callable[[], T], *, ttl: Ttl = DEFAULT) -> T:
        """The value; a missing one is loaded once for all threads that ask, and kept.

        If the key is written or deleted while the load runs, the loaded value is returned and not
        kept.
        """
        check_key(key, "get")
        check_call("loader", loader, "get")
        ttl = check_ttl(ttl, "set", key)
        cache = self._cache
        value = cache.get(key, MISSING)
        if value is not MISSING:
            return cast(T, value)
        number = cache.begin_load(key)
        flight = (number, key)

        def load() -> T:
            # Who came a moment late finds what the load before has just brought.
            found = cache.get(key, MISSING)
            if found is not MISSING:
                return cast(T, found)
            made: T = run(loaded(loader, self._driver))
            cache.land(key, number, made, ttl)
            return made

        try:
            return self._flights.join_blocking(flight, load)
        finally:
            if flight not in self._flights:
                cache.end_load(key, number)

    def incr(self, key: str, by: int = 1, *, ttl: Ttl = DEFAULT) -> int:
        """Adds to a counter, from 0 if there is none, and returns its new value."""
        check_integer("by", by, "count")
        return self._cache.incr(check_key(key, "count"), by, check_ttl(ttl, "count", key))

    def delete(self, key: str) -> bool:
        """Removes an entry; whether there was one."""
        return self._cache.delete(check_key(key, "delete"))

    def delete_many(self, keys: Iterable[str]) -> int:
        """Removes several entries; how many there were."""
        return self._cache.delete_many(check_keys(keys, "delete"))

    def contains(self, key: str) -> bool:
        """Whether there is an entry that has not expired; not counted as a hit or a miss."""
        return self._cache.contains(check_key(key, "look for"))

    def touch(self, key: str, ttl: Ttl = DEFAULT) -> bool:
        """Lets an entry live for `ttl` from now; whether there is one."""
        return self._cache.touch(check_key(key, "touch"), check_ttl(ttl, "touch", key))

    def ttl_of(self, key: str) -> float | None:
        """Seconds that an entry has left; `None` if it lives for ever; an error if missing."""
        return self._cache.ttl_of(check_key(key, "look for"))

    def clear(self) -> int:
        """Removes every entry; how many there were."""
        return self._cache.clear()

    def keys(self) -> Iterator[str]:
        """The keys of the entries, in no order."""
        return iter(self._cache.keys())

    def get_stats(self) -> CacheStats:
        """`entries`, `hits`, `misses`, `hit_rate` (0.0 without lookups), `evictions`, and more."""
        return cast(CacheStats, self._cache.get_stats())
