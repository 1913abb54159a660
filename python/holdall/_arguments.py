"""What is checked before anything is touched: keys, TTLs, batches, names from a short list."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from holdall._core import InvalidArgumentError, InvalidKeyError
from holdall._messages import told
from holdall._sentinels import DEFAULT, Default

_ZERO = timedelta(0)
_LONGEST = timedelta.max.total_seconds()
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
    if isinstance(keys, str | bytes):
        raise told(
            InvalidArgumentError,
            "keys is one key where several are expected",
            "put it into a list",
            operation=operation,
        )
    return list(dict.fromkeys(check_key(key, operation) for key in keys))


def check_ttl(ttl: object, operation: str) -> float | timedelta | Default | None:
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
    )


def check_choice(name: str, value: Any, allowed: tuple[Any, ...]) -> None:
    """An argument that is one of a few words."""
    if value not in allowed:
        words = ", ".join(map(repr, allowed))
        raise told(InvalidArgumentError, f"{name}={value!r} is not allowed", f"use one of {words}")


def check_tags(tags: Iterable[str], operation: str) -> tuple[str, ...]:
    """Tags: non-empty strings, in any number; a single `str` is a mistake."""
    found = () if isinstance(tags, str | bytes) else tuple(tags)
    if isinstance(tags, str | bytes) or not all(isinstance(tag, str) and tag for tag in found):
        raise told(
            InvalidArgumentError,
            "tags are not a sequence of non-empty strings",
            'write tags=("one", "two")',
            operation=operation,
        )
    return found


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
