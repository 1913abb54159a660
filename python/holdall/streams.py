"""Values that are read and written piece by piece: what `BlobManager.open` gives."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from holdall._core import (
    BlobMetadata,
    InvalidArgumentError,
    StoreClosedError,
    ValueReader,
    ValueWriter,
)
from holdall._messages import told

if TYPE_CHECKING:
    from holdall._core import Buffer

    Wait = Callable[[Awaitable[Any]], Awaitable[Any]]

__all__ = ["BlobReader", "BlobWriter"]

CHUNK = 1024 * 1024


def _closed(key: str, operation: str) -> StoreClosedError:
    return told(StoreClosedError, "it was closed", "open it anew", operation=operation, key=key)


class BlobReader:
    """A value that is open for reading, as it was when it was opened.

    What is saved under its key later does not change it. Its checksum is compared by the read
    that reaches the end, if the value was read from its beginning without leaving anything out.
    Of pickles and joblib files it gives the payload *unverified*: never unpickle it, `load` does.
    """

    def __init__(self, reader: ValueReader, key: str, wait: Wait) -> None:
        """For `BlobManager.open` alone."""
        self._reader = reader
        self._key = key
        self._wait = wait
        self._position = 0
        self._is_closed = False

    @property
    def metadata(self) -> BlobMetadata:
        """What the store knows of the value."""
        return self._reader.metadata

    @property
    def size(self) -> int:
        """The length of the value in bytes, without its signature."""
        return self._reader.size

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._is_closed

    async def read(self, size: int = -1) -> bytes:
        """The next `size` bytes, fewer at the end only; without `size`, all that is left.

        Cancelled, it has read nothing: the next read begins where this one would have.

        Raises:
            BlobCorruptError: The content is not the one that was saved.
            StoreClosedError: It was closed.
            StorageIOError: The disk refused.
        """
        if self._is_closed:
            raise _closed(self._key, "read")
        left = max(self.size - self._position, 0)
        data: bytes = await self._wait(
            self._reader.read(self._position, left if size < 0 else min(size, left))
        )
        self._position += len(data)
        return data

    def tell(self) -> int:
        """Where the next read begins, in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Moves, in bytes from the beginning, from here (1) or from the end (2); reads nothing.

        Raises:
            InvalidArgumentError: The place lies before the beginning.
        """
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}.get(whence)
        if start is None or start + offset < 0:
            raise told(
                InvalidArgumentError,
                "a place lies at or behind the beginning",
                "seek(offset, whence) takes whence 0, 1 or 2, as files do",
                operation="read",
                key=self._key,
            )
        self._position = start + offset
        return self._position

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The rest of the value in pieces of one MiB."""
        while piece := await self.read(CHUNK):
            yield piece

    async def close(self) -> None:
        """Lets go of the file; again is fine."""
        if not self._is_closed:
            self._is_closed = True
            await self._wait(self._reader.close())

    async def __aenter__(self) -> BlobReader:
        """Itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Closes it."""
        await self.close()


class BlobWriter:
    """A value that is being written; nobody sees it, and the old one stays, until `close`.

    Left by an exception, or garbage, it leaves nothing behind.
    """

    def __init__(self, writer: ValueWriter, key: str, wait: Wait) -> None:
        """For `BlobManager.open` alone."""
        self._writer = writer
        self._key = key
        self._wait = wait
        self._is_closed = False
        self._metadata: BlobMetadata | None = None

    @property
    def metadata(self) -> BlobMetadata | None:
        """The record of the value, once it is placed."""
        return self._metadata

    @property
    def closed(self) -> bool:
        """Whether it was closed or given up."""
        return self._is_closed

    async def write(self, data: Buffer) -> int:
        """Appends bytes, or whatever has a contiguous buffer; how many bytes that were.

        Await one before the next. After an error, or cancelled, the value cannot be completed:
        part of `data` may have been written, so it is given up.

        Raises:
            InvalidArgumentError: The value grows beyond `max_value_bytes`.
            StoreClosedError: It was closed.
            StorageIOError: The disk refused.
        """
        if self._is_closed:
            raise _closed(self._key, "write")
        try:
            written: int = await self._wait(self._writer.write(data))
        except TypeError:
            raise
        except BaseException:
            self._is_closed = True
            # Not awaited: after a cancellation nobody waits any more.
            self._writer.abort()
            raise
        return written

    async def close(self) -> BlobMetadata | None:
        """Places the value, whole or not at all; its record, `None` if it was given up.

        Raises:
            ConflictError: `if_absent` or `if_match` does not hold.
            StorageIOError: The disk refused.
        """
        if not self._is_closed:
            self._is_closed = True
            self._metadata = await self._wait(self._writer.finish())
        return self._metadata

    async def abort(self) -> None:
        """Gives the value up; the old one stays."""
        if not self._is_closed:
            self._is_closed = True
            await self._wait(self._writer.abort())

    async def __aenter__(self) -> BlobWriter:
        """Itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Places the value, or gives it up if the block was left by an exception."""
        await (self.close() if kind is None else self.abort())


S = TypeVar("S", bound="BlobReader | BlobWriter")


class Opening(Generic[S]):
    """What `open` returns: await it, or use it with `async with`."""

    def __init__(self, begin: Callable[[], Awaitable[S]]) -> None:
        """Nothing is opened yet."""
        self._begin = begin
        self._stream: S | None = None

    def __await__(self) -> Generator[Any, Any, S]:
        """Opens it."""
        return self._begin().__await__()

    async def __aenter__(self) -> S:
        """Opens it."""
        self._stream = await self._begin()
        return self._stream

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Closes it, or gives up what was written if the block was left by an exception."""
        if self._stream is not None:
            await self._stream.__aexit__(kind, error, trace)
