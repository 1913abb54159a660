"""Values that are read and written piece by piece, without `await`."""

from __future__ import annotations

import io
import os
from types import TracebackType
from typing import TYPE_CHECKING, Any

from holdall import streams as _awaited
from holdall._core import BlobMetadata
from holdall._driver import run

if TYPE_CHECKING:
    from typing_extensions import Self

    from holdall._core import Buffer

__all__ = ["BlobReader", "BlobWriter"]


class BlobReader(io.RawIOBase):
    """A value that is open for reading, as it was when it was opened: a raw binary file.

    What takes a binary file takes this one, `io.BufferedReader` and `io.TextIOWrapper` included.
    The checksum is compared by the read that reaches the end, if nothing was left out. Of pickles
    and joblib files it gives the payload *unverified*: never unpickle it, `load` does.
    """

    def __init__(self, reader: _awaited.BlobReader) -> None:
        """For `BlobManager.open` alone."""
        super().__init__()
        self._reader = reader

    @property
    def metadata(self) -> BlobMetadata:
        """What the store knows of the value."""
        return self._reader.metadata

    @property
    def size(self) -> int:
        """The length of the value in bytes, without its signature."""
        return self._reader.size

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def read(self, size: int | None = -1) -> bytes:
        """The next `size` bytes, fewer at the end only; without `size`, all that is left."""
        return run(self._reader.read(-1 if size is None else size))

    def readall(self) -> bytes:
        """All that is left."""
        return run(self._reader.read())

    def readinto(self, buffer: Any) -> int:
        """Fills a buffer; how many bytes that were, 0 at the end."""
        view = memoryview(buffer).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def tell(self) -> int:
        """Where the next read begins, in bytes."""
        return self._reader.tell()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Moves, in bytes from the beginning, from here (1) or from the end (2)."""
        return self._reader.seek(offset, whence)

    def close(self) -> None:
        """Lets go of the file; again is fine."""
        if not self.closed:
            run(self._reader.close())
        super().close()


class BlobWriter:
    """A value that is being written; nobody sees it, and the old one stays, until `close`.

    Left by an exception, or garbage, it leaves nothing behind.
    """

    def __init__(self, writer: _awaited.BlobWriter) -> None:
        """For `BlobManager.open` alone."""
        self._writer = writer

    @property
    def metadata(self) -> BlobMetadata | None:
        """The record of the value, once it is placed."""
        return self._writer.metadata

    @property
    def closed(self) -> bool:
        """Whether it was closed or given up."""
        return self._writer.closed

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: Buffer) -> int:
        """Appends bytes, or whatever has a contiguous buffer; how many bytes that were."""
        return run(self._writer.write(data))

    def flush(self) -> None:
        """Does nothing: the value is placed by `close`."""

    def close(self) -> BlobMetadata | None:
        """Places the value, whole or not at all; its record, `None` if it was given up."""
        return run(self._writer.close())

    def abort(self) -> None:
        """Gives the value up; the old one stays."""
        run(self._writer.abort())

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Places the value, or gives it up if the block was left by an exception."""
        if kind is None:
            self.close()
        else:
            self.abort()
