"""`string`: a `str` as UTF-8, character for character; no newline is translated, a BOM is kept."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from holdall.errors import DeserializationError, SerializationError
from holdall.formats._codec import NO_OPTIONS, Options, Parts


class StringCodec:
    """Text."""

    name: ClassVar[str] = "string"
    encode_options: ClassVar[frozenset[str]] = NO_OPTIONS
    decode_options: ClassVar[frozenset[str]] = NO_OPTIONS
    heavy: ClassVar[bool] = False
    keeps_memory: ClassVar[bool] = False

    def encode(self, value: Any, options: Options) -> Parts:
        """The text as UTF-8; a lone surrogate has no UTF-8 form and is refused."""
        if not isinstance(value, str):
            raise SerializationError(
                f"the format string takes a str, not {type(value).__name__}",
                "save str(value), or leave the format out",
            )
        try:
            return value.encode()
        except UnicodeEncodeError as error:
            raise SerializationError(
                f"the text has a lone surrogate at position {error.start}, which has no UTF-8 form",
                "replace it, or ask for the format pickle",
            ) from None

    def decode(self, data: bytes, options: Options) -> str:
        """The text."""
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise DeserializationError(
                f"the stored text is not UTF-8 at byte {error.start}",
                "mend the file, or save the value again",
            ) from None


CODEC: Final = StringCodec()
