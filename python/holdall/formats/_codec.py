"""What a format is: two functions between values and bytes, and the options that they take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import GenericAlias
from typing import Any, ClassVar, Protocol, TypeAlias, TypeGuard

from holdall.errors import DeserializationError, OptionError

Buffer: TypeAlias = bytes | bytearray | memoryview
Parts: TypeAlias = Buffer | Sequence[Buffer]
Options: TypeAlias = Mapping[str, Any]

NO_OPTIONS: frozenset[str] = frozenset()


def is_class(item: object) -> TypeGuard[type[Any]]:
    """Whether it is a class; `list[int]`, which Python 3.10 takes for one, is none."""
    return isinstance(item, type) and not isinstance(item, GenericAlias)


def instance(value: Any, options: Options) -> Any:
    """An object that came back as what it was, if it is one of the class asked for."""
    wanted = options.get("model_class")
    if wanted is None:
        return value
    if not is_class(wanted):
        raise OptionError(
            f"an object that was saved whole has a class, and {wanted!r} is none",
            "give a class, or leave model_class out",
        )
    if not isinstance(value, wanted):
        raise DeserializationError(
            f"the value is a {type(value).__name__}, not a {wanted.__name__}",
            "ask for its class, or leave model_class out",
        )
    return value


class Codec(Protocol):
    """A format knows bytes and values only: no file, no key, no log.

    Attributes:
        name: The word that `format=` takes.
        encode_options: The options that `encode` takes.
        decode_options: The options that `decode` takes.
        keeps_memory: Whether a value may keep the `bytearray` that it is decoded from.
        heavy: Whether the size of a value decides on which thread it is encoded and decoded.
    """

    name: ClassVar[str]
    encode_options: ClassVar[frozenset[str]]
    decode_options: ClassVar[frozenset[str]]
    heavy: ClassVar[bool]
    keeps_memory: ClassVar[bool]

    def encode(self, value: Any, options: Options) -> Parts:
        """The bytes of a value, in one part or several; `SerializationError` if it has none."""
        ...

    def decode(self, data: Any, options: Options) -> Any:
        """The value of the bytes; `DeserializationError` if they have none."""
        ...
