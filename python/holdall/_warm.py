"""Methods of managers that are in use: closures over functions of the extension.

A method of a class looks up the manager, then the function, at every call; of an awaited hit of
some 100 ns that is a third. So a manager in use has these in front of those of its class.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from holdall._sentinels import DEFAULT
from holdall.types import Ttl

F = TypeVar("F", bound=Callable[..., Any])


def getter(look: Callable[[str, Any], Any], method: Callable[..., Any]) -> Callable[..., Any]:
    """`get` of a memory, where `look` finds the value or answers with the default."""

    async def get(key: str, default: Any = None) -> Any:
        return look(key, default)

    return _as(method, get)


def setter(keep: Callable[[str, Any, Ttl], None], method: Callable[..., Any]) -> Callable[..., Any]:
    """`set` of a memory."""

    async def set(key: str, value: Any, ttl: Ttl = DEFAULT) -> None:
        keep(key, value, ttl)

    return _as(method, set)


def _as(method: Callable[..., Any], made: F) -> F:
    """Gives a function the name and the documentation of the method that it stands for."""
    made.__name__, made.__qualname__ = method.__name__, method.__qualname__
    made.__doc__, made.__module__ = method.__doc__, method.__module__
    return made
