"""What is checked before anything is touched: keys, TTLs, batches, names from a short list."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from holdall._core import InvalidArgumentError, InvalidKeyError, ManualClock
from holdall._messages import told
from holdall._sentinels import DEFAULT, Default

_ZERO = timedelta(0)
_LONGEST = timedelta.max.total_seconds()
MOST = 2**63 - 1
"""What a number that is handed to the engine is cut to, where more makes no difference."""
MAX_INLINE = 65_536
"""The most bytes of an inline value, plus one."""
DURABILITIES = ("process", "disk")
EVICTIONS = ("least-recently-saved", "least-recently-used")
_KEY_REMEDY = "use a non-empty str that is valid UTF-8 and has no NUL"


def check_key(key: object, operation: str) -> str:
    """The key, if it is one; `InvalidKeyError` otherwise."""
    if not isinstance(key, str):
        cause = f"a key is a str, not {type(key).__name__}"
    elif not key:
        cause = "the key is empty"
    elif "\0" in key:
        cause = "the key has a NUL in it"
    elif not key.isascii() and not _is_utf8(key):
        cause = "the key has a lone surrogate in it"
    else:
        return key
    raise told(InvalidKeyError, cause, _KEY_REMEDY, operation=operation, key=key)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_keys(keys: Iterable[str], operation: str) -> list[str]:
    """The keys, each once, in the order asked; a single `str` is a mistake."""
    return list(dict.fromkeys(check_key(key, operation) for key in several(keys, operation)))


def several(keys: Iterable[str], operation: str) -> Iterable[str]:
    """An iterable of keys, which are not looked at; a single `str` is a mistake."""
    if isinstance(keys, list | tuple):
        return keys
    if isinstance(keys, str | bytes) or not isinstance(keys, Iterable):
        raise told(
            InvalidArgumentError,
            "keys is one key where several are expected"
            if isinstance(keys, str | bytes)
            else f"keys is an iterable of str, not {type(keys).__name__}",
            "put it into a list",
            operation=operation,
        )
    return keys


def check_ttl(
    ttl: object, operation: str, key: str | None = None
) -> float | timedelta | Default | None:
    """A TTL: seconds or a `timedelta`, more than zero; `None` for ever; DEFAULT."""
    if ttl is None:
        return None
    if ttl is DEFAULT:
        return DEFAULT
    if isinstance(ttl, timedelta):
        if ttl > _ZERO:
            return ttl
    elif isinstance(ttl, bool):
        pass
    elif isinstance(ttl, int | float) and 0 < ttl <= _LONGEST:
        return ttl
    raise told(
        InvalidArgumentError,
        f"a ttl of {ttl!r} is not a length of time"
        if isinstance(ttl, int | float | timedelta)
        else f"a ttl is a number or a timedelta, not {type(ttl).__name__}",
        "give seconds above zero, a timedelta above zero, or None for ever",
        operation=operation,
        key=key,
    )


def check_choice(name: str, value: Any, allowed: tuple[Any, ...]) -> None:
    """An argument that is one of a few words."""
    if value not in allowed:
        words = ", ".join(map(repr, allowed))
        raise told(InvalidArgumentError, f"{name}={value!r} is not allowed", f"use one of {words}")


def check_tags(tags: Iterable[str], operation: str, key: str | None = None) -> tuple[str, ...]:
    """Tags: non-empty strings, in any number; a single `str` is a mistake."""
    if tags == ():
        return ()
    is_several = isinstance(tags, Iterable) and not isinstance(tags, str | bytes)
    found = tuple(tags) if is_several else ()
    if not is_several or not all(isinstance(tag, str) and tag for tag in found):
        raise told(
            InvalidArgumentError,
            "tags are not a sequence of non-empty strings",
            'write tags=("one", "two")',
            operation=operation,
            key=key,
        )
    for tag in found:
        check_text("a tag", tag, operation, key)
    return found


def check_inline_below(value: object) -> None:
    """A number of bytes that a database keeps as well as files do."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_INLINE:
        raise told(
            InvalidArgumentError,
            f"inline_below={value!r} is not allowed"
            if isinstance(value, int | float)
            else f"inline_below is an int, not {type(value).__name__}",
            f"give a number of bytes from 0 to {MAX_INLINE:,}",
        )


def check_limits(**limits: object) -> None:
    """Arguments that are whole numbers, zero or more, or left out."""
    for name, value in limits.items():
        if value is None or value is DEFAULT:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise told(
                InvalidArgumentError,
                f"{name}={value!r} is not allowed"
                if isinstance(value, int | float)
                else f"{name} is an int, not {type(value).__name__}",
                "give a whole number, zero or more",
            )


def check_store_limits(
    max_entries: object, max_disk_bytes: object, eviction: object, clean_every: object
) -> None:
    """The options of a store that is to stay below a size."""
    for name, value in (("max_entries", max_entries), ("max_disk_bytes", max_disk_bytes)):
        if value is None:
            continue
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        if not isinstance(value, int) or not is_whole or value < 1:
            cause = f"{name} is a whole number, not {type(value).__name__}"
            if is_whole:
                cause = f"{name}={value} would keep nothing"
            raise told(InvalidArgumentError, cause, "give one or more, or None for no limit")
    check_choice("eviction", eviction, EVICTIONS)
    if clean_every is not None:
        check_seconds("clean_every", clean_every)
        if clean_every == 0:
            cause = "clean_every=0 would do nothing else"
            raise told(InvalidArgumentError, cause, "give seconds above zero, or None for never")


def wrong_type(name: str, value: object, expected: str, operation: str | None) -> Exception:
    """The error for an argument that is not of its type; the value is not shown."""
    return told(
        InvalidArgumentError,
        f"{name} is {expected}, not {type(value).__name__}",
        f"give {expected}",
        operation=operation,
    )


def check_text(name: str, value: object, operation: str | None, key: str | None = None) -> None:
    """An argument that is a `str` that has a UTF-8 form, or left out."""
    if value is None:
        return
    if not isinstance(value, str):
        raise wrong_type(name, value, "a str", operation)
    if not value.isascii() and not _is_utf8(value):
        raise told(
            InvalidArgumentError,
            f"{name} has a lone surrogate in it",
            "use text that is valid UTF-8",
            operation=operation,
            key=key,
        )


def check_flag(name: str, value: object, operation: str | None = None) -> None:
    """An argument that is True or False."""
    if not isinstance(value, bool):
        raise wrong_type(name, value, "a bool", operation)


def check_call(name: str, value: object, operation: str | None = None) -> None:
    """An argument that is called, or left out."""
    if value is not None and not callable(value):
        raise wrong_type(name, value, "a function", operation)


def check_plain_call(name: str, value: object, operation: str) -> None:
    """An argument that is called and not awaited, or left out."""
    check_call(name, value, operation)
    if value is None:
        return
    import inspect

    called = getattr(value, "__call__", None)  # noqa: B004  # an object may have an async one
    if inspect.iscoroutinefunction(value) or inspect.iscoroutinefunction(called):
        raise told(
            InvalidArgumentError,
            f"{name} is an async function, and nobody would await it",
            "give a plain function, which may start a task",
            operation=operation,
        )


def check_upgrade(
    upgrade: object,
    write_back: object,
    model_class: object,
    operation: str,
    key: str | None = None,
) -> None:
    """The arguments `upgrade` and `write_back` of a load, which need a model."""
    check_plain_call("upgrade", upgrade, operation)
    check_flag("write_back", write_back, operation)
    if model_class is None:
        raise told(
            InvalidArgumentError,
            "upgrade= and write_back= are for models",
            "name the model with model_class=",
            operation=operation,
            key=key,
        )


def check_mapping(name: str, value: object, operation: str) -> None:
    """An argument that is a mapping."""
    if not isinstance(value, Mapping):
        raise wrong_type(name, value, "a mapping", operation)


def check_path(value: object) -> None:
    """The option `base_path`: a path that the system can be given, or left out."""
    if not isinstance(value, str | os.PathLike | None):
        raise wrong_type("base_path", value, "a str or a path", None)
    try:
        if value is not None:
            os.fsencode(value)
    except UnicodeEncodeError:
        cause = "base_path has a character that no path can have"
        raise told(InvalidArgumentError, cause, "choose another base_path") from None


def check_secret(value: object) -> None:
    """The option `signing_key`; it is in no message."""
    if not isinstance(value, str | bytes | None):
        raise wrong_type("signing_key", value, "a str or bytes", None)
    if isinstance(value, str):
        check_text("signing_key", value, None)


def check_span(name: str, value: object, operation: str, key: str) -> int:
    """A number of bytes, zero or more; more than any file has is as good as that."""
    check_integer(name, value, operation)
    assert isinstance(value, int)
    if value < 0:
        raise told(
            InvalidArgumentError,
            f"{name}={value} is not allowed",
            "give a whole number, zero or more",
            operation=operation,
            key=key,
        )
    return min(value, MOST)


def check_integer(name: str, value: object, operation: str) -> None:
    """An argument that is a whole number."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong_type(name, value, "an int", operation)


def check_seconds(name: str, value: object) -> None:
    """An option that is a length of time in seconds, zero or more."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong_type(name, value, "a number of seconds", None)
    if not 0 <= value <= _LONGEST:
        raise told(InvalidArgumentError, f"{name}={value!r} is not allowed", "give zero or more")


def check_clock(value: object) -> None:
    """The option `clock`."""
    if value is not None and not isinstance(value, ManualClock):
        raise wrong_type("clock", value, "a holdall.testing.ManualClock", None)


def check_terms(
    operation: str,
    custom_encoder: object,
    if_absent: object,
    if_match: object,
    durability: object,
) -> None:
    """What a save is told beside key, value, TTL and tags."""
    if if_absent is not False:
        check_flag("if_absent", if_absent, operation)
    if if_match is not None:
        check_text("if_match", if_match, operation)
    if custom_encoder is not None:
        check_call("custom_encoder", custom_encoder, operation)
    if durability is not None:
        check_choice("durability", durability, DURABILITIES)
