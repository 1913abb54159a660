"""The part of `BlobManager` that looks at values and moves them, without their content."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Iterable, Mapping
from datetime import datetime, timezone
from typing import Any, cast

from holdall import formats
from holdall._arguments import (
    check_flag,
    check_key,
    check_keys,
    check_limits,
    check_mapping,
    check_tags,
    check_text,
    check_ttl,
    wrong_type,
)
from holdall._blobs import BlobCore
from holdall._core import BlobMetadata, ConflictError, HoldallError, abandon
from holdall._messages import told
from holdall._sentinels import DEFAULT
from holdall.errors import BatchError, InvalidArgumentError, during
from holdall.types import BlobStats, CleaningReport, Ttl


class BlobUpkeep(BlobCore):
    """Existence, metadata, keys, statistics; delete, touch, rename, copy, clear."""

    async def exists(self, key: str) -> bool:
        """Whether there is a value under the key that has not expired; it is not read."""
        check_key(key, "look for")
        store = await self._open("look for", key)
        return await self._wait(store.exists(key))

    async def metadata(self, key: str) -> BlobMetadata:
        """What the store knows of a value; it is not read.

        Raises:
            BlobNotFoundError: There is no value.
        """
        check_key(key, "describe")
        store = await self._open("describe", key)
        return await self._wait(store.head(key))

    async def keys(
        self,
        prefix: str = "",
        *,
        after: str | None = None,
        limit: int | None = None,
        page_size: int = 5_000,
    ) -> AsyncIterator[str]:
        """The keys in order of their UTF-8 bytes: `async for key in storage.keys("users/")`.

        No transaction is held open between pages, and the next page is read while one is given
        out: a key that comes or goes meanwhile may be seen or not, any other is seen once.

        Args:
            prefix: Only keys that begin with this.
            after: Only keys after this one; the last key of one page starts the next.
            limit: At most so many.
            page_size: Keys that are asked from the engine at a time.
        """
        pages = self._key_pages(prefix, after, limit, page_size)
        try:
            async for page in pages:
                for key in page:
                    yield key
        finally:
            await pages.aclose()

    async def _key_pages(
        self, prefix: str, after: str | None, limit: int | None, page_size: int
    ) -> AsyncGenerator[list[str], None]:
        """The keys in lists of at most `page_size`."""
        if not isinstance(prefix, str):
            raise wrong_type("prefix", prefix, "a str", "list keys")
        check_text("prefix", prefix, "list keys")
        check_text("after", after, "list keys")
        check_limits(limit=limit, page_size=page_size)
        if page_size < 1:
            raise told(
                InvalidArgumentError,
                "a page has at least one key",
                "give page_size=1 or more",
                operation="list keys",
            )
        store = await self._open("list keys")
        page_size = min(page_size, _LARGEST_PAGE)
        left = limit
        coming: Awaitable[list[str]] | None = None
        try:
            while left is None or left > 0:
                size = page_size if left is None else min(page_size, left)
                page = await self._wait(coming or store.keys(prefix, after, size))
                coming = None
                left = None if left is None else left - len(page)
                is_last = len(page) < size or left == 0
                if not is_last:
                    after = page[-1]
                    if left is None and not self._driver.blocking:
                        coming = store.keys(prefix, after, size)
                yield page
                if is_last:
                    return
        finally:
            if coming is not None:
                # Nobody takes it any more.
                abandon(coming)
                if not coming.cancel() and not coming.cancelled():  # type: ignore[attr-defined]
                    coming.exception()  # type: ignore[attr-defined]

    async def get_stats(self) -> BlobStats:
        """`entries`, `total_size` in bytes, `folder` and more, in constant time."""
        store = await self._open("get statistics")
        stats = await self._wait(store.stats())
        stats["folder"] = str(self.base_path)
        return cast(BlobStats, stats)

    # -- change ---------------------------------------------------------------------------------

    async def delete(self, key: str, *, if_match: str | None = None) -> bool:
        """Removes a value; whether there was one.

        Raises:
            ConflictError: It does not have the etag `if_match`.
        """
        check_key(key, "delete")
        check_text("if_match", if_match, "delete")
        store = await self._open("delete", key)
        return await self._wait(store.delete(key, if_match))

    async def delete_many(self, keys: Iterable[str]) -> int:
        """Removes several values; how many there were.

        Raises:
            BatchError: Some could not be removed.
        """
        wanted = check_keys(keys, "delete")
        store = await self._open("delete")
        done: dict[str, bool] = {}
        errors: dict[str, HoldallError] = {}
        results = await self._wait(store.delete_many(wanted))
        for key, result in zip(wanted, results, strict=True):
            if isinstance(result, HoldallError):
                errors[key] = result
            else:
                done[key] = result
        if errors:
            raise BatchError("delete", done, errors)
        return sum(done.values())

    async def touch(self, key: str, ttl: Ttl = DEFAULT) -> BlobMetadata:
        """Lets a value live for `ttl` from now, in seconds or as a `timedelta`; left out, for ever.

        Raises:
            BlobNotFoundError: There is no value.
        """
        check_key(key, "touch")
        ttl = check_ttl(ttl, "touch", key)
        store = await self._open("touch", key)
        return await self._wait(store.touch(key, ttl))

    async def rename(self, source: str, target: str, *, overwrite: bool = False) -> BlobMetadata:
        """Moves a value to another key, in one step.

        Raises:
            BlobNotFoundError: There is no value under `source`.
            ConflictError: There is one under `target`, and `overwrite` is false.
        """
        check_key(source, "rename")
        check_key(target, "rename")
        check_flag("overwrite", overwrite, "rename")
        store = await self._open("rename", source)
        return await self._wait(store.rename(source, target, overwrite))

    async def copy(self, source: str, target: str, *, overwrite: bool = False) -> BlobMetadata:
        """Writes the value of one key under another as well; errors as for `rename`."""
        check_key(source, "copy")
        check_key(target, "copy")
        check_flag("overwrite", overwrite, "copy")
        store = await self._open("copy", source)
        return await self._wait(store.copy(source, target, overwrite))

    async def evict(self, tag: str) -> int:
        """Removes the values that have a tag; how many. One that is saved anew meanwhile stays.

        Raises:
            HoldallError: One of them cannot be removed; the others are, before it is raised.
        """
        check_tags((tag,), "evict")
        store = await self._open("evict")
        after: str | None = None
        removed = 0
        failed: HoldallError | None = None
        while page := await self._wait(store.tagged(tag, after, 1_000)):
            for record in page:
                try:
                    removed += await self._wait(store.delete(record.key, record.etag))
                except ConflictError:
                    continue
                except HoldallError as error:
                    # One value that is in the way does not keep the rest.
                    failed = failed or error
            after = page[-1].key
        if failed is not None:
            raise failed
        return removed

    async def expire(self) -> int:
        """Removes the files of values that have expired, now; how many.

        A file whose record is damaged stays for `repair()`: nobody knows for sure when it ends.
        """
        store = await self._open("expire")
        return await self._wait(store.expire())

    async def clean_up(self) -> CleaningReport:
        """Removes what has expired and, where there are limits, the values that are too many, now.

        The oldest go, as `eviction` says, until there are 95 % of `max_entries` and of
        `max_disk_bytes`. A value that is saved anew meanwhile stays; files of other programs
        neither count nor go. The same happens by itself, in the background: when a save exceeds
        a limit, and every `clean_every` seconds while values expire.

        Raises:
            StoreBusyError: Another process does it, and has not ended within `lock_timeout`.
            HoldallError: A value cannot be removed; the others are, before it is raised.
        """
        store = await self._open("clean up")
        return CleaningReport(*await self._wait(store.clean_up()))

    async def clear(self) -> int:
        """Removes every value that holdall placed, and no other file; how many."""
        store = await self._open("clear")
        return await self._wait(store.clear())

    async def close(self) -> None:
        """Ends the use of the store by this manager; every later call is an error."""
        store, self._store, self._closed = self._store, None, True
        self._made.clear()
        if store is not None:
            await self._wait(store.close())

    # -- helpers --------------------------------------------------------------------------------

    def _remaining(self, record: BlobMetadata) -> float | None:
        """Seconds that a value has left; `None` for ever."""
        if record.expires_at is None:
            return None
        now = datetime.now(timezone.utc) if self._clock is None else self._clock.now()
        return max((record.expires_at - now).total_seconds(), 0.001)


_LARGEST_PAGE = 1_000_000


def described(metadata: Mapping[str, Any], key: str) -> bytes:
    """The metadata of a value as JSON, under the rules of the format json."""
    check_mapping("metadata", metadata, "save")
    try:
        data = formats.FORMATS["json"].encode(dict(metadata), {})
    except HoldallError as error:
        during(error, "save the metadata of", key)
        raise
    assert isinstance(data, bytes)
    return data
