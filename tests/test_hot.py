"""The awaitables of hits in memory: right in every use, and no reference too many or too few."""

from __future__ import annotations

import asyncio
import gc
import inspect
import sys
import warnings
from collections.abc import Coroutine
from datetime import timedelta
from decimal import Decimal

import pytest

import holdall
from holdall import CacheManager, InvalidArgumentError, InvalidKeyError, StorageManager, sync
from holdall._arguments import check_key, check_ttl
from holdall._core import Ready
from holdall.testing import ManualClock


class Value:
    """Counts those that are alive."""

    alive = 0

    def __init__(self):
        Value.alive += 1

    def __del__(self):
        Value.alive -= 1


async def warm(**options):
    cache = CacheManager(**options)
    await cache.set("k", "v")
    return cache


async def test_a_hit_is_awaited_in_every_way_that_a_coroutine_is():
    cache = await warm()
    assert await cache.get("k") == "v"
    assert await cache.get(key="k") == "v"
    assert await cache.get("k", default=1) == "v"
    assert await cache.get("missing", 1) == 1
    assert await cache.get("missing", default=2) == 2
    assert await cache.get(key="missing", default=3) == 3
    assert await cache.get("missing") is None
    assert await asyncio.gather(*[cache.get("k") for _ in range(100)]) == ["v"] * 100
    assert await asyncio.create_task(cache.get("k")) == "v"
    assert await asyncio.ensure_future(cache.get("k")) == "v"
    assert await asyncio.wait_for(cache.get("k"), 1) == "v"
    assert await asyncio.shield(cache.get("k")) == "v"
    if sys.version_info >= (3, 11):
        async with asyncio.TaskGroup() as group:
            task = group.create_task(cache.get("k"))
        assert task.result() == "v"


def test_a_hit_runs_on_any_loop():
    async def main():
        cache = await warm()
        return await cache.get("k"), await asyncio.create_task(cache.get("k"))

    assert asyncio.run(main()) == ("v", "v")
    cache = asyncio.run(warm())
    assert asyncio.run(cache.get("k")) == "v"
    uvloop = pytest.importorskip("uvloop")
    loop = uvloop.new_event_loop()
    try:
        assert loop.run_until_complete(main()) == ("v", "v")
    finally:
        loop.close()


@pytest.mark.parametrize("value", [(1, 2), (), StopIteration(5), ValueError("x"), None, [1]])
async def test_whatever_the_value_is_it_comes_back(value):
    cache = CacheManager()
    await cache.set("k", value)
    assert await cache.get("k") is value
    hit = cache.get("k")
    with pytest.raises(StopIteration) as stop:
        hit.send(None)
    assert stop.value.value is value


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="coroutines are used there")
async def test_a_result_is_awaited_once_and_says_so():
    cache = await warm()
    hit = cache.get("k")
    assert isinstance(hit, Ready) and isinstance(hit, Coroutine) and inspect.isawaitable(hit)
    assert asyncio.iscoroutine(hit)
    assert await hit == "v"
    with pytest.raises(RuntimeError, match="twice"):
        await hit
    with pytest.raises(RuntimeError, match="twice"):
        next(iter(hit))
    thrown = cache.get("k")
    with pytest.raises(ZeroDivisionError):
        thrown.throw(ZeroDivisionError("x"))
    with pytest.raises(ZeroDivisionError):
        cache.get("k").throw(ZeroDivisionError)
    closed = cache.get("k")
    closed.close()
    with pytest.raises(RuntimeError):
        await closed


async def test_what_is_not_awaited_warns_nobody_and_leaks_nothing():
    cache = CacheManager()
    await cache.set("k", Value())
    await cache.get("k")
    if sys.version_info < (3, 12):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for _ in range(100):
                cache.get("k")
                cache.get("k").close()
    await cache.delete("k")
    gc.collect()
    assert Value.alive == 0


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="coroutines are used there")
async def test_the_end_of_a_value_may_ask_the_cache():
    cache = CacheManager()
    answers = []

    class Asks:
        def __del__(self):
            kept, dropped = cache.get("other"), cache.get("other")
            del dropped
            with pytest.raises(StopIteration) as stop:
                kept.send(None)
            answers.append(stop.value.value)

    await cache.set("other", "there")
    for _ in range(10):
        await cache.set("k", Asks())
        hit = cache.get("k")
        await cache.delete("k")
        hit.close()
        # The value ends with the awaitable, whose memory the next ones take.
        assert [await cache.get("other"), await cache.get("other")] == ["there"] * 2
    gc.collect()
    assert answers == ["there"] * 10


async def test_awaitables_that_live_at_once_are_apart():
    cache = CacheManager()
    await cache.set_many({f"k{n}": n for n in range(10)})
    for _ in range(3):
        hits = [cache.get(f"k{n}") for n in range(10)]
        assert len(set(map(id, hits))) == 10
        assert [await hit for hit in hits] == list(range(10))
        del hits


class Nosy(str):
    """A key that uses the cache, and changes the mapping that it is in, when it is hashed."""

    cache: sync.CacheManager
    mapping: dict[str, int]

    def __hash__(self):
        Nosy.cache.set("nosy", 1)
        Nosy.mapping["more"] = 1
        return str.__hash__(self)

    __eq__ = str.__eq__


def test_a_key_that_runs_code_is_a_key_like_any_other():
    Nosy.cache, Nosy.mapping = sync.CacheManager(), {}
    Nosy.mapping = {Nosy("k"): 5, "l": 6}
    Nosy.cache.set_many(Nosy.mapping)
    assert Nosy.cache.get_many([Nosy("k"), "l", "nosy"]) == {"k": 5, "l": 6, "nosy": 1}


async def test_references_are_counted_right(tmp_path):
    cache, plain = CacheManager(), sync.CacheManager()
    value, default = object(), object()
    await cache.set("k", value)
    plain.set("k", value)
    async with StorageManager(tmp_path) as storage:
        await storage.cache_set("k", value)

        async def use():
            for _ in range(200):
                await cache.get("k", default)
                await cache.get("missing", default)
                await asyncio.create_task(cache.get("k"))
                plain.get("k", default=default)
                plain.get("missing", default)
                await storage.get("k", default)
                await storage.get("missing", default)
                await storage.get(key="k", default=default)
                await cache.get_many(["k", "missing"])
                await cache.set_many({"k": value, "l": default})
                await cache.delete("l")
                for wrong in (5, "", "a\0b", "\ud800"):
                    with pytest.raises(holdall.InvalidKeyError):
                        await cache.get(wrong)
                    with pytest.raises(holdall.InvalidKeyError):
                        plain.get(wrong)

        await use()
        gc.collect()
        before = sys.getrefcount(value), sys.getrefcount(default), sys.getrefcount(None) // 1_000
        await use()
        gc.collect()
        after = sys.getrefcount(value), sys.getrefcount(default), sys.getrefcount(None) // 1_000
    assert before[:2] == after[:2]
    assert abs(before[2] - after[2]) <= 1 or sys.version_info >= (3, 12)


async def test_a_wrong_call_is_a_type_error():
    cache, plain = await warm(), sync.CacheManager()
    plain.set("k", "v")
    plain.get("k")
    for call in (
        lambda: plain.get(),
        lambda: plain.get("k", 1, 2),
        lambda: plain.get("k", other=1),
        lambda: plain.get("k", key="k"),
        lambda: plain.get("k", 1, default=1),
    ):
        with pytest.raises(TypeError):
            call()
    with pytest.raises(TypeError):
        await cache.get("k", 1, 2)


async def test_a_method_of_a_subclass_is_the_one_that_is_called(tmp_path):
    class Loud(CacheManager):
        async def get(self, key, default=None):
            return "loud", await super().get(key, default)

    class LoudStorage(StorageManager):
        async def get(self, key, default=None, **options):
            return "loud", await super().get(key, default, **options)

    cache = Loud()
    await cache.set("k", 1)
    assert [await cache.get("k") for _ in range(3)] == [("loud", 1)] * 3
    async with LoudStorage(tmp_path) as storage:
        await storage.set("k", 1)
        assert [await storage.get("k") for _ in range(3)] == [("loud", 1)] * 3


async def test_methods_of_a_manager_in_use_are_those_of_its_class_to_whoever_looks(tmp_path):
    cache = await warm()
    async with StorageManager(tmp_path) as storage:
        await storage.set("k", 1)
        for method, like in (
            (cache.get, CacheManager.get),
            (cache.set, CacheManager.set),
            (storage.get, StorageManager.get),
        ):
            assert method.__name__ == like.__name__
            assert method.__doc__
        assert await storage.get(key="k", default=2, model_class=int, copy=True) == 1
        with pytest.raises(TypeError):
            await storage.get("k", 1, 2)
    with pytest.raises(TypeError):
        await cache.set("k")


async def test_a_storage_hit_is_the_newest_or_read_anew(tmp_path):
    async with StorageManager(tmp_path) as storage, StorageManager(tmp_path) as other:
        await storage.set("k", [1])
        assert await storage.get("k") is await storage.get("k")
        await other.set("k", [2])
        assert await storage.get("k") == [2]
        assert await storage.get("k", model_class=list[int]) == [2]
        assert await storage.get("k", copy=True) == [2]
        assert await storage.get("k") == [2]
        assert await storage.get("missing", default=7) == 7
        await storage.delete("k")
        assert await storage.get("k", 5) == 5
    with pytest.raises(holdall.StoreClosedError):
        await storage.get("k")


async def test_a_manager_goes_away_with_its_last_reference(tmp_path):
    import weakref

    storage, cache = StorageManager(tmp_path), CacheManager()
    await storage.set("k", 1)
    await storage.get("k")
    await cache.set("k", 1)
    await cache.get("k")
    gone = weakref.ref(storage), weakref.ref(cache)
    await storage.close()
    del storage, cache
    gc.collect()
    assert gone[0]() is None and gone[1]() is None


@pytest.mark.parametrize("key", ["", "a\0b", "\ud800", 5, None, b"k"])
def test_a_key_is_refused_by_set_in_the_words_of_every_other_method(key):
    cache = sync.CacheManager()
    with pytest.raises(InvalidKeyError) as expected:
        check_key(key, "set")
    with pytest.raises(InvalidKeyError) as caught:
        cache.set(key, 1)
    assert str(caught.value) == str(expected.value)
    assert len(cache) == 0


@pytest.mark.parametrize(
    "ttl", [0, -1, 0.0, True, "x", float("nan"), float("inf"), 10**400, Decimal(5), timedelta(0)]
)
def test_a_ttl_is_refused_by_set_in_the_words_of_every_other_method(ttl):
    cache = sync.CacheManager()
    cache.set("k", "old")
    with pytest.raises(InvalidArgumentError) as expected:
        check_ttl(ttl, "set")
    with pytest.raises(InvalidArgumentError) as caught:
        cache.set("k", "new", ttl)
    assert str(caught.value) == str(expected.value)
    assert cache.get("k") == "old"


class Seconds(float):
    """A number of a class of its own."""


@pytest.mark.parametrize("ttl", [5, 5.0, Seconds(5), timedelta(seconds=5)])
def test_set_keeps_for_every_kind_of_ttl(ttl):
    clock = ManualClock()
    cache = sync.CacheManager(default_ttl=50, clock=clock)
    cache.set("k", 1, ttl)
    cache.set("ever", 1, None)
    cache.set("default", 1)
    clock.advance(4)
    assert cache.get("k") == 1
    clock.advance(2)
    assert cache.get("k") is None
    assert cache.get("default") == 1
    clock.advance(50)
    assert cache.get("default") is None
    assert cache.get("ever") == 1


def test_what_set_replaces_refuses_and_evicts_is_let_go():
    cache = sync.CacheManager(max_size=10)
    value = object()
    before = sys.getrefcount(value)
    for n in range(1_000):
        cache.set(f"k{n % 30}", value, 5)
        with pytest.raises(InvalidArgumentError):
            cache.set("k", value, 0)
        with pytest.raises(InvalidKeyError):
            cache.set("", value)
    cache.clear()
    assert sys.getrefcount(value) == before
