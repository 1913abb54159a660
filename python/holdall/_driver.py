"""How work that takes time is waited for: with asyncio, or on the calling thread.

The managers are written once, as coroutines. `AsyncDriver` runs them on an event loop.
`BlockingDriver` never lets them suspend, so that `run` can drive them without one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Protocol, TypeVar

from holdall._codec_threads import CODEC_THREADS
from holdall._single_flight import SingleFlight
from holdall._window import Window, window_of

T = TypeVar("T")


class Driver(Protocol):
    """What a manager needs from the world that it runs in."""

    @property
    def blocking(self) -> bool: ...

    async def offload(self, function: Callable[..., T], *args: Any) -> T:
        """Calls a function that takes long, while the event loop runs if there is one."""
        ...

    def window(self) -> Window | None:
        """What bounds the saves that are under way, if several can be."""
        ...

    async def share(
        self, flights: SingleFlight, key: Hashable, load: Callable[[], Awaitable[T]]
    ) -> T:
        """Loads a key once for all who ask at the same time."""
        ...

    async def overtake(self, flights: SingleFlight, key: Hashable | None) -> None:
        """Lets nothing be kept of the load of a key, or of all (`None`), see `SingleFlight`."""
        ...


class AsyncDriver:
    """For event loops: long calls run on the codec threads."""

    blocking = False

    async def offload(self, function: Callable[..., T], *args: Any) -> T:
        """Calls the function on a codec thread."""
        import asyncio

        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise RuntimeError(
                "there is no running event loop: await this in asyncio, or use holdall.sync"
            ) from None
        return await asyncio.wrap_future(CODEC_THREADS.submit(function, *args), loop=loop)

    def window(self) -> Window | None:
        """That of the running loop; without one, whoever needs it says so."""
        import asyncio

        try:
            return window_of(asyncio.get_running_loop())
        except RuntimeError:
            return None

    async def share(
        self, flights: SingleFlight, key: Hashable, load: Callable[[], Awaitable[T]]
    ) -> T:
        """Joins the load under way on whatever loop, or starts it here."""
        return await flights.join(key, load)

    async def overtake(self, flights: SingleFlight, key: Hashable | None) -> None:
        """The loop runs while a write that has begun is waited for."""
        await flights.overtake(key)


class BlockingDriver:
    """For code without an event loop: long calls run on the calling thread."""

    blocking = True

    async def offload(self, function: Callable[..., T], *args: Any) -> T:
        """Calls the function."""
        return function(*args)

    def window(self) -> Window | None:
        """None: one call at a time."""
        return None

    async def share(
        self, flights: SingleFlight, key: Hashable, load: Callable[[], Awaitable[T]]
    ) -> T:
        """Waits for the thread that loads the key, or is that thread."""
        return flights.join_blocking(key, lambda: run(load()))

    async def overtake(self, flights: SingleFlight, key: Hashable | None) -> None:
        """The thread waits for a write that has begun on another one."""
        flights.overtake_blocking(key)


def run(work: Awaitable[T]) -> T:
    """Runs a coroutine that never waits, and returns its value.

    >>> async def seven() -> int:
    ...     return 7
    >>> run(seven())
    7

    Raises:
        RuntimeError: It did wait for something, which only an event loop can bring.
    """
    steps = work.__await__()
    try:
        next(steps)
    except StopIteration as done:
        value: T = done.value
        return value
    close = getattr(steps, "close", None)
    if close is not None:
        close()
    raise RuntimeError(
        "a call without await had to wait for an event loop; "
        "use the classes of holdall, not of holdall.sync, with async functions"
    )
