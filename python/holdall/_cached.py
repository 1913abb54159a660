"""What `CacheManager` and its twin in `holdall.sync` share: settings and the native cache."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, ClassVar, NoReturn

from holdall._arguments import check_call, check_choice, check_clock, check_limits, check_ttl
from holdall._config import load_settings
from holdall._core import Cache, ManualClock, hot_get, hot_set
from holdall._driver import AsyncDriver, Driver
from holdall._messages import not_copied
from holdall._sentinels import DEFAULT, Default
from holdall._single_flight import SingleFlight
from holdall.types import Policy, Ttl

AWAITS_NATIVELY = sys.version_info < (3, 12)
"""Whether `await` takes a result of the extension faster than that of a coroutine.

Up to CPython 3.11 it looks for `am_send`; later ones take what is no coroutine through
`StopIteration`, which costs more than a frame.
"""

POLICIES = ("w-tinylfu", "s3-fifo", "lru", "fifo")


class CacheCore:
    """A bounded memory, made when first needed."""

    _driver: ClassVar[Driver] = AsyncDriver()

    def __init__(
        self,
        max_size: int | Default = DEFAULT,
        default_ttl: Ttl = DEFAULT,
        *,
        max_bytes: int | None = None,
        policy: Policy = "w-tinylfu",
        on_evict: Callable[[str, Any, str], object] | None = None,
        size_of: Callable[[Any], int] | None = None,
        clock: ManualClock | None = None,
    ) -> None:
        """Remembers its arguments and reads nothing.

        Args:
            max_size: The most entries; left out, `CACHE_MAX_SIZE` of the environment or of
                `.env`, else 1,000. With `CACHE_ENABLED=false` the cache is always empty.
            default_ttl: Seconds or a `timedelta` that an entry lives if `ttl=` is left out, `None`
                for ever; left out, `CACHE_DEFAULT_TTL`, else 3,600.
            max_bytes: The most bytes, as `size_of` measures them.
            policy: Which entry leaves a full cache: `"w-tinylfu"` keeps what is used often or
                lately, in shares that follow the workload; `"s3-fifo"`, `"lru"` and `"fifo"`
                need less memory for each entry.
            on_evict: Called with key, value and reason for each entry that leaves: `"evicted"`,
                `"expired"`, `"replaced"`, `"deleted"`, `"cleared"`, or `"refused"`, a value
                larger than `max_bytes`. It may use the cache; what it raises goes to
                `sys.unraisablehook`.
            size_of: The size of a value in bytes; left out, an estimate.
            clock: A `holdall.testing.ManualClock`, for tests.

        Raises:
            InvalidArgumentError: A TTL, a limit or a word is not allowed.
        """
        check_choice("policy", policy, POLICIES)
        check_limits(max_size=max_size, max_bytes=max_bytes)
        check_call("on_evict", on_evict)
        check_call("size_of", size_of)
        check_clock(clock)
        self._max_size: int | Default = max_size
        self._default_ttl: Ttl = check_ttl(default_ttl, "make a cache")
        self._options: dict[str, Any] = {
            "max_bytes": max_bytes,
            "policy": policy,
            "on_evict": on_evict,
            "size_of": size_of,
            "clock": clock,
        }
        self._made: Cache | None = None
        # Where nothing but a memory is asked; a function of the extension once there is one.
        self._look: Callable[[str, Any], Any] = self._first_look
        self._keep: Callable[[str, Any, Ttl], None] = self._first_keep
        self._slot: dict[str, Cache] = {}
        self._flights = SingleFlight()

    @property
    def _cache(self) -> Cache:
        """The native cache; the first call reads the settings, on the calling thread."""
        if self._made is not None:
            return self._made
        settings = load_settings()
        size = settings.cache_max_size if self._max_size is DEFAULT else self._max_size
        ttl = settings.cache_default_ttl if self._default_ttl is DEFAULT else self._default_ttl
        cache = Cache(size if settings.cache_enabled else 0, ttl, **self._options)
        # Without a lock, which a fork could leave locked: the first of several is kept.
        self._made = self._slot.setdefault("cache", cache)
        self._look = hot_get(self._made, False)
        self._keep = hot_set(self._made)
        self._warm(self._made)
        return self._made

    def _first_look(self, key: str, default: Any) -> Any:
        return self._cache.get(key, default)

    def _first_keep(self, key: str, value: Any, ttl: Ttl) -> None:
        self._cache.set(key, value, ttl)

    def _warm(self, cache: Cache) -> None:
        """Replaces `get` by one of the extension, where that is faster."""

    def __len__(self) -> int:
        """How many entries there are; one that has expired may be counted for a moment."""
        return len(self._cache)

    def __reduce__(self) -> NoReturn:
        """Managers stay where they are."""
        raise not_copied(self)

    def __repr__(self) -> str:
        """The class, and the number of entries if there is a cache already."""
        return f"{type(self).__name__}({'' if self._made is None else len(self._made)})"
