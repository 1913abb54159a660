"""What `get_or_set` has loaded is saved before a delete of the key, or never."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from holdall import StorageManager, sync

GONE = {
    "delete": lambda storage: storage.delete("k"),
    "clear": lambda storage: storage.clear(),
}


class Late:
    """A store, or a memory, in which one method begins only when it is told to."""

    def __init__(self, inner, name, event=asyncio.Event):
        self._inner, self._name = inner, name
        self.asked, self.go = event(), event()

    def __getattr__(self, name):
        found = getattr(self._inner, name)
        if name != self._name:
            return found
        return self._later(found) if isinstance(self.go, asyncio.Event) else self._blocked(found)

    def _later(self, method):
        async def called(*args, **options):
            self.asked.set()
            await self.go.wait()
            return await method(*args, **options)

        return called

    def _blocked(self, method):
        def called(*args, **options):
            self.asked.set()
            assert self.go.wait(30)
            return method(*args, **options)

        return called


async def late_saves(storage):
    await storage.exists("k")
    storage.blobs._store = late = Late(storage.blobs._store, "put")
    return late


async def turns(count=20):
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.mark.parametrize("how", GONE)
async def test_what_was_encoded_before_a_delete_is_not_placed_after_it(tmp_path, monkeypatch, how):
    async with StorageManager(tmp_path) as storage, StorageManager(tmp_path) as other:
        encode, wait = storage.blobs._encoded, storage.blobs._wait
        encoded, go, seen = asyncio.Event(), asyncio.Event(), []

        async def slowly(*args):
            parts = await encode(*args)
            encoded.set()
            await go.wait()
            return parts

        async def looking(work):
            try:
                return await wait(work)
            finally:
                seen.append(await other.exists("k"))

        assert not await other.exists("k")
        await storage.exists("k")
        monkeypatch.setattr(storage.blobs, "_encoded", slowly)
        loading = asyncio.create_task(storage.get_or_set("k", lambda: "loaded"))
        await encoded.wait()
        await GONE[how](storage)
        monkeypatch.setattr(storage.blobs, "_wait", looking)
        go.set()
        assert await loading == "loaded"
        monkeypatch.setattr(storage.blobs, "_wait", wait)
        assert not any(seen)
        assert not await other.exists("k")
        assert await storage.get("k") is None


@pytest.mark.parametrize("how", GONE)
async def test_a_delete_comes_after_a_save_that_is_on_its_way(tmp_path, how):
    async with StorageManager(tmp_path) as storage, StorageManager(tmp_path) as other:
        late = await late_saves(storage)
        loading = asyncio.create_task(storage.get_or_set("k", lambda: "loaded"))
        await late.asked.wait()
        gone = asyncio.create_task(GONE[how](storage))
        await turns()
        assert not gone.done(), "it was acknowledged before the save was placed"
        late.go.set()
        await asyncio.wait_for(gone, 30)
        assert not await other.exists("k")
        assert await loading == "loaded"
        assert not await other.exists("k")
        assert await storage.get("k") is None


@pytest.mark.parametrize("how", GONE)
async def test_a_delete_that_is_given_up_while_it_waits_leaves_nothing_behind(tmp_path, how):
    async with StorageManager(tmp_path) as storage:
        late = await late_saves(storage)
        loading = asyncio.create_task(storage.get_or_set("k", lambda: "loaded"))
        await late.asked.wait()
        gone = asyncio.create_task(GONE[how](storage))
        await turns()
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(gone, 30)
        late.go.set()
        assert await asyncio.wait_for(loading, 30) == "loaded"
        assert await asyncio.wait_for(GONE[how](storage), 30) in (0, 1)
        assert len(storage._flights) == 0
        assert await storage.get_or_set("k", lambda: "newer") == "newer" == await storage.get("k")


async def test_a_load_that_is_given_up_while_a_delete_waits_for_its_save_lets_it_go_on(tmp_path):
    async with StorageManager(tmp_path) as storage:
        late = await late_saves(storage)
        loading = asyncio.create_task(storage.get_or_set("k", lambda: "loaded"))
        await late.asked.wait()
        gone = asyncio.create_task(storage.delete("k"))
        await turns()
        loading.cancel()
        assert not await asyncio.wait_for(gone, 30)
        assert not await storage.exists("k")


@pytest.mark.parametrize("how", GONE)
async def test_a_delete_waits_for_a_save_of_another_loop_as_long_as_that_runs(tmp_path, how):
    """A loop that has stopped in the middle removes what it saved when it goes on."""
    async with StorageManager(tmp_path) as storage:
        late = await late_saves(storage)
        late.asked = asked = threading.Event()
        stopped = asyncio.new_event_loop()

        def load():
            loading = stopped.create_task(storage.get_or_set("k", lambda: "loaded"))
            assert stopped.run_until_complete(asyncio.to_thread(asked.wait, 30))
            return loading

        loading = await asyncio.to_thread(load)
        assert not await asyncio.wait_for(GONE[how](storage), 30)
        late.go.set()
        assert await asyncio.to_thread(stopped.run_until_complete, loading) == "loaded"
        stopped.close()
        assert not await storage.exists("k")


async def test_what_is_set_while_a_load_is_saved_is_the_value(tmp_path):
    async with StorageManager(tmp_path) as storage:
        late = await late_saves(storage)
        loading = asyncio.create_task(storage.get_or_set("k", lambda: "loaded"))
        await late.asked.wait()
        storage.blobs._store = late._inner
        await storage.set("k", "newer")
        late.go.set()
        assert await loading == "newer"
        assert await storage.get("k") == "newer"


@pytest.mark.parametrize("how", [*GONE, "elsewhere"])
async def test_a_load_does_not_replace_what_was_saved_and_deleted_meanwhile(
    tmp_path, monkeypatch, how
):
    """Another manager saves during the load, and this one deletes; or the other one, and saves."""
    async with StorageManager(tmp_path) as storage, StorageManager(tmp_path) as other:
        find, looks = storage._get, 0

        async def load():
            await other.set("k", "of another one")
            return "loaded"

        async def get(key, model_class, looked=False):
            nonlocal looks
            looks += 1
            if looks == 3:
                # Between the conflict and the look at what is there.
                assert await (other if how == "elsewhere" else storage).delete("k")
            found = await find(key, model_class, looked)
            if looks == 3 and how == "elsewhere":
                await other.set("k", "newer")
            return found

        monkeypatch.setattr(storage, "_get", get)
        got = await storage.get_or_set("k", load)
        assert (got, await other.get("k")) == (
            ("newer", "newer") if how == "elsewhere" else ("loaded", None)
        )


async def test_without_a_disk_what_memory_forgets_is_not_brought_back_by_a_load(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("BLOB_STORAGE_ENABLED", "false")
    async with StorageManager(tmp_path) as storage:

        async def load():
            await storage.cache_set("k", "older")
            assert await storage.cache_delete("k")
            return "loaded"

        assert await asyncio.wait_for(storage.get_or_set("k", load), 30) == "loaded"
        assert await storage.get("k") is None


# -- without a loop -----------------------------------------------------------------------------


@pytest.fixture
def pool():
    with ThreadPoolExecutor(2) as threads:
        yield threads


@pytest.mark.parametrize("enabled", ["true", "false"])
@pytest.mark.parametrize("how", GONE)
def test_a_delete_of_another_thread_comes_after_a_save_that_is_on_its_way(
    tmp_path, monkeypatch, pool, how, enabled
):
    monkeypatch.setenv("BLOB_STORAGE_ENABLED", enabled)
    with sync.StorageManager(tmp_path) as storage:
        storage.exists("k")
        inner = storage._manager
        if enabled == "true":
            late = inner._blobs._store = Late(inner._blobs._store, "put", threading.Event)
        else:
            late = inner._tier = Late(inner._tier, "pin", threading.Event)
        loading = pool.submit(storage.get_or_set, "k", lambda: "loaded")
        assert late.asked.wait(30)
        gone = pool.submit(GONE[how], storage)
        # It cannot be seen that it waits, only that it is not there too early.
        threading.Event().wait(0.05)
        assert not gone.done()
        late.go.set()
        gone.result(30)
        assert loading.result(30) == "loaded"
        assert storage.get("k") is None
        assert not storage.exists("k")


class Deleting:
    """A value that deletes its own key when it is encoded."""

    storage: sync.StorageManager

    def __reduce__(self):
        assert not Deleting.storage.delete("k")
        # This is no part of the load, and not dropped with it.
        assert Deleting.storage.set("other", "stays")
        return (Deleting, ())


def test_a_loader_or_a_value_that_deletes_its_own_key_waits_for_nobody(tmp_path, pool):
    with sync.StorageManager(tmp_path) as storage:
        Deleting.storage = storage
        own = pool.submit(storage.get_or_set, "k", lambda: storage.delete("k") or "loaded")
        assert own.result(30) == "loaded"
        assert not storage.exists("k")
        own = pool.submit(storage.get_or_set, "k", Deleting, format="pickle")
        assert isinstance(own.result(30), Deleting)
        assert storage.get("other") == "stays"
        assert not storage.exists("k")


async def test_an_async_loader_that_deletes_its_own_key_waits_for_nobody(tmp_path):
    async with StorageManager(tmp_path) as storage:

        async def load():
            assert not await storage.delete("k")
            assert await storage.clear() == 0
            return "loaded"

        assert await asyncio.wait_for(storage.get_or_set("k", load), 30) == "loaded"
        assert not await storage.exists("k")


def test_a_delete_in_the_middle_of_a_save_of_the_same_thread_waits_for_nobody(tmp_path, pool):
    """As of a finalizer that happens to run there."""
    with sync.StorageManager(tmp_path) as storage:
        storage.exists("k")
        store = storage._manager._blobs._store

        class Interrupted:
            def __getattr__(self, name):
                return getattr(store, name)

            def put(self, *args, **options):
                storage.delete("k")
                return store.put(*args, **options)

        storage._manager._blobs._store = Interrupted()
        assert pool.submit(storage.get_or_set, "k", lambda: "loaded").result(30) == "loaded"
        assert not storage.exists("k")
