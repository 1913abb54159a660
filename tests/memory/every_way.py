"""Goes through every way of the extension, few times each, for a run under memcheck.

What memcheck finds are reads and writes outside of objects, uses after their end, and memory that
nobody can reach any more. The values are compared, so that a wrong answer fails too.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import tempfile
from pathlib import Path

import holdall
import holdall.sync
from holdall.testing import ManualClock


class Point:
    """Has no plain form, so it is pickled by Python."""

    def __init__(self, x: int) -> None:
        """A point."""
        self.x = x

    def __eq__(self, other: object) -> bool:
        """By value."""
        return isinstance(other, Point) and other.x == self.x

    __hash__ = None  # type: ignore[assignment]


def plain() -> list[object]:
    """Values that the extension pickles itself: repeats, circles, every length of integers."""
    numbers = [0, 1, -1, 255, 256, 65_536, -(2**31), 2**31, 2**63, -(2**63), 2**64, 10**100]
    shared = ["again", 1.5, None, True]
    circle: list[object] = [shared, shared]
    circle.append({"self": circle, "é\U0001f30d": (1, (2, (3,)), ())})
    return [numbers, shared, {"a": b"\x00" * 70_000, "b": "x" * 70_000}, circle, ("t", shared)]


async def memory(clock: ManualClock) -> None:
    """Hits, misses, evictions, ends of lives, callbacks, errors of arguments."""
    gone: list[object] = []
    cache = holdall.CacheManager(max_size=8, clock=clock, on_evict=lambda *told: gone.append(told))
    for number in range(50):
        await cache.set(f"k{number}", [number], ttl=number + 1)
        assert await cache.get(f"k{number}") == [number]
    assert await cache.get("none", "default") == "default"
    clock.advance(30)
    await cache.set_many({str(n): n for n in range(20)})
    await cache.get_many([str(n) for n in range(25)])
    await asyncio.gather(*(cache.get_or_set("once", lambda: 7) for _ in range(5)))
    for wrong in (1, None, "", "a\0", "\ud800"):
        with contextlib.suppress(TypeError, ValueError):
            await cache.get(wrong)  # type: ignore[arg-type]
    await cache.clear()
    assert gone
    cache.get("never awaited").close()


async def disk(folder: Path) -> None:
    """Every format, codec and way of reading and writing."""
    for options in ({}, {"inline_below": 4_096}, {"compression": "zstd"}, {"compression": "lz4"}):
        name = "-".join(map(str, options.values())) or "plain"
        async with holdall.StorageManager(folder / name, **options) as storage:
            blobs = storage.blobs
            for number, value in enumerate(plain()):
                await storage.set(f"pickle/{number}", value, format="pickle")
                assert repr(await blobs.load(f"pickle/{number}")) == repr(value)
            await blobs.save("own", Point(3), "pickle")
            assert await blobs.load("own") == Point(3)
            for value in (
                {"a": [1, None, "ü"]},
                "text",
                b"bytes",
                bytearray(b"more"),
                memoryview(b"v"),
            ):
                await storage.set("k", value)
                assert await storage.get("k") is not None
                assert await blobs.load("k") == value
            large = os.urandom(1 << 16) * 96
            await blobs.save("large", memoryview(bytearray(large)))
            assert await blobs.load("large") == large
            assert await blobs.read_range("large", 5, 10) == large[5:15]
            async with blobs.open("streamed", "wb") as out:
                await out.write(b"one")
                await out.write(memoryview(large))
            async with blobs.open("streamed", "rb") as back:
                assert await back.read(3) == b"one"
            results = await asyncio.gather(
                *(storage.get("missing") for _ in range(20)), *(storage.get("k") for _ in range(20))
            )
            assert results[0] is None
            cancelled = asyncio.ensure_future(blobs.save("cancelled", large))
            await asyncio.sleep(0)
            cancelled.cancel()
            await asyncio.gather(cancelled, return_exceptions=True)
            for wrong in ("no such key", "a/../b"):
                try:
                    await blobs.load(wrong)
                except FileNotFoundError as error:
                    assert wrong in str(error)
            assert [key async for key in blobs.keys("pickle/")]
            await blobs.clear()


def blocking(folder: Path) -> None:
    """The face without an event loop."""
    with holdall.sync.StorageManager(folder / "sync") as storage:
        for number in range(20):
            storage.set(f"k{number}", {"n": number})
        assert storage.get("k7") == {"n": 7}
        assert storage.blobs.load("k7") == {"n": 7}
        assert storage.blobs.metadata("k7").size > 0


def main() -> None:
    """Runs all of it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["HOLDALL_SIGNING_KEY"] = "sixteen bytes or more"
        asyncio.run(memory(ManualClock()))
        asyncio.run(disk(folder))
        blocking(folder)
        gc.collect()
    print("went through every way")


if __name__ == "__main__":
    main()
