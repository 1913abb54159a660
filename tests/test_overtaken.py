"""A slow load, and what was written or deleted while it ran: the newer one counts."""

from __future__ import annotations

import asyncio
import gc
import threading

import pytest

import holdall
from holdall import CacheManager, StorageManager, sync


class Slow:
    """A loader that was begun, and ends when it is told to."""

    def __init__(self, value="loaded"):
        self.value, self.calls = value, 0
        self.begun, self.go = asyncio.Event(), asyncio.Event()

    async def __call__(self):
        self.calls += 1
        self.begun.set()
        await self.go.wait()
        return self.value


async def started(manager, load):
    task = asyncio.create_task(manager.get_or_set("k", load))
    await load.begun.wait()
    return task


OVERTAKING = {
    "set": lambda cache: cache.set("k", "newer"),
    "set_many": lambda cache: cache.set_many({"k": "newer"}),
    "add": lambda cache: cache.add("k", "newer"),
    "delete": lambda cache: cache.delete("k"),
    "delete_many": lambda cache: cache.delete_many(["k"]),
    "clear": lambda cache: cache.clear(),
}


@pytest.mark.parametrize("how", OVERTAKING)
async def test_a_cache_does_not_keep_a_load_that_was_overtaken(how):
    cache, load = CacheManager(), Slow()
    task = await started(cache, load)
    await OVERTAKING[how](cache)
    load.go.set()
    assert await task == "loaded"
    newer = "newer" if "set" in how or how == "add" else None
    assert await cache.get("k") == newer


async def test_a_cache_does_not_set_a_counter_back_to_what_was_loaded_before():
    cache, load = CacheManager(), Slow(100)
    task = await started(cache, load)
    assert await cache.incr("k", 5) == 5
    load.go.set()
    await task
    assert await cache.get("k") == 5


@pytest.mark.parametrize("how", ["delete", "delete_many", "clear"])
async def test_who_asks_after_a_delete_does_not_get_what_was_loaded_before_it(how):
    cache, old, new = CacheManager(), Slow("old"), Slow("new")
    first = await started(cache, old)
    await OVERTAKING[how](cache)
    second = await started(cache, new)
    old.go.set()
    assert await first == "old"
    assert await cache.get("k") is None
    new.go.set()
    assert await second == "new"
    assert await cache.get("k") == "new"
    assert (old.calls, new.calls) == (1, 1)


async def test_writes_of_other_keys_leave_a_load_alone():
    cache, load = CacheManager(), Slow()
    task = await started(cache, load)
    await cache.set_many({str(n): n for n in range(500)})
    await cache.delete("7")
    await cache.touch("k")
    load.go.set()
    assert await task == "loaded"
    assert await cache.get("k") == "loaded"


async def test_loads_that_were_given_up_leave_nothing_behind():
    cache = CacheManager()
    for _ in range(3):
        load = Slow()
        task = await started(cache, load)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        task = asyncio.create_task(cache.get_or_set("k", load))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    with pytest.raises(ValueError, match="no"):
        await cache.get_or_set("k", lambda: int("no"))
    await asyncio.sleep(0)
    assert cache._cache.loads_under_way() == 0
    assert await cache.get_or_set("k", lambda: "fine") == "fine" == await cache.get("k")


def test_a_cache_without_await_does_not_keep_a_load_that_was_overtaken():
    cache = sync.CacheManager()
    assert cache.get_or_set("k", lambda: cache.set("k", "newer") or "loaded") == "loaded"
    assert cache.get("k") == "newer"
    assert cache.get_or_set("l", lambda: cache.delete("l") or "loaded") == "loaded"
    assert cache.get("l") is None


@pytest.mark.parametrize("enabled", ["true", "false"])
async def test_a_storage_keeps_what_was_set_while_a_load_ran(tmp_path, monkeypatch, enabled):
    monkeypatch.setenv("BLOB_STORAGE_ENABLED", enabled)
    async with StorageManager(tmp_path) as storage:
        load = Slow()
        task = await started(storage, load)
        await storage.set("k", "newer")
        load.go.set()
        assert await task == "newer"
        assert await storage.get("k") == "newer"


@pytest.mark.parametrize("enabled", ["true", "false"])
@pytest.mark.parametrize("how", ["delete", "clear"])
async def test_a_storage_does_not_keep_a_load_that_a_delete_overtook(
    tmp_path, monkeypatch, enabled, how
):
    monkeypatch.setenv("BLOB_STORAGE_ENABLED", enabled)
    async with StorageManager(tmp_path) as storage:
        old, new = Slow("old"), Slow("new")
        first = await started(storage, old)
        await (storage.delete("k") if how == "delete" else storage.clear())
        second = await started(storage, new)
        old.go.set()
        assert await first == "old"
        assert await storage.get("k") is None
        new.go.set()
        assert await second == "new"
        assert await storage.get("k") == "new"


@pytest.mark.parametrize("many", [False, True])
async def test_a_storage_without_a_disk_keeps_conditions_too(monkeypatch, many):
    monkeypatch.setenv("BLOB_STORAGE_ENABLED", "false")
    async with StorageManager() as storage:
        assert await storage.set("k", 1, if_absent=True) is None
        with pytest.raises(holdall.ConflictError):
            await storage.set("k", 2, if_absent=True)
        with pytest.raises(holdall.ConflictError, match="etag"):
            await storage.set("k", 2, if_match="0")
        assert await storage.get("k") == 1


async def test_a_read_that_began_before_a_write_does_not_answer_who_asks_after_it(
    tmp_path, monkeypatch
):
    """Also where another writer of the same stripe hides the version of the key."""
    async with StorageManager(tmp_path) as storage:
        await storage.set("k", "old")
        await storage.cache_delete("k")
        go, reading = asyncio.Event(), asyncio.Event()
        read = storage.blobs._read

        async def slowly(*args, **options):
            found = await read(*args, **options)
            reading.set()
            await go.wait()
            return found

        class Hidden:
            def __init__(self, tier):
                self.tier = tier

            def observe(self, key):
                return None

            def __getattr__(self, name):
                return getattr(self.tier, name)

        storage._tier = Hidden(storage._tier)
        monkeypatch.setattr(storage.blobs, "_read", slowly)
        first = asyncio.create_task(storage.get("k", copy=False))
        await reading.wait()
        monkeypatch.setattr(storage.blobs, "_read", read)
        await storage.blobs.save("k", "new")
        assert await asyncio.wait_for(storage.get("k", copy=False), 10) == "new"
        go.set()
        assert await first == "old"


async def test_a_delete_of_nothing_says_so_though_somebody_sets_the_key_meanwhile(
    tmp_path, monkeypatch
):
    async with StorageManager(tmp_path) as storage:
        delete = storage.blobs.delete

        async def then_somebody_sets(key):
            removed = await delete(key)
            await storage.set(key, "newer")
            return removed

        await storage.exists("k")
        monkeypatch.setattr(storage.blobs, "delete", then_somebody_sets)
        assert not await storage.delete("k")
        assert await storage.get("k") == "newer"


async def test_a_listing_that_is_given_up_leaves_no_error_unheard(tmp_path):
    complaints = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    blobs = holdall.BlobManager(tmp_path)
    await blobs.save_many({str(n): n for n in range(4)})
    keys = blobs.keys(page_size=1)
    assert await keys.__anext__() == "0"
    pages = blobs._store.keys

    def failing(*_):
        future = asyncio.get_running_loop().create_future()
        future.set_exception(OSError("the disk is gone"))
        return future

    class Broken:
        keys = staticmethod(failing)

        def __getattr__(self, name):
            return getattr(store, name)

    store, blobs._store = blobs._store, Broken()
    assert pages is not None
    other = blobs.keys(page_size=1)
    blobs._store = store
    assert await other.__anext__() == "0"
    await other.aclose()
    await keys.aclose()
    await blobs.close()
    gc.collect()
    assert complaints == []


def test_a_manager_that_is_closed_while_another_thread_opens_it_stays_closed(tmp_path, monkeypatch):
    import holdall._blobs as below

    blobs = sync.BlobManager(tmp_path)
    made, go = threading.Event(), threading.Event()
    real = below.Store

    def slowly(*args, **options):
        store = real(*args, **options)
        made.set()
        go.wait(30)
        return store

    monkeypatch.setattr(below, "Store", slowly)
    failed = []

    def save():
        try:
            blobs.save("k", 1)
        except holdall.StoreClosedError as error:
            failed.append(error)

    thread = threading.Thread(target=save)
    thread.start()
    made.wait(30)
    blobs.close()
    go.set()
    thread.join()
    assert len(failed) == 1
    with pytest.raises(holdall.StoreClosedError):
        blobs.load("k")
