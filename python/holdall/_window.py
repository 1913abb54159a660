"""How many saves of one event loop are under way; the others wait before they encode anything.

Ten thousand saves that are started at once would else encode their values one after the other in a
single turn of the loop, which nothing else gets into, and all their bytes would wait in memory.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final
from weakref import ref

if TYPE_CHECKING:
    import asyncio

MOST: Final = 512
"""Saves under way at a time: some groups that are placed together, a few ms of encoding."""


class Window:
    """The saves of one loop. Whoever waits goes in the order of asking."""

    __slots__ = ("_loop", "_under_way", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """With nothing under way."""
        # A thread remembers its last window, and should not keep a closed loop by that.
        self._loop = ref(loop)
        self._under_way = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    def belongs_to(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether it is the window of this loop."""
        return self._loop() is loop

    def enter(self) -> bool:
        """Takes a place if one is free and nobody waits for it."""
        if self._under_way >= MOST or self._waiting:
            return False
        self._under_way += 1
        return True

    async def turn(self) -> None:
        """Waits for a place, and takes it."""
        loop = self._loop()
        if loop is None:
            raise RuntimeError("the event loop of this save has gone")
        place = loop.create_future()
        self._waiting.append(place)
        try:
            await place
        except BaseException:
            if place.done() and not place.cancelled():
                # It was given just before: somebody else shall have it.
                self.leave()
            else:
                # A loop that was closed cannot be told.
                with suppress(RuntimeError):
                    place.cancel()
            raise

    def leave(self) -> None:
        """Gives a place back, or to the one who has waited longest."""
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                with suppress(RuntimeError):
                    place.set_result(None)
                    return
        self._under_way -= 1


class _Last(threading.local):
    window: Window | None = None


_LAST: Final = _Last()


def window_of(loop: asyncio.AbstractEventLoop) -> Window:
    """The window of the loop that runs on this thread."""
    window = _LAST.window
    if window is None or not window.belongs_to(loop):
        window = _LAST.window = Window(loop)
    return window
