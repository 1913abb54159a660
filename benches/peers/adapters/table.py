"""What a memory peer hands out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


def nothing() -> None:
    """Closes what needs no closing."""


@dataclass(frozen=True)
class Table:
    """A cache's own bound methods; what it has not is `None`."""

    get: Callable[[Any], Any]
    set: Callable[..., Any]
    """Called as `set(key, value)`, and as `set(key, value, ttl)` if `ttl` is there."""
    ttl: Callable[[float], Any] | None = None
    """Seconds as this peer takes them, if each entry may have its own."""
    get_many: Callable[[Any], Any] | None = None
    """Of a list of keys."""
    set_many: Callable[[Any], Any] | None = None
    """Of a dict."""
    miss: Callable[[Any], bool] = lambda got: got is None
    start: Callable[[], Any] | None = None
    """Awaited before the first call, inside the event loop."""
    close: Callable[[], Any] = nothing
    length: Callable[[], int] | None = None


def seconds(count: float) -> float:
    """For peers that take seconds."""
    return count
