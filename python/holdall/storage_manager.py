"""`StorageManager`: objects on disk, and a memory over it that never answers with old ones."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, TypeAlias, TypeVar, cast, overload

from holdall._arguments import (
    check_call,
    check_key,
    check_terms,
    check_ttl,
)
from holdall._blob_upgrade import PLAIN, Model
from holdall._cached import AWAITS_NATIVELY
from holdall._core import (
    BlobMetadata,
    ConflictError,
    Tier,
    hot_get_or_else,
    hot_get_or_missing,
)
from holdall._keeping import OvertakenError, keeping, writing
from holdall._loader import loaded
from holdall._sentinels import DEFAULT, MISSING
from holdall._storage_many import StorageMany
from holdall._tiers import Held, fits, validated
from holdall.types import Durability, Format, StorageStats, Ttl

__all__ = ["StorageManager"]

D = TypeVar("D")
T = TypeVar("T")
Upgrade: TypeAlias = Callable[[Any], Any]


class StorageManager(StorageMany):
    """Memory first, then disk: `await set(key, value)`, `await get(key)`.

    `set` writes to the disk, then keeps the caller's own object in memory, and `get` returns that
    same object: changing it changes what this process reads until it is set again. With
    `copy=True`, on the manager or on one call, memory holds a copy and everybody gets another.
    After a restart, in another process, or when memory was full, `get` returns what the format
    makes of the file: without `model_class`, plain data for JSON. With `model_class` it is always
    that type.

    `CACHE_DEFAULT_TTL` limits only how long the copy in memory is used; a `ttl=` limits the value
    everywhere. Once a write is acknowledged in any process on the machine, no process answers
    with the value before it. With `BLOB_STORAGE_ENABLED=false` everything is in memory only.

    >>> import asyncio, tempfile
    >>> async def main(folder: str) -> None:
    ...     async with StorageManager(folder) as storage:
    ...         await storage.set("recipe", {"title": "Pasta"})
    ...         print(await storage.get("recipe"), await storage.get("other", default="none"))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     asyncio.run(main(folder))
    {'title': 'Pasta'} none
    """

    async def __aenter__(self) -> StorageManager:
        """The manager itself; nothing is opened yet."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Closes the manager."""
        await self.close()

    # -- memory, then disk ----------------------------------------------------------------------

    @overload
    async def get(
        self,
        key: str,
        default: None = None,
        *,
        model_class: type[T],
        copy: bool | None = None,
        upgrade: Upgrade | None = None,
        write_back: bool = False,
    ) -> T | None: ...
    @overload
    async def get(
        self,
        key: str,
        default: D,
        *,
        model_class: type[T],
        copy: bool | None = None,
        upgrade: Upgrade | None = None,
        write_back: bool = False,
    ) -> T | D: ...
    @overload
    async def get(
        self,
        key: str,
        default: Any = None,
        *,
        model_class: Any = None,
        copy: bool | None = None,
        upgrade: Upgrade | None = None,
        write_back: bool = False,
    ) -> Any: ...
    async def get(
        self,
        key: str,
        default: Any = None,
        *,
        model_class: Any = None,
        copy: bool | None = None,
        upgrade: Upgrade | None = None,
        write_back: bool = False,
    ) -> Any:
        """The value, or `default` if there is none; a missing one is read once for all who ask.

        Args:
            key: The key.
            default: What to return for a missing key; a stored `None`, 0 or `""` is not missing.
            model_class: The type of the result, as for `BlobManager.load`: an object in memory is
                returned if it is of exactly that class or was read as that type before; else
                the value is read from the disk as that type. Left out, a hit in memory may be the
                caller's own object or one that was read with a `model_class`.
            copy: Return a deep copy of what memory holds; left out, as the manager was made.

        Raises:
            HoldallError: Reading failed, as `BlobManager.load` says.
        """
        is_plain = model_class is None and copy is None and upgrade is None and not write_back
        if self._hit is None or not is_plain:
            return await self._ordinary(
                False,
                key,
                default,
                model_class=model_class,
                copy=copy,
                upgrade=upgrade,
                write_back=write_back,
            )
        value = self._hit(key)
        return value if value is not MISSING else await self._ordinary(True, key, default)

    def _warm(self, tier: Tier) -> None:
        """A plain hit goes the shortest way; all else goes that of the class."""
        if self._copy:
            return
        if not AWAITS_NATIVELY:
            self._hit = hot_get_or_missing(tier, MISSING, Held)
        elif type(self).get is StorageManager.get:
            # It holds the manager as every bound method does; `close` takes it away.
            self.__dict__["get"] = hot_get_or_else(tier, self._ordinary, Held)

    async def set(
        self,
        key: str,
        value: Any,
        *,
        format: Format | None = None,
        ttl: Ttl = DEFAULT,
        tags: Iterable[str] = (),
        metadata: Mapping[str, Any] | None = None,
        custom_encoder: Callable[[Any], Any] | None = None,
        if_absent: bool = False,
        if_match: str | None = None,
        durability: Durability | None = None,
        copy: bool | None = None,
    ) -> BlobMetadata | None:
        """Writes a value to the disk, then to memory; what the disk refused is never in memory.

        Args:
            key: The key.
            value: What to keep. Memory keeps this object itself, see the class.
            format: As for `BlobManager.save`, like the arguments that are not named here.
            ttl: Seconds or a `timedelta` that the value lives, everywhere; left out, for ever.
            tags: See `BlobManager.save`.
            metadata: See `BlobManager.save`.
            custom_encoder: See `BlobManager.save`.
            if_absent: See `BlobManager.save`.
            if_match: See `BlobManager.save`.
            durability: See `BlobManager.save`.
            copy: Memory keeps a deep copy, taken now; left out, as the manager was made.

        Returns:
            The record of the value; `None` if the store is switched off.
        """
        check_key(key, "set")
        ttl = check_ttl(ttl, "set", key)
        check_terms("set", custom_encoder, if_absent, if_match, durability)
        tier = await self._memory("set", key)
        kept = self._in(value, copy, key)
        if not self._on_disk:
            with writing(key):
                self._check_terms(tier, key, if_absent, if_match)
                tier.pin(key, kept, ttl)
            return None
        observed = tier.observe(key)
        record = await self._blobs.save(
            key,
            value,
            format,
            ttl=ttl,
            tags=tags,
            metadata=metadata,
            custom_encoder=custom_encoder,
            if_absent=if_absent,
            if_match=if_match,
            durability=durability,
        )
        self._admit(tier, key, kept, observed, record)
        return record

    @overload
    async def get_or_set(
        self,
        key: str,
        loader: Callable[[], Awaitable[T]],
        *,
        ttl: Ttl = DEFAULT,
        format: Format | None = None,
        model_class: Any = None,
        copy: bool | None = None,
        upgrade: Upgrade | None = None,
        write_back: bool = False,
    ) -> T: ...
    @overload
    async def get_or_set(
        self,
        key: str,
        loader: Callable[[], T],
        *,
        ttl: Ttl = DEFAULT,
        format: Format | None = None,
        model_class: Any = None,
        copy: bool | None = None,
        upgrade: Upgrade | None = None,
        write_back: bool = False,
    ) -> T: ...
    async def get_or_set(
        self,
        key: str,
        loader: Callable[[], Any],
        *,
        ttl: Ttl = DEFAULT,
        format: Format | None = None,
        model_class: Any = None,
        copy: bool | None = None,
        upgrade: Upgrade | None = None,
        write_back: bool = False,
    ) -> Any:
        """The value; a missing one is loaded once for all who ask at the same time, and set.

        If the key is set while the load runs, that is the value. If this manager deletes it or is
        cleared, the loaded value is returned and not kept, and whoever asks after that does not
        wait for it. A delete through `blobs` or by others is not noticed by a load that runs.

        Args:
            key: The key.
            loader: A function without arguments, plain or `async`. Its failure reaches all who
                wait and is not kept. A plain one runs on the event loop's thread.
            ttl: How long a loaded value lives, everywhere; left out, for ever.
            format: The format that a loaded value is written in; left out, chosen by type.
            model_class: As for `get`.
            copy: As for `get` and `set`.
            upgrade: As for `get`.
            write_back: As for `get`.

        Raises:
            ReentrantLoadError: The loader asks for the key that it loads.
        """
        check_key(key, "get")
        check_call("loader", loader, "get")
        ttl = check_ttl(ttl, "set", key)
        model = Model.checked(model_class, upgrade, write_back, "get", key)
        value = await self._get(key, model)
        if value is MISSING:
            flight = ("make", key)

            async def load() -> Any:
                # Who came a moment late finds what the load before has just brought.
                found = await self._get(key, model)
                if found is not MISSING:
                    return found
                made = await loaded(loader, self._driver)
                return await self._keep(key, made, ttl, format, copy)

            value = await self._driver.share(self._flights, flight, load)
            if model_class is not None and not fits(value, model_class):
                value = validated(value, model_class, key)
        return self._out(value, copy)

    async def _keep(
        self, key: str, made: Any, ttl: Ttl, format: Format | None, copy: bool | None
    ) -> Any:
        """Sets a loaded value, unless somebody wrote one while it was loading: then that one."""
        writes = self._flights.writes()
        if writes.forbidden:
            return made
        terms: dict[str, Any] = {"ttl": ttl, "format": format, "copy": copy}
        with suppress(OvertakenError), keeping(writes):
            # What is there and counts as missing (damaged) is replaced at last.
            for absent in (True, True, False):
                try:
                    record = await self.set(key, made, if_absent=absent, **terms)
                except ConflictError:
                    written = await self._get(key, PLAIN)
                    if written is not MISSING:
                        return written
                    if not absent:
                        raise
                    continue
                if record is not None and writes.forbidden:
                    # Whoever deleted it could not wait for this.
                    with suppress(ConflictError):
                        await self._blobs.delete(key, if_match=record.etag)
                break
        return made

    async def delete(self, key: str) -> bool:
        """Removes a value from the disk, then from memory; whether there was one.

        Waits for the save of what this manager's `get_or_set` has loaded, if that has begun.
        """
        check_key(key, "delete")
        tier = await self._memory("delete", key)
        await self._driver.overtake(self._flights, ("make", key))
        if not self._on_disk:
            return tier.delete(key)
        # What memory alone has counts too; another call may have put the rest there meanwhile.
        is_own = tier.is_own(key)
        removed = await self._blobs.delete(key)
        tier.delete(key)
        return removed or is_own

    async def exists(self, key: str) -> bool:
        """Whether there is a value in memory or on the disk; it is not read."""
        tier = await self._memory("look for", check_key(key, "look for"))
        if tier.contains(key):
            return True
        return self._on_disk and await self._blobs.exists(key)

    # -- the whole ------------------------------------------------------------------------------

    async def get_stats(self) -> StorageStats:
        """What `BlobManager.get_stats` returns, and `cache` with the statistics of the memory."""
        tier = await self._memory("get statistics")
        blobs: Any = dict.fromkeys(("entries", "total_size", "evictions", "expirations"), 0)
        blobs.update(folder=str(self.base_path), operations={})
        if self._on_disk:
            blobs = await self._blobs.get_stats()
        return cast(StorageStats, {**blobs, "cache": tier.get_stats()})

    async def clear(self) -> int:
        """Removes every value that holdall placed, then all of memory; how many values."""
        tier = await self._memory("clear")
        await self._driver.overtake(self._flights, None)
        removed = await self._blobs.clear() if self._on_disk else 0
        forgotten = tier.clear()
        return removed if self._on_disk else forgotten

    async def close(self) -> None:
        """Empties memory and ends the use of the store; every later call is an error."""
        if self._tier is not None:
            self.__dict__.pop("get", None)
            self._hit = None
            self._tier.clear()
            self._tier = None
            self._made.clear()
        await self._blobs.close()
