"""`json`: pydantic models, dataclasses and plain data, through pydantic's own serializers.

Plain data comes back equal, or is refused: dicts with string keys, lists, strings, numbers, bools
and None, also subclasses of these. Tuples come back as lists. Integers have any size up to 4,299
digits. What has no JSON form of its own (NaN and infinities, sets, bytes, datetimes, Decimals,
UUIDs, keys that are no strings) would come back as something else, or not at all, and is refused
with its remedy: a pydantic model or dataclass that says the type, or `custom_json`.

Models and dataclasses, alone or inside lists and dicts, follow pydantic's rules and come back with
`model_class=`. Their field names are written; computed fields are not, nor those that the model
itself excludes (`Field(exclude=True)`). NaN in a float field is written as NaN, also where pydantic
would write null, so that it comes back. A field whose content contradicts its type is refused.
Values deeper than 200 levels, and circular ones, are refused.

The work is done on the calling thread; plan for 30 ms a MB to write and 30 to read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from itertools import chain
from math import isfinite
from typing import Any, ClassVar, Final

from holdall.errors import (
    DeserializationError,
    InvalidJSONError,
    OptionError,
    SerializationError,
)
from holdall.formats._codec import NO_OPTIONS, Options, Parts
from holdall.formats._imports import complete

MAX_DEPTH: Final = 200
"""Levels of nesting that pydantic's JSON reader follows."""

MAX_INTEGER: Final = 10**4_299
"""Integers from here on are more than the reader takes; some releases count the sign."""

_HARMLESS: Final = frozenset({str, bool, type(None)})
_TREE_DEPTH: Final = 8
_PLAIN: Final = frozenset({str, int, float, bool, type(None), dict, list, tuple})
_REMEDY: Final = "use a pydantic model or a dataclass that says the type, or the format custom_json"
_POSITION: Final = re.compile(r"^(?:Invalid JSON: )?(.*) at line (\d+) column (\d+)$", re.DOTALL)


class JsonCodec:
    """JSON that comes back equal."""

    name: ClassVar[str] = "json"
    encode_options: ClassVar[frozenset[str]] = NO_OPTIONS
    decode_options: ClassVar[frozenset[str]] = frozenset({"model_class", "upgrade"})
    heavy: ClassVar[bool] = False
    keeps_memory: ClassVar[bool] = False

    def encode(self, value: Any, options: Options) -> Parts:
        """The text, as UTF-8, without spaces."""
        if is_typed(type(value)):
            return _encode_typed(value)
        complete("pydantic_core")
        from pydantic_core import to_json, to_jsonable_python

        typed = check_plain(value)
        try:
            data = to_json(value, inf_nan_mode="constants", round_trip=True, by_alias=False)
            if typed and b"null" in data:
                plain = to_jsonable_python(
                    value, inf_nan_mode="constants", round_trip=True, by_alias=False
                )
                data = _with_nan(data, plain)
        except (ValueError, RecursionError) as error:
            raise _refused(type(value).__name__, error) from error
        if typed:
            _check_readable(data)
        return data

    def decode(self, data: bytes, options: Options) -> Any:
        """Plain data, or what `model_class` says: anything that pydantic's TypeAdapter takes."""
        complete("pydantic_core")
        from pydantic_core import ValidationError, from_json

        # Editors put a byte order mark before the text; it is no part of it.
        data = data.removeprefix(b"\xef\xbb\xbf")
        model_class = options.get("model_class")
        target = None if model_class is None else adapter(model_class)
        upgrade = options.get("upgrade")
        if upgrade is not None:
            data = _upgraded(data, upgrade)
        try:
            if target is None:
                return from_json(data)
            return target.validate_json(data, by_alias=True, by_name=True)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            if first["type"] == "json_invalid":
                raise _not_json(first["msg"], data) from None
            raise _mismatch(model_class, error) from error
        except (ValueError, RecursionError) as error:
            raise _not_json(str(error), data) from None
        except RuntimeError as error:
            if type(error).__module__ != "pydantic.errors":
                raise
            # A name in it that nobody has defined.
            raise no_model(model_class) from error


def _upgraded(data: bytes, upgrade: Any) -> bytes:
    """The text of what a caller's function makes of plain data, for a model to validate."""
    from pydantic_core import from_json, to_json

    try:
        plain = from_json(data)
    except ValueError as error:
        raise _not_json(str(error), data) from None
    try:
        return to_json(upgrade(plain), inf_nan_mode="constants", by_alias=False)
    except Exception as error:
        kind = type(error).__name__
        raise DeserializationError(
            f"upgrade= raised {kind}", remedy="look at __cause__, and let it take this value"
        ) from error


def is_typed(kind: type) -> bool:
    """Whether pydantic knows the fields of a class: a model or a dataclass."""
    return hasattr(kind, "__pydantic_serializer__") or hasattr(kind, "__dataclass_fields__")


def check_plain(value: Any) -> bool:
    """Refuses what would not come back equal; tells whether there are models inside.

    Level by level, each with a few passes that run in C, so that a large value costs little.
    """
    typed = False
    level: Iterable[Any] = (value,)
    for depth in range(MAX_DEPTH + 1):
        items = list(level)
        if not items:
            return typed
        following: list[Iterable[Any]] = []
        for kind in set(map(type, items)):
            if kind in _HARMLESS:
                continue
            if kind not in _PLAIN and is_typed(kind):
                typed = True
                continue
            members: list[Any] = [item for item in items if type(item) is kind]
            if issubclass(kind, dict):
                members = members if depth < _TREE_DEPTH else _each_once(members)
                _check_keys(members)
                following.extend([item.values() for item in members])
            elif issubclass(kind, list | tuple):
                following.extend(members if depth < _TREE_DEPTH else _each_once(members))
            else:
                _check_scalars(kind, members)
        level = chain.from_iterable(following)
    raise SerializationError(
        f"the value is circular, or nested more than {MAX_DEPTH} levels deep",
        "flatten it, or ask for the format pickle",
    )


def _each_once(containers: list[Any]) -> list[Any]:
    """Deep down, a container in two places is looked at once: doubling at each level is a lot."""
    return list({id(item): item for item in containers}.values())


def _check_keys(dicts: Iterable[dict[Any, Any]]) -> None:
    kinds = set(map(type, chain.from_iterable(dicts)))
    for kind in kinds - {str}:
        if not issubclass(kind, str):
            raise SerializationError(
                f"a dict has a key of the type {kind.__name__}, which would come back as a str",
                f"make the key a str, or {_REMEDY}",
            )


def _check_scalars(kind: type, members: list[Any]) -> None:
    if issubclass(kind, str):
        return
    if issubclass(kind, float):
        if not all(map(isfinite, members)):
            raise SerializationError(
                "NaN and infinities have no JSON form",
                "put None in their place, use a model with a float field, or the format pickle",
            )
    elif issubclass(kind, int):
        if max(members) >= MAX_INTEGER or min(members) <= -MAX_INTEGER:
            raise SerializationError(
                "an integer has more than 4,299 digits, which JSON readers refuse",
                "ask for the format pickle",
            )
    else:
        raise SerializationError(
            f"a {kind.__name__} has no JSON form that would come back equal", _instead_of(kind)
        )


def _instead_of(kind: type) -> str:
    """What to save in the place of a value of a type that JSON does not have."""
    module = kind.__module__.partition(".")[0]
    if module == "numpy":
        return "put value.item() in its place (of an array: value.tolist()), or use npy or pickle"
    if module == "datetime":
        return f"put value.isoformat() in its place, or {_REMEDY}"
    if issubclass(kind, bytes | bytearray | memoryview):
        return "save it alone, with the format bytes, or use the format pickle"
    if issubclass(kind, set | frozenset):
        return f"put sorted(value) in its place, or {_REMEDY}"
    return _REMEDY


def _encode_typed(value: Any) -> bytes:
    """A model or a dataclass, by its own serializer."""
    name = type(value).__name__
    try:
        own = adapter(type(value))
        data: bytes = own.dump_json(value, round_trip=True, warnings="error")
        if b"null" in data:
            data = _with_nan(data, own.dump_python(value, mode="json", round_trip=True))
    except (ValueError, TypeError, RecursionError) as error:
        raise _refused(name, error) from error
    _check_readable(data)
    return data


def _with_nan(data: bytes, plain: Any) -> bytes:
    """The text, where a null in it may stand for a NaN or an infinity in a model."""
    complete("pydantic_core")
    from pydantic_core import to_json

    return to_json(plain, inf_nan_mode="constants") if _has_nan(plain) else data


def _has_nan(plain: Any) -> bool:
    if isinstance(plain, float):
        return not isfinite(plain)
    if isinstance(plain, dict):
        return any(map(_has_nan, plain.values()))
    return isinstance(plain, list) and any(map(_has_nan, plain))


def _check_readable(data: bytes) -> None:
    """Refuses text that the reader would not take back: too deep, or an integer too long.

    Models can hold such values; plain data was looked through before. Text that only looks so,
    because its strings have brackets or digits in them, is decided by the reader itself.
    """
    is_long = len(data) >= len(_LONG_NUMBER) and _LONG_NUMBER in data.translate(_DIGITS)
    if not is_long and not _looks_too_deep(data):
        return
    complete("pydantic_core")
    from pydantic_core import from_json

    try:
        from_json(data)
    except ValueError as error:
        raise _refused("model", error) from error


def _looks_too_deep(data: bytes) -> bool:
    if data.count(b"[") + data.count(b"{") <= MAX_DEPTH:
        return False
    brackets = data.translate(None, _NO_BRACKETS)
    for _ in range(MAX_DEPTH):
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
        if not brackets:
            return False
    return True


_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_DIGITS: Final = bytes(48 if chr(byte).isdecimal() and byte < 128 else 120 for byte in range(256))
_LONG_NUMBER: Final = b"0" * 4_300


@lru_cache(maxsize=512)
def _cached_adapter(model_class: Any) -> Any:
    complete("pydantic.type_adapter")
    from pydantic import TypeAdapter

    return TypeAdapter(model_class)


def adapter(model_class: Any) -> Any:
    """Pydantic's TypeAdapter for a type, made once."""
    if isinstance(model_class, str):
        # Pydantic would evaluate it, whatever is in it.
        raise no_model(model_class)
    try:
        return _cached_adapter(model_class)
    except Exception as error:
        # What it is, is looked at there: an import for its name would cost every call.
        return _uncached_adapter(model_class, error)


def _uncached_adapter(model_class: Any, error: Exception) -> Any:
    complete("pydantic.type_adapter")
    from pydantic import TypeAdapter

    if isinstance(error, TypeError):
        # It cannot be a key of the cache.
        try:
            return TypeAdapter(model_class)
        except Exception as refusal:
            error = refusal
    raise no_model(model_class) from error


def no_model(model_class: Any) -> OptionError:
    """The error for what pydantic cannot make a model of."""
    return OptionError(
        f"pydantic cannot make a model of {getattr(model_class, '__name__', model_class)!s:.80}",
        "give a model, a dataclass, a TypedDict or a type of these, such as list[Recipe]",
    )


def _refused(name: str, error: Exception) -> SerializationError:
    words = str(error)
    if isinstance(error, RecursionError) or "depth" in words or "recursion" in words:
        cause, remedy = f"a {name} is nested too deeply for JSON", "flatten it"
    elif "out of range" in words:
        cause, remedy = f"a {name} has an integer of more than 4,299 digits", "use format pickle"
    elif "Circular" in words:
        cause, remedy = f"a {name} refers to itself", "save it with the format pickle"
    elif "surrogate" in words:
        cause, remedy = "a text has a lone surrogate, which has no UTF-8 form", "replace it"
    elif "utf-8" in words:
        cause = f"a {name} has bytes that are no UTF-8 text"
        remedy = (
            'set ser_json_bytes="base64" and val_json_bytes="base64" in its model_config, '
            "or use the format pickle"
        )
    else:
        cause = f"a {name} holds something that has no JSON form ({type(error).__name__})"
        remedy = _REMEDY
    return SerializationError(cause, remedy)


def _not_json(words: str, data: bytes) -> DeserializationError:
    """The parser's words with line, column and offset."""
    found = _POSITION.match(words)
    if "recursion limit" in words or "number out of range" in words or found is None:
        return DeserializationError(
            f"the stored text is more than the JSON reader takes ({words})",
            "read the file with a program of your own and save the value again",
        )
    line, column = int(found[2]), max(int(found[3]), 1)
    start = 0
    for _ in range(line - 1):
        start = data.find(b"\n", start) + 1
    pos = min(start + column - 1, len(data))
    return InvalidJSONError(found[1], lineno=line, colno=column, pos=pos)


def _mismatch(model_class: Any, error: Any) -> DeserializationError:
    name = getattr(model_class, "__name__", str(model_class))
    count = error.error_count()
    return DeserializationError(
        f"the stored JSON does not fit {name}: {count} {'error' if count == 1 else 'errors'}",
        "see __cause__ for the fields, or load without model_class to see what is there",
    )


CODEC: Final = JsonCodec()
