"""How much memory this process holds: what was asked for and not given back.

What the system counts (RssAnon) is more: allocators keep what is free, in pieces and in a part of
their own for each thread, and give back what they please. With `EXACT` in its environment a process
counts every byte, those of Python's objects too.
"""

from __future__ import annotations

import ctypes
import gc

EXACT = {
    # Python's own allocator would keep small objects apart, each thread of C those that it freed.
    "PYTHONMALLOC": "malloc",
    "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0:glibc.malloc.arena_max=1",
}


class _MallInfo(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


def held() -> int | None:
    """Bytes in use, after a collection of garbage; `None` where the C library does not tell."""
    try:
        mallinfo = ctypes.CDLL(None).mallinfo2
    except AttributeError:
        return None
    mallinfo.restype = _MallInfo
    gc.collect()
    info = mallinfo()
    return int(info.uordblks) + int(info.hblkhd)
