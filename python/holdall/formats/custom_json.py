"""`custom_json`: `json.dumps(value, default=custom_encoder)` and back with an object hook.

Python's own rules for JSON: the encoder is asked for what JSON has no form for (a `datetime`, a
set), tuples come back as lists, keys that are numbers as strings. Without a decoder what the
encoder wrote comes back as it was written.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar, Final

from holdall.errors import DeserializationError, InvalidJSONError, SerializationError
from holdall.formats._codec import Options, Parts


class CustomJsonCodec:
    """JSON with the caller's own encoder and decoder."""

    name: ClassVar[str] = "custom_json"
    encode_options: ClassVar[frozenset[str]] = frozenset({"custom_encoder"})
    decode_options: ClassVar[frozenset[str]] = frozenset({"custom_decoder"})
    heavy: ClassVar[bool] = False
    keeps_memory: ClassVar[bool] = False

    def encode(self, value: Any, options: Options) -> Parts:
        """The text of `json.dumps`, as UTF-8."""
        encoder = options.get("custom_encoder")
        try:
            return json.dumps(value, default=encoder, ensure_ascii=False).encode()
        except MemoryError:
            raise
        except RecursionError as error:
            raise SerializationError("the value is nested too deeply for JSON", "flatten it") from (
                error
            )
        except Exception as error:
            cause = "the custom_encoder or json.dumps refused a value"
            if encoder is None:
                cause = "json.dumps refused a value"
            raise SerializationError(
                f"{cause} ({type(error).__name__})",
                "give a custom_encoder that returns a str, number, list, dict or None for it",
            ) from error

    def decode(self, data: bytes, options: Options) -> Any:
        """What `json.loads` makes of it, each object through the decoder."""
        try:
            return json.loads(data, object_hook=options.get("custom_decoder"))
        except json.JSONDecodeError as error:
            raise InvalidJSONError(
                error.msg, lineno=error.lineno, colno=error.colno, pos=error.pos
            ) from None
        except MemoryError:
            raise
        except Exception as error:
            raise DeserializationError(
                f"the custom_decoder or json.loads refused the stored text "
                f"({type(error).__name__})",
                "read it without the decoder to see what is there",
            ) from error


CODEC: Final = CustomJsonCodec()
