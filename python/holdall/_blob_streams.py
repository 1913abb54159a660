"""The part of `BlobManager` that reads and writes values piece by piece."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, overload

from holdall._arguments import (
    check_choice,
    check_key,
    check_span,
    check_tags,
    check_terms,
    check_ttl,
)
from holdall._blob_upkeep import described
from holdall._blobs import BlobCore, named
from holdall._sentinels import DEFAULT
from holdall.streams import BlobReader, BlobWriter, Opening
from holdall.types import Durability, Format, Ttl


class BlobStreams(BlobCore):
    """Streams and ranges of bytes."""

    @overload
    def open(self, key: str, mode: Literal["rb"] = "rb") -> Opening[BlobReader]: ...
    @overload
    def open(
        self,
        key: str,
        mode: Literal["wb"],
        format: Format = "bytes",
        *,
        ttl: Ttl = DEFAULT,
        tags: Iterable[str] = (),
        metadata: Mapping[str, Any] | None = None,
        if_absent: bool = False,
        if_match: str | None = None,
        durability: Durability | None = None,
    ) -> Opening[BlobWriter]: ...
    def open(
        self,
        key: str,
        mode: Literal["rb", "wb"] = "rb",
        format: Format = "bytes",
        *,
        ttl: Ttl = DEFAULT,
        tags: Iterable[str] = (),
        metadata: Mapping[str, Any] | None = None,
        if_absent: bool = False,
        if_match: str | None = None,
        durability: Durability | None = None,
    ) -> Opening[BlobReader] | Opening[BlobWriter]:
        """Opens a value to be read (`"rb"`) or written (`"wb"`) piece by piece.

        `async with storage.open(key) as reader:` or `reader = await storage.open(key)`. Every
        read and write goes to the disk on a thread of the engine; the event loop goes on.

        >>> import asyncio, tempfile
        >>> async def main(folder: str) -> None:
        ...     async with BlobManager(folder) as storage:
        ...         async with storage.open("log", "wb", "string") as writer:
        ...             await writer.write(b"started, ")
        ...             await writer.write(b"stopped")
        ...         async with storage.open("log") as reader:
        ...             print(await reader.read(7), reader.size)
        >>> from holdall import BlobManager
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     asyncio.run(main(folder))
        b'started' 16

        Args:
            key: Any key, as for `save`.
            mode: `"rb"` or `"wb"`.
            format: For `"wb"`: the format that the bytes are in, which is recorded and not
                checked; any but pickle and joblib, which are signed as they are encoded.
            ttl, tags, metadata, if_absent, if_match, durability: For `"wb"`: as for `save`; the
                conditions are asked when the value is placed.

        Raises:
            BlobNotFoundError: `"rb"`, and there is no value.
            BlobCorruptError: Damage shows without reading the value.
            InvalidKeyError, InvalidArgumentError: Before anything is touched.
            StorageIOError: The disk refused.
        """
        check_choice("mode", mode, ("rb", "wb"))
        check_key(key, "open")
        if mode == "rb":
            return Opening(lambda: self._reader(key))
        check_terms("open", None, if_absent, if_match, durability)
        about: dict[str, Any] = {
            "ttl": check_ttl(ttl, "open", key),
            "tags": check_tags(tags, "open", key),
            "metadata": None if metadata is None else described(metadata, key),
            "if_absent": if_absent,
            "if_match": if_match,
            "durability": durability,
        }
        name = named(format, "open", key)
        return Opening(lambda: self._writer(key, name, about))

    async def read_range(self, key: str, start: int, length: int) -> bytes:
        """Up to `length` bytes of a value from `start` on, fewer at its end; not checked.

        Reads only these bytes from the disk. Of pickles and joblib files they are a part of the
        unverified payload.

        Raises:
            BlobNotFoundError: There is no value.
            InvalidArgumentError: `start` or `length` is no whole number, zero or more.
            StorageIOError: The disk refused.
        """
        check_key(key, "read")
        start = check_span("start", start, "read", key)
        length = check_span("length", length, "read", key)
        store = await self._open("read", key)
        data: bytes = await self._wait(store.read_range(key, start, length))
        return data

    async def _reader(self, key: str) -> BlobReader:
        store = await self._open("open", key)
        return BlobReader(await self._wait(store.reader(key)), key, self._wait)

    async def _writer(self, key: str, format: str, about: Mapping[str, Any]) -> BlobWriter:
        store = await self._open("open", key)
        return BlobWriter(await self._wait(store.writer(key, format, **about)), key, self._wait)
