"""`CacheManager`, awaited and not."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

import holdall
from holdall import CacheManager, sync


@pytest.fixture
def cache(clock):
    return CacheManager(max_size=3, default_ttl=60, clock=clock)


async def test_set_get_and_default(cache):
    value = object()
    await cache.set("a", value)
    await cache.set("none", None)
    assert await cache.get("a") is value
    assert await cache.get("none", default=1) is None
    assert await cache.get("missing", default=1) == 1
    assert await cache.contains("none")
    assert not await cache.contains("missing")


async def test_ttl(cache, clock):
    await cache.set("default", 1)
    await cache.set("short", 2, ttl=timedelta(seconds=5))
    await cache.set("for ever", 3, ttl=None)
    assert await cache.ttl_of("short") == 5
    assert await cache.ttl_of("for ever") is None
    clock.advance(6)
    assert await cache.get("short") is None
    with pytest.raises(KeyError):
        await cache.ttl_of("short")
    assert await cache.touch("default", 100)
    assert not await cache.touch("short", 100)
    clock.advance(90)
    assert await cache.get_many(["for ever", "default", "short"]) == {"for ever": 3, "default": 1}


async def test_add_incr_and_delete(cache):
    assert await cache.add("a", 1)
    assert not await cache.add("a", 2)
    assert await cache.incr("a") == 2
    assert await cache.incr("n", 5) == 5
    await cache.set("text", "x")
    with pytest.raises(holdall.InvalidArgumentError):
        await cache.incr("text")
    assert await cache.delete("a")
    assert not await cache.delete("a")
    assert await cache.delete_many(["n", "text", "missing"]) == 2
    await cache.set_many({"a": 1, "b": 2})
    assert sorted(await cache.keys()) == ["a", "b"]
    assert await cache.clear() == 2


async def test_it_is_bounded_and_counts(cache):
    await cache.set_many({str(n): n for n in range(10)})
    assert len(cache) == 3
    stats = await cache.get_stats()
    assert stats["entries"] == 3
    assert stats["evictions"] == 7
    assert stats["hit_rate"] == 0.0


async def test_get_or_set(cache):
    calls = []

    async def loader():
        calls.append(1)
        await asyncio.sleep(0)
        return 7

    assert await asyncio.gather(*(cache.get_or_set("k", loader) for _ in range(20))) == [7] * 20
    assert len(calls) == 1
    assert await cache.get_or_set("plain", lambda: 8, ttl=1) == 8
    assert await cache.ttl_of("plain") == 1

    async def itself():
        return await cache.get_or_set("self", itself)

    with pytest.raises(holdall.ReentrantLoadError):
        await cache.get_or_set("self", itself)


@pytest.mark.parametrize("key", ["", "a\0", None])
async def test_bad_keys_and_ttls(cache, key):
    for call in (cache.get(key), cache.set(key, 1), cache.delete(key), cache.set_many({key: 1})):
        with pytest.raises(ValueError, match="non-empty str"):
            await call
    for ttl in (0, -1, True, float("nan")):
        with pytest.raises(ValueError, match="above zero"):
            await cache.set("a", 1, ttl=ttl)
        with pytest.raises(ValueError, match="above zero"):
            CacheManager(default_ttl=ttl)
    with pytest.raises(holdall.InvalidArgumentError, match="list"):
        await cache.get_many("abc")
    assert len(cache) == 0


def test_the_twin_without_await(clock):
    cache = sync.CacheManager(max_size=3, default_ttl=60, clock=clock)
    cache.set("a", 1, ttl=5)
    cache.set_many({"b": 2})
    assert cache.get_many(["b", "a"]) == {"b": 2, "a": 1}
    assert sorted(cache.keys()) == ["a", "b"]
    assert cache.ttl_of("a") == 5
    assert (cache.add("a", 2), cache.incr("a"), cache.contains("a")) == (False, 2, True)
    assert cache.get_or_set("c", lambda: 3) == 3
    assert cache.get("c") == 3
    with pytest.raises(holdall.ReentrantLoadError):
        cache.get_or_set("r", lambda: cache.get_or_set("r", int))

    async def loader():
        return 1

    with pytest.raises(holdall.InvalidArgumentError, match="async function"):
        cache.get_or_set("d", loader)
    assert (cache.touch("b", 9), cache.delete("b"), cache.delete_many(["c", "x"])) == (True,) * 3
    assert cache.get_stats()["hits"] > 0
    assert cache.clear() == len(cache) + 1
