"""`StorageManager`: memory over disk."""

from __future__ import annotations

import asyncio
import copy
import gc
import mmap
import threading
from dataclasses import dataclass

import pytest
from pydantic import BaseModel

import holdall
from holdall import BlobManager, StorageManager


class Recipe(BaseModel):
    title: str


@dataclass
class Shape:
    name: str


async def test_set_keeps_the_callers_object_and_get_returns_it(storage):
    value = {"a": [1]}
    await storage.set("k", value)
    assert await storage.get("k") is value
    assert await storage.get("k") is value


async def test_copy_isolates_in_both_directions(storage, tmp_path):
    value = {"a": [1]}
    await storage.set("k", value, copy=True)
    value["a"].append(2)
    found = await storage.get("k", copy=True)
    assert found == {"a": [1]}
    found["a"].append(3)
    assert await storage.get("k") == {"a": [1]}
    async with StorageManager(tmp_path / "copying", copy=True) as copying:
        await copying.set("k", value)
        value["a"].append(4)
        one = await copying.get("k")
        assert one == {"a": [1, 2]}
        assert await copying.get("k") is not one
        assert await copying.get("k", copy=False) is await copying.get("k", copy=False)


async def test_what_cannot_be_copied_is_refused_before_the_disk(storage):
    class Stubborn(dict):
        def __deepcopy__(self, memo):
            raise copy.Error("secret")

    with pytest.raises(holdall.SerializationError, match="cannot be copied"):
        await storage.set("k", Stubborn(), copy=True)
    assert not await storage.exists("k")


async def test_what_the_disk_refused_is_never_in_memory(storage):
    await storage.set("k", [1])
    with pytest.raises(holdall.SerializationError):
        await storage.set("k", [{2}])
    with pytest.raises(holdall.ConflictError):
        await storage.set("k", [3], if_absent=True)
    assert await storage.get("k") == [1]
    with pytest.raises(holdall.UnknownFormatError):
        await storage.set("new", object())
    assert await storage.get("new") is None
    assert await storage.cache_get("new") is None


@pytest.mark.parametrize("value", [None, False, 0, "", []])
async def test_falsy_values_are_not_missing(storage, tmp_path, value):
    await storage.set("k", value)
    assert await storage.get("k", default="default") == value
    await storage.cache_delete("k")
    assert await storage.get("k", default="default") == value
    assert await storage.get("missing", default="default") == "default"
    assert await storage.get_many(["k", "missing"]) == {"k": value}


async def test_with_model_class_it_is_always_that_type(storage):
    await storage.set("k", Recipe(title="x"))
    await storage.set("plain", {"title": "y"})
    await storage.set("list", [Recipe(title="z")])
    for key, model_class, title in (
        ("k", Recipe, "x"), ("plain", Recipe, "y"), ("list", list[Recipe], "z"),
        ("plain", dict[str, str], "y"),
    ):  # fmt: skip
        for _ in range(2):
            found = await storage.get(key, model_class=model_class)
            again = await storage.get(key, model_class=model_class)
            assert found is again
            one = found[0] if isinstance(found, list) else found
            assert type(one) is (dict if "dict" in str(model_class) else Recipe)
            assert (one["title"] if isinstance(one, dict) else one.title) == title
            await storage.cache_delete(key)
    assert await storage.get_many(["k", "list"], model_class=list[Recipe] | Recipe) == {
        "k": Recipe(title="x"), "list": [Recipe(title="z")]
    }  # fmt: skip


async def test_a_subclass_in_memory_is_not_taken_for_the_class(storage):
    class Better(Recipe):
        stars: int = 5

    await storage.set("k", Better(title="x"))
    assert type(await storage.get("k")) is Better
    assert type(await storage.get("k", model_class=Recipe)) is Recipe


async def test_what_only_memory_has_is_validated(storage):
    await storage.cache_set("k", {"title": "x"})
    assert await storage.get("k", model_class=Recipe) == Recipe(title="x")
    assert await storage.get("k") == {"title": "x"}
    with pytest.raises(holdall.DeserializationError, match="in memory does not fit Shape"):
        await storage.get("k", model_class=Shape)


async def test_concurrent_gets_of_a_missing_key_read_once(storage, monkeypatch):
    await storage.set("k", {"a": 1})
    await storage.cache_delete("k")
    reads = []
    real = BlobManager._read

    async def counted(self, *args, **kwargs):
        reads.append(args)
        return await real(self, *args, **kwargs)

    monkeypatch.setattr(BlobManager, "_read", counted)
    found = await asyncio.gather(*(storage.get("k") for _ in range(50)))
    assert found == [{"a": 1}] * 50
    assert len(reads) == 1


@pytest.fixture
def slow_first_read(monkeypatch):
    """Two events: the first read of the disk sets the second, and waits for the first."""
    go, begun = asyncio.Event(), asyncio.Event()
    real = BlobManager._read

    async def slow(self, *args, **kwargs):
        result = await real(self, *args, **kwargs)
        if not begun.is_set():
            begun.set()
            await go.wait()
        return result

    monkeypatch.setattr(BlobManager, "_read", slow)
    return go, begun


async def test_a_read_that_began_before_a_write_is_not_for_those_who_come_after(
    storage, slow_first_read
):
    await storage.set("k", "old")
    await storage.cache_delete("k")
    go, begun = slow_first_read
    early = asyncio.create_task(storage.get("k"))
    await begun.wait()
    await storage.set("k", "new")
    await storage.cache_delete("k")
    assert await storage.get("k") == "new"
    go.set()
    assert await early == "old"
    assert await storage.get("k") == "new"


async def test_a_read_that_began_during_one_write_is_not_for_those_who_come_during_the_next(
    storage, tmp_path, clock, slow_first_read
):
    await storage.set("k", "old")
    await storage.cache_delete("k")
    go, begun = slow_first_read

    def writers_at_work():
        # As if other processes had just begun to write: no value may be kept in memory.
        path = tmp_path / "store" / ".holdall" / "clock"
        with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as counters:
            for stripe in range(4_096, len(counters), 8):
                counters[stripe] |= 1

    writers_at_work()
    early = asyncio.create_task(storage.get("k"))
    await begun.wait()
    async with BlobManager(tmp_path / "store", clock=clock) as other:
        await other.save("k", "new")
    writers_at_work()
    assert await asyncio.wait_for(storage.get("k"), 20) == "new"
    go.set()
    assert await early == "old"


async def test_a_write_by_another_manager_is_seen(storage, tmp_path, clock):
    async with StorageManager(tmp_path / "store", clock=clock) as other:
        await storage.set("k", 1)
        assert await other.get("k") == 1
        await other.set("k", 2)
        assert await storage.get("k") == 2
        await other.delete("k")
        assert await storage.get("k") is None


async def test_get_or_set_loads_once_for_all(storage):
    calls = []

    async def loader():
        calls.append(1)
        await asyncio.sleep(0)
        return {"a": 1}

    found = await asyncio.gather(*(storage.get_or_set("k", loader) for _ in range(50)))
    assert found == [{"a": 1}] * 50
    assert len(calls) == 1
    assert await storage.get_or_set("k", lambda: 1 / 0) == {"a": 1}
    assert await storage.get_or_set("plain", lambda: [1]) == [1]
    assert await storage.get_or_set("model", lambda: {"title": "x"}, model_class=Recipe) == Recipe(
        title="x"
    )


async def test_get_or_set_does_not_keep_failures_nor_deadlock(storage):
    with pytest.raises(ZeroDivisionError):
        await storage.get_or_set("k", lambda: 1 / 0)
    assert await storage.get("k") is None

    async def loader():
        return await storage.get_or_set("k", loader)

    with pytest.raises(holdall.ReentrantLoadError):
        await storage.get_or_set("k", loader)


async def test_get_or_set_does_not_write_over_what_came_meanwhile(storage):
    async def loader():
        await storage.set("k", "written meanwhile")
        return "loaded"

    assert await storage.get_or_set("k", loader) == "written meanwhile"
    assert await storage.get("k") == "written meanwhile"


async def test_the_default_ttl_limits_only_the_copy_in_memory(tmp_path, clock):
    async with StorageManager(tmp_path, default_ttl=10, clock=clock) as storage:
        await storage.set("for ever", 1)
        await storage.set("short", 2, ttl=5)
        await storage.set("long", 3, ttl=60)
        clock.advance(6)
        assert await storage.get_many(["for ever", "short", "long"]) == {"for ever": 1, "long": 3}
        assert not await storage.exists("short")
        clock.advance(10)
        assert await storage.cache_get("for ever") is None
        assert await storage.get("for ever") == 1
        clock.advance(60)
        assert await storage.get("long") is None


async def test_cache_operations_are_memory_only(storage, tmp_path, clock):
    await storage.cache_set("k", 1, ttl=10)
    assert await storage.cache_get("k") == 1
    assert await storage.get("k") == 1
    assert await storage.exists("k")
    assert not await BlobManager(tmp_path / "store").exists("k")
    assert await storage.cache_delete("k")
    assert await storage.cache_get("k", default="none") == "none"
    await storage.cache_set("k", 1, ttl=10)
    clock.advance(11)
    assert await storage.cache_get("k") is None


async def test_many(storage):
    await storage.set_many({"a": 1, "b": [2]})
    await storage.cache_delete("b")
    assert list(await storage.get_many(["b", "a", "x"])) == ["b", "a"]
    with pytest.raises(holdall.BatchError) as caught:
        await storage.set_many({"c": 3, "bad": {1: 1}, "": 1})
    assert list(caught.value.succeeded) == ["c"]
    assert set(caught.value.errors) == {"bad", ""}
    assert await storage.cache_get("c") == 3
    assert await storage.cache_get("bad") is None
    await storage.set("model", {"title": 1})
    await storage.set("good", {"title": "x"})
    with pytest.raises(holdall.BatchError) as caught:
        await storage.get_many(["model", "good"], model_class=Recipe)
    assert caught.value.succeeded == {"good": Recipe(title="x")}


async def test_delete_clear_and_statistics(storage):
    await storage.set("a", "123")
    await storage.set("b", "4567")
    stats = await storage.get_stats()
    assert (stats["entries"], stats["total_size"], stats["cache"]["entries"]) == (2, 7, 2)
    assert stats["folder"] == str(storage.base_path)
    assert await storage.delete("a")
    assert not await storage.delete("a")
    assert await storage.get("a") is None
    assert await storage.clear() == 1
    assert (await storage.get_stats())["cache"]["entries"] == 0


async def test_a_cache_that_is_switched_off_is_always_empty(monkeypatch, tmp_path):
    monkeypatch.setenv("CACHE_ENABLED", "false")
    async with StorageManager(tmp_path) as storage:
        value = [1]
        await storage.set("k", value)
        assert await storage.get("k") == value
        assert await storage.get("k") is not value
        await storage.cache_set("k2", 1)
        assert await storage.cache_get("k2") is None
    cache = holdall.CacheManager(max_size=5)
    await cache.set("k", 1)
    assert await cache.get("k") is None
    assert len(cache) == 0


async def test_without_blob_storage_it_is_memory_only(monkeypatch, tmp_path, clock):
    monkeypatch.setenv("BLOB_STORAGE_ENABLED", "false")
    async with StorageManager(tmp_path / "store", clock=clock) as storage:
        value = object()
        assert await storage.set("k", value, ttl=5) is None
        assert await storage.get("k") is value
        await storage.set_many({"a": 1})
        assert await storage.get_many(["a", "b"]) == {"a": 1}
        assert await storage.get_or_set("c", lambda: 3) == 3
        assert await storage.exists("c")
        stats = await storage.get_stats()
        assert (stats["entries"], stats["cache"]["entries"]) == (0, 3)
        clock.advance(6)
        assert await storage.get("k") is None
        assert await storage.delete("a")
        assert await storage.clear() == 1
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("key", ["", "a\0b", "\ud800", None, 7])
async def test_a_bad_key_is_a_value_error_before_anything_is_touched(key, tmp_path):
    storage = StorageManager(tmp_path / "store")
    for call in (
        lambda: storage.get(key),
        lambda: storage.set(key, 1),
        lambda: storage.get_many([key]),
        lambda: storage.delete(key),
        lambda: storage.get_or_set(key, int),
        lambda: storage.exists(key),
        lambda: storage.cache_get(key),
        lambda: storage.cache_set(key, 1),
        lambda: storage.cache_delete(key),
    ):
        with pytest.raises(ValueError, match="non-empty str"):
            await call()
    assert not (tmp_path / "store").exists()


async def test_after_close_every_call_is_an_error(tmp_path):
    async with StorageManager(tmp_path) as storage:
        await storage.set("k", 1)
    for call in (storage.get("k"), storage.set("k", 1), storage.cache_get("k"), storage.clear()):
        with pytest.raises(holdall.StoreClosedError):
            await call


def test_several_loops_in_several_threads_use_one_manager(tmp_path):
    storage = StorageManager(tmp_path)
    errors = []

    async def work(number):
        for n in range(20):
            await storage.set(f"{number}/{n}", n)
            assert await storage.get(f"{number}/{n}") == n
            assert await storage.get_or_set("shared", lambda: "x") == "x"

    def thread(number):
        try:
            asyncio.run(work(number))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=thread, args=(n,)) for n in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert errors == []
    asyncio.run(storage.close())


def test_it_works_on_uvloop(tmp_path):
    uvloop = pytest.importorskip("uvloop")

    async def main():
        async with StorageManager(tmp_path) as storage:
            await asyncio.gather(*(storage.set(str(n), n) for n in range(50)))
            await storage.set("large", list(range(100_000)), format="pickle")
            await storage.cache_delete("large")
            assert len(await storage.get("large")) == 100_000
            return await asyncio.gather(*(storage.get(str(n)) for n in range(50)))

    loop = uvloop.new_event_loop()
    try:
        assert loop.run_until_complete(main()) == list(range(50))
    finally:
        loop.close()


async def test_the_disk_below_lists_and_evicts_and_memory_sees_it(storage):
    await storage.set("a/1", 1, tags=("old",))
    await storage.set("a/2", 2)
    assert [key async for key in storage.blobs.keys("a/")] == ["a/1", "a/2"]
    assert await storage.blobs.evict("old") == 1
    assert await storage.get("a/1") is None
    assert await storage.get("a/2") == 2


def test_the_disk_below_needs_no_await_either(blocking_storage):
    blocking_storage.set("k", 1)
    assert list(blocking_storage.blobs.keys()) == ["k"]
    assert blocking_storage.blobs.delete("k")
    assert blocking_storage.get("k") is None


async def test_every_look_into_memory_is_counted_once(tmp_path):
    async with StorageManager(tmp_path) as storage, StorageManager(tmp_path) as other:
        await storage.set("a", 1)
        for _ in range(4):
            await storage.get("a")
        for _ in range(3):
            await storage.get("missing")
        await storage.get("missing", model_class=int)
        await storage.get(key="missing")
        await other.set("b", 2)
        assert [await storage.get("b"), await storage.get("b")] == [2, 2]
        cache = (await storage.get_stats())["cache"]
        assert (cache["hits"], cache["misses"]) == (5, 6)


async def test_a_read_under_way_keeps_its_manager(tmp_path):
    async with StorageManager(tmp_path) as storage:
        await storage.set("cold", [1])

    async def begun():
        manager = StorageManager(tmp_path)
        await manager.exists("cold")
        await manager.cache_get("cold")
        return asyncio.create_task(manager.get("cold")), manager.get

    task, get = await begun()
    gc.collect()
    assert await task == [1]
    assert await get("cold") == [1]


async def test_a_call_after_the_close_says_which_and_of_what_key(tmp_path):
    storage = StorageManager(tmp_path)
    await storage.close()
    for call, operation in [
        (storage.get, "get"),
        (storage.delete, "delete"),
        (storage.exists, "look for"),
    ]:
        with pytest.raises(holdall.StoreClosedError) as raised:
            await call("f")
        assert (raised.value.operation, raised.value.key) == (operation, "f")
        assert str(raised.value).startswith(f'could not {operation} "f": the manager was closed')
