"""The event loop goes on while large values are saved and loaded.

A coroutine ticks, and its longest pause is compared with what one uninterruptible step costs on
this machine at this moment: the serializer that holds the interpreter lock, or one copy of the
bytes. The best of several attempts counts: a busy machine adds pauses, and takes none away.
"""

from __future__ import annotations

import asyncio
import gc
import pickle
import time

import numpy as np
import pytest

from holdall import BlobManager
from holdall.formats import FORMATS

ATTEMPTS = 6
SIZE = 64_000_000
NOISE = 0.05
"""Seconds that a pause may be longer for reasons of its own."""


@pytest.fixture(autouse=True)
def without_garbage_collection():
    """Whose passes over a million objects are long, whoever made them."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def rows():
    """Two million objects, 48 MB as a pickle."""
    return [{"id": n, "name": f"name-{n:08}", "tags": ["a", str(n)]} for n in range(1_000_000)]


def seconds(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def one_copy():
    """What it takes to copy the bytes once into fresh memory: the least of several."""
    data = bytearray(SIZE)
    return min(seconds(lambda: bytes(data)) for _ in range(ATTEMPTS))


async def longest_pause(work):
    """Between two ticks while the awaitable runs."""
    over = False

    async def tick():
        longest, last = 0.0, time.perf_counter()
        while not over:
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            longest, last = max(longest, now - last), now
        return longest

    ticking = asyncio.ensure_future(tick())
    await asyncio.sleep(0)
    await work
    over = True
    return await ticking


async def added_pause(make_work, bound):
    """What the work adds to the pauses of an idle loop: the least of several attempts.

    No more attempts than it takes to stay below the bound.
    """
    found = float("inf")
    for _ in range(ATTEMPTS):
        idle = await longest_pause(asyncio.sleep(0.2))
        found = min(found, await longest_pause(make_work()) - idle)
        if found < bound:
            break
    return found


async def test_a_large_graph_of_objects_is_pickled_and_unpickled_while_the_loop_runs(
    tmp_path, rows
):
    saving = seconds(lambda: pickle.dumps(rows, 5))
    async with BlobManager(tmp_path) as blobs:
        bound = saving / 3 + NOISE
        assert await added_pause(lambda: blobs.save("k", rows, "pickle"), bound) < bound
        data = (tmp_path / "k.pkl").read_bytes()
        loading = seconds(lambda: pickle.loads(data))
        bound = loading / 3 + NOISE
        assert await added_pause(lambda: blobs.load("k"), bound) < bound


@pytest.mark.parametrize(
    ("format", "value"),
    [
        ("npy", np.ones(SIZE // 8)),
        ("joblib", np.ones(SIZE // 8)),
        ("pickle", bytes(SIZE)),
        ("bytes", bytes(SIZE)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_large_buffers_pause_the_loop_no_longer_than_copies_of_them(tmp_path, format, value):
    copy = one_copy()
    async with BlobManager(tmp_path) as blobs:
        await blobs.save("warm", value[:1_000], format)  # imports the packages of the format
        await blobs.load("warm")
        bound = 2 * copy + NOISE
        assert await added_pause(lambda: blobs.save("k", value, format), bound) < bound
        # Into an object of Python, and for a pickle once more each by the reader and the unpickler.
        bound = 4 * copy + NOISE
        assert await added_pause(lambda: blobs.load("k"), bound) < bound


async def test_json_pauses_the_loop_for_its_serializer_and_no_longer(tmp_path, rows):
    """It holds the interpreter lock, as the README says; nothing is added to that."""
    value = rows[:200_000]
    codec = FORMATS["json"]
    async with BlobManager(tmp_path) as blobs:
        bound = 1.5 * seconds(lambda: codec.encode(value, {})) + NOISE
        assert await added_pause(lambda: blobs.save("k", value), bound) < bound
        data = codec.encode(value, {})
        bound = 1.5 * seconds(lambda: codec.decode(data, {})) + NOISE
        assert await added_pause(lambda: blobs.load("k"), bound) < bound
