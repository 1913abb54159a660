"""One manager in many threads at once, without a loop and with a loop in each."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import numpy as np
import pytest

import holdall
from holdall import BlobManager, CacheManager, StorageManager, sync

THREADS = 8


def together(work: Callable[[int], object]) -> None:
    """Calls the function with 0, 1, 2... on as many threads at once; fails if one fails."""
    failed: list[BaseException] = []
    start = threading.Barrier(THREADS)

    def call(number: int) -> None:
        try:
            start.wait(30)
            work(number)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(THREADS)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert failed == []


@pytest.mark.parametrize("kind", [sync.BlobManager, sync.StorageManager])
def test_threads_share_one_manager_from_its_first_call_on(tmp_path, kind):
    manager = kind(tmp_path)
    write = manager.save if kind is sync.BlobManager else manager.set
    read = manager.load if kind is sync.BlobManager else manager.get

    def work(number):
        for n in range(30):
            write(f"{number}/{n}", [number, n])
            assert read(f"{number}/{n}") == [number, n]
            write("shared", [number] * 1_000)
            assert len(set(read("shared"))) == 1

    together(work)
    assert manager.get_stats()["entries"] == THREADS * 30 + 1


@pytest.mark.parametrize("format", ["npy", "joblib", "bytes"])
def test_a_large_value_that_its_owner_changes_while_it_is_saved_is_whole(tmp_path, format):
    """What is read is not of one moment, but it is what was checked and signed."""
    array = np.zeros(3_000_000)
    value = memoryview(array).cast("B") if format == "bytes" else array
    over = threading.Event()

    def change():
        while not over.is_set():
            np.add(array, 1, out=array)

    other = threading.Thread(target=change)
    other.start()
    try:
        with sync.BlobManager(tmp_path) as blobs:
            for _ in range(4):
                blobs.save("k", value, format)
                assert len(blobs.load("k")) == len(value)
    finally:
        over.set()
        other.join()


def test_threads_lose_no_update_that_is_conditional(tmp_path):
    blobs = sync.BlobManager(tmp_path)
    blobs.save("n", 0)

    def work(_):
        for _ in range(10):
            while True:
                etag = blobs.metadata("n").etag
                try:
                    blobs.save("n", blobs.load("n") + 1, if_match=etag)
                    break
                except holdall.ConflictError:
                    continue

    together(work)
    assert blobs.load("n") == THREADS * 10


def test_one_thread_of_many_makes_a_key_that_must_be_absent(tmp_path):
    blobs = sync.BlobManager(tmp_path)
    won = []

    def work(number):
        for n in range(10):
            try:
                blobs.save(str(n), number, if_absent=True)
                won.append(n)
            except FileExistsError:
                pass

    together(work)
    assert sorted(won) == list(range(10))


def test_threads_count_exactly_in_one_cache():
    left = []
    cache = sync.CacheManager(max_size=50, on_evict=lambda *entry: left.append(entry))

    def work(number):
        for n in range(500):
            cache.incr("n")
            cache.set(f"{number}/{n}", n)
            assert cache.get(f"{number}/{n}", default=n) == n
            cache.add("once", number)
            cache.delete("once")

    together(work)
    stats = cache.get_stats()
    assert stats["hits"] + stats["misses"] == THREADS * 500
    assert stats["evictions"] == sum(reason == "evicted" for _, _, reason in left)
    assert stats["entries"] == len(cache) <= 50


def test_threads_add_to_a_counter_and_lose_nothing():
    cache = sync.CacheManager()
    together(lambda _: [cache.incr("n", 2) for _ in range(2_000)])
    assert cache.get("n") == THREADS * 4_000


def test_a_loop_in_each_thread_uses_one_awaited_manager(tmp_path):
    blobs, cache = BlobManager(tmp_path), CacheManager()
    storage = StorageManager(tmp_path)
    loads = []

    async def one(number, n):
        await asyncio.gather(
            blobs.save(f"{number}/{n}", n), cache.incr("n"), storage.set("shared", [number] * 99)
        )
        assert await blobs.load(f"{number}/{n}") == n
        assert len(set(await storage.get("shared"))) == 1

        async def loader():
            loads.append(n)
            await asyncio.sleep(0)
            return n

        assert await storage.get_or_set(f"load/{n}", loader) == n

    async def work(number):
        await asyncio.gather(*(one(number, n) for n in range(20)))

    together(lambda number: asyncio.run(work(number)))
    assert asyncio.run(cache.get("n")) == THREADS * 20
    assert asyncio.run(storage.get_stats())["entries"] == THREADS * 20 + 20 + 1
    assert sorted(loads) == list(range(20))


def test_close_in_one_thread_ends_the_calls_of_the_others_with_one_error(tmp_path):
    blobs = sync.BlobManager(tmp_path)
    blobs.save("k", 1)
    closing = threading.Event()

    def work(number):
        if number == 0:
            closing.wait(30)
            blobs.close()
            return
        with pytest.raises(holdall.StoreClosedError):
            for n in range(1_000_000):
                blobs.save(str(number), n)
                closing.set()

    together(work)
    with sync.BlobManager(tmp_path) as again:
        assert again.load("k") == 1
