"""`bytes`: a bytes-like object as it is; what comes back is `bytes`."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from holdall.errors import SerializationError
from holdall.formats._codec import NO_OPTIONS, Options, Parts


class BytesCodec:
    """Raw bytes."""

    name: ClassVar[str] = "bytes"
    encode_options: ClassVar[frozenset[str]] = NO_OPTIONS
    decode_options: ClassVar[frozenset[str]] = NO_OPTIONS
    heavy: ClassVar[bool] = False
    keeps_memory: ClassVar[bool] = False

    def encode(self, value: Any, options: Options) -> Parts:
        """The bytes themselves, not copied; of a memoryview, its items in C order."""
        if isinstance(value, bytes | bytearray):
            return value
        if isinstance(value, memoryview):
            return value.cast("B") if value.c_contiguous and value.nbytes else value.tobytes()
        raise SerializationError(
            f"the format bytes takes bytes, bytearray or memoryview, not {type(value).__name__}",
            "save bytes(value), or leave the format out",
        )

    def decode(self, data: bytes, options: Options) -> bytes:
        """The bytes."""
        return data


CODEC: Final = BytesCodec()
