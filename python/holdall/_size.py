"""Is a value small enough to be pickled on the event loop's thread? A bounded look."""

from __future__ import annotations

import sys
from typing import Any

MAX_NODES = 1_000
MAX_BYTES = 64 * 1024
"""A payload above this is decoded, and a value above it encoded, on a codec thread."""

_SCALARS = frozenset({int, float, complex, bool, type(None), range})


def is_small(value: Any) -> bool:
    """Whether a value has at most 1,000 nodes and 64 KiB, looking at no more than that.

    An object of any other class counts as large: what its pickling costs is unknown.

    >>> is_small({"a": [1, 2, 3]}), is_small(list(range(5_000))), is_small(object())
    (True, False, False)
    """
    nodes = size = 0
    pending: list[Any] = [value]
    while pending:
        item = pending.pop()
        kind = type(item)
        nodes += 1
        if kind is str or kind is bytes or kind is bytearray:
            size += len(item)
        elif kind is int:
            size += item.bit_length() >> 3
        elif kind in _SCALARS:
            size += 8
        elif kind is dict:
            nodes += 2 * len(item)
            if nodes <= MAX_NODES:
                pending.extend(item.keys())
                pending.extend(item.values())
                nodes -= 2 * len(item)
        elif kind in (list, tuple, set, frozenset):
            nodes += len(item)
            if nodes <= MAX_NODES:
                pending.extend(item)
                nodes -= len(item)
        elif _is_plain_array(item):
            size += int(item.nbytes)
        else:
            return False
        if nodes + len(pending) > MAX_NODES or size > MAX_BYTES:
            return False
    return True


def _is_plain_array(item: Any) -> bool:
    """Whether it is a numpy array without objects; numpy is not imported to find out."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and type(item) is numpy.ndarray and not item.dtype.hasobject
