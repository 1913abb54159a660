"""One load for each missing key, however many callers, tasks, loops and threads ask for it.

A failure reaches all who wait and is not kept. Cancelling a waiter leaves the others; the load is
cancelled when nobody waits any more. A loader that would wait for itself gets an error.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Awaitable, Callable, Hashable
from concurrent.futures import Future
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from holdall._keeping import Writes, call
from holdall.errors import ReentrantLoadError

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")

_INSIDE: ContextVar[tuple[_Flight, ...]] = ContextVar("holdall_flights", default=())


class _Flight:
    """One load under way."""

    def __init__(self, key: Hashable, loop: asyncio.AbstractEventLoop | None) -> None:
        self.key = key
        self.loop = loop
        self.writes = Writes(_shown(key), loop)
        self.task: asyncio.Task[None] | None = None
        self.result: Future[Any] = Future()
        self.waiters = 0
        self.waits_for: list[_Flight] = []


class _AbandonedError(Exception):
    """The loop that ran the load ended before it did."""


class SingleFlight:
    """The table of loads under way."""

    def __init__(self) -> None:
        """Makes an empty table; in a forked child it is empty again."""
        self._forget()
        _TABLES.add(self)

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._flights: dict[Hashable, _Flight] = {}
        # No longer in the table, and in the middle of a write.
        self._leaving: weakref.WeakSet[_Flight] = weakref.WeakSet()

    def __len__(self) -> int:
        return len(self._flights)

    async def overtake(self, key: Hashable | None) -> None:
        """Notes that what the load of a key brings, or of every key (`None`), is too old.

        Whoever comes now loads anew. What it brings is not written any more, see `_keeping`; a
        write that has begun is waited for. Cancelling the call is safe: that much is noted.
        """
        for writes in self._overtaken(key):
            await writes.wait()

    def overtake_blocking(self, key: Hashable | None) -> None:
        """As `overtake`, on the calling thread."""
        for writes in self._overtaken(key):
            writes.wait_blocking()

    def _overtaken(self, key: Hashable | None) -> list[Writes]:
        with self._lock:
            for one in list(self._flights) if key is None else [key]:
                self._dismiss(one)
            return [one.writes for one in self._leaving if key is None or one.key == key]

    def _dismiss(self, key: Hashable) -> None:
        """Takes a load out of the table; the lock is held."""
        flight = self._flights.pop(key, None)
        if flight is not None and flight.writes.forbid():
            self._leaving.add(flight)

    def writes(self) -> Writes:
        """Those of the load that the caller is in."""
        return _INSIDE.get()[-1].writes

    def __contains__(self, key: Hashable) -> bool:
        """Whether a load of the key is under way, and is not overtaken."""
        return key in self._flights

    async def join(self, key: Hashable, load: Callable[[], Awaitable[T]]) -> T:
        """The value of `load()`, called here or by whoever asked first.

        Cancelling the call is safe: the load goes on as long as somebody waits for it.
        If the loop that loads ends first, a caller on another loop loads anew.

        Raises:
            ReentrantLoadError: The load of this key, or one that waits for it, asks for it.
        """
        import asyncio

        loop = asyncio.get_running_loop()
        while True:
            flight, first = self._enter(key, loop)
            try:
                if first:
                    flight.task = loop.create_task(self._fly(key, flight, load))
                    flight.task.add_done_callback(partial(self._landed, key, flight))
                value: T = await self._landing(flight, loop)
                return value
            except _AbandonedError:
                if flight.loop is loop:
                    raise asyncio.CancelledError from None
            finally:
                self._leave(key, flight)

    def join_blocking(self, key: Hashable, load: Callable[[], T]) -> T:
        """As `join`, on the calling thread."""
        while True:
            flight, first = self._enter(key, None)
            try:
                if first:
                    self._fly_here(key, flight, load)
                value: T = flight.result.result()
                return value
            except _AbandonedError:
                continue
            finally:
                self._leave(key, flight)

    def _fly_here(self, key: Hashable, flight: _Flight, load: Callable[[], Any]) -> None:
        token = _INSIDE.set((*_INSIDE.get(), flight))
        try:
            value = load()
        except Exception as error:
            self._remove(key, flight)
            flight.result.set_exception(error)
        except BaseException:
            # An interrupt is for this thread alone; another one takes the load over.
            self._remove(key, flight)
            flight.result.set_exception(_AbandonedError())
            raise
        else:
            self._remove(key, flight)
            flight.result.set_result(value)
        finally:
            _INSIDE.reset(token)

    def _enter(self, key: Hashable, loop: asyncio.AbstractEventLoop | None) -> tuple[_Flight, bool]:
        inside = _INSIDE.get()
        with self._lock:
            flight = self._flights.get(key)
            first = flight is None or (flight.loop is not None and flight.loop.is_closed())
            if flight is None or first:
                self._dismiss(key)
                flight = self._flights[key] = _Flight(key, loop)
            elif any(_reaches(flight, one) for one in inside if not one.result.done()):
                raise ReentrantLoadError(
                    "the loader of this key asks for the key itself and would wait for ever",
                    "compute the value in the loader without asking the same manager for it",
                    operation="load",
                    key=_shown(key),
                )
            flight.waiters += 1
            for one in inside:
                one.waits_for.append(flight)
        return flight, first

    def _leave(self, key: Hashable, flight: _Flight) -> None:
        with self._lock:
            flight.waiters -= 1
            for one in _INSIDE.get():
                if flight in one.waits_for:
                    one.waits_for.remove(flight)
            alone = flight.waiters == 0 and not flight.result.done()
            if alone and self._flights.get(key) is flight:
                # Whoever comes now starts anew rather than join what is being cancelled.
                self._dismiss(key)
        if alone and flight.task is not None and flight.loop is not None:
            call(flight.loop, flight.task.cancel)

    def _remove(self, key: Hashable, flight: _Flight) -> None:
        with self._lock:
            self._leaving.discard(flight)
            if self._flights.get(key) is flight:
                del self._flights[key]

    async def _fly(
        self, key: Hashable, flight: _Flight, load: Callable[[], Awaitable[Any]]
    ) -> None:
        _INSIDE.set((*_INSIDE.get(), flight))
        try:
            value = await load()
        except Exception as error:
            self._remove(key, flight)
            flight.result.set_exception(error)
        else:
            self._remove(key, flight)
            flight.result.set_result(value)

    def _landed(self, key: Hashable, flight: _Flight, _: object) -> None:
        """Runs when the task ends; one that was cancelled, maybe before it began, has no result."""
        self._remove(key, flight)
        if not flight.result.done():
            flight.result.set_exception(_AbandonedError())

    async def _landing(self, flight: _Flight, loop: asyncio.AbstractEventLoop) -> Any:
        """Waits with a future of this loop, so that cancelling it touches nobody else."""
        woken: asyncio.Future[None] = loop.create_future()

        def wake() -> None:
            if not woken.done():
                woken.set_result(None)

        flight.result.add_done_callback(lambda _: call(loop, wake))
        await woken
        return flight.result.result()


def _reaches(start: _Flight, target: _Flight) -> bool:
    """Whether one load waits, through others, for another."""
    seen: set[int] = set()
    pending = [start]
    while pending:
        flight = pending.pop()
        if flight is target:
            return True
        if id(flight) not in seen:
            seen.add(id(flight))
            pending.extend(flight.waits_for)
    return False


_TABLES: weakref.WeakSet[SingleFlight] = weakref.WeakSet()


def _forget_all() -> None:
    """In a forked child no load is under way, and the locks may be held by nobody."""
    for table in list(_TABLES):
        table._forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)


def _shown(key: Hashable) -> str | None:
    """The key of the value, for errors; whoever shares more puts it second in a tuple."""
    key = key[1] if isinstance(key, tuple) else key
    return key if isinstance(key, str) else None
