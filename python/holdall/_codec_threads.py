"""The two threads on which large values are encoded and decoded while the event loop runs.

They are made when first needed and once more in a forked child. They are daemons: a long pickle
does not keep the interpreter from ending.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")
Job = tuple["Future[Any]", Callable[..., Any], tuple[Any, ...]]

THREADS = 2


class CodecThreads:
    """A fixed number of daemon threads that take calls from one queue."""

    def __init__(self) -> None:
        """Makes the queue; the threads start with the first call."""
        self._forget()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        """In a forked child no thread came along, and the lock may be held by one that did not."""
        self._lock = threading.Lock()
        self._jobs: SimpleQueue[Job] = SimpleQueue()
        self._started = 0

    def submit(self, function: Callable[..., T], *args: Any) -> Future[T]:
        """Calls the function on one of the threads."""
        future: Future[T] = Future()
        if self._started < THREADS:
            with self._lock:
                if self._started < THREADS:
                    self._started += 1
                    threading.Thread(
                        target=_work,
                        args=(self._jobs,),
                        name=f"holdall-codec-{self._started}",
                        daemon=True,
                    ).start()
        self._jobs.put((future, function, args))
        return future


def _work(jobs: SimpleQueue[Job]) -> None:
    while True:
        future, function, args = jobs.get()
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(function(*args))
            except BaseException as error:
                future.set_exception(error)
        # Nothing of a finished call may live until the next one.
        del future, function, args


CODEC_THREADS = CodecThreads()
