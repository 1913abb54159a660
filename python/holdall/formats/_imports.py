"""Imports that are made when they are needed, and that a fork does not catch half-way.

A child that was forked while another thread imported a module has it half-made for ever, and waits
for a lock that nobody will give back. So a fork waits for the imports of holdall.
"""

from __future__ import annotations

import importlib
import os
import threading

_SECONDS = 10.0
"""How long a fork waits: the import may itself be waiting for the thread that forks."""

_complete: set[str] = set()
_importing = threading.RLock()
_held = threading.local()


def complete(name: str) -> None:
    """Makes sure that a module was imported to its end, before an import statement names it.

    Raises:
        ImportError: It is not there, or cannot be imported.
    """
    if name in _complete:
        return
    with _importing:
        importlib.import_module(name)
        _complete.add(name)


def _before_fork() -> None:
    _held.lock = _importing if _importing.acquire(timeout=_SECONDS) else None


def _after_in_parent() -> None:
    if _held.lock is not None:
        _held.lock.release()


def _after_in_child() -> None:
    # The thread that may hold it did not come along.
    global _importing
    _importing = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_in_parent, after_in_child=_after_in_child
    )
