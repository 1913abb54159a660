"""Writes of what a load has brought: each comes before what overtakes the load, or never.

Whoever overtakes a load forbids its writes, and waits for the one that has begun. Only the call of
the engine is waited for, and no code of a user: neither a loader nor an encoding.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio


class OvertakenError(Exception):
    """The load was overtaken before it wrote anything."""


class Writes:
    """Those of the load of one key; entered around each of them.

    Raises:
        OvertakenError: On entering, if the load was overtaken or given up.
    """

    def __init__(self, key: str | None, loop: asyncio.AbstractEventLoop | None) -> None:
        """With none under way; `loop` is that of the load, `None` without one."""
        self.key = key
        self.forbidden = False
        self._loop = loop
        self._lock = threading.Lock()
        self._depth = 0
        self._thread = 0
        self._ended: Future[None] | None = None

    def __enter__(self) -> None:
        with self._lock:
            if self.forbidden:
                raise OvertakenError
            if self._ended is None:
                self._thread, self._ended = threading.get_ident(), Future()
            self._depth += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._depth -= 1
            if self._depth:
                return
            ended, self._ended = self._ended, None
        if ended is not None:
            ended.set_result(None)

    def forbid(self) -> bool:
        """Lets no other write begin; whether one has begun."""
        with self._lock:
            self.forbidden = True
            return self._ended is not None

    async def wait(self) -> None:
        """Waits for the write under way, unless its loop has stopped and may never go on."""
        ended = self._ended
        if ended is None:
            return
        import asyncio

        here, loop = asyncio.get_running_loop(), self._loop
        woken = here.create_future()

        def wake() -> None:
            if not woken.done():
                woken.set_result(None)

        ended.add_done_callback(lambda _: call(here, wake))
        while not ended.done() and (loop is None or loop.is_running()):
            await asyncio.wait([woken], timeout=None if loop is here else _LOOK)

    def wait_blocking(self) -> None:
        """As `wait`, on the calling thread; a finalizer may run in the middle of a write."""
        ended = self._ended
        if ended is not None and self._thread != threading.get_ident():
            ended.result()


_LOOK: Final = 0.05
"""Seconds until another loop is looked at again."""

_KEEPING: ContextVar[Writes | None] = ContextVar("holdall_keeping", default=None)
_NOTHING: Final[AbstractContextManager[None]] = nullcontext()


@contextmanager
def keeping(writes: Writes) -> Generator[None]:
    """Makes writes of the key, by the caller, those of its load."""
    token = _KEEPING.set(writes)
    try:
        yield
    finally:
        # A task that was never finished is closed wherever it is collected.
        with suppress(ValueError):
            _KEEPING.reset(token)


def writing(key: str) -> AbstractContextManager[None]:
    """Around the write of a key: that of a load, or any other."""
    writes = _KEEPING.get()
    return _NOTHING if writes is None or writes.key != key else writes


def call(loop: asyncio.AbstractEventLoop, function: Callable[[], object]) -> None:
    """Calls on the thread of a loop; a loop that was closed has nobody waiting."""
    try:
        loop.call_soon_threadsafe(function)
    except RuntimeError:
        return
