"""`CacheManager`: what its limits let go, whom it tells, and that nothing expired stays."""

from __future__ import annotations

import gc
import sys
import threading
import weakref

import pytest

import holdall
from holdall import CacheManager, StorageManager, sync
from holdall._cached import POLICIES


class Value:
    """An object that can be watched."""


def left_by(cache_options: dict):
    """A cache without `await`, and the list of what it reports."""
    left = []
    return sync.CacheManager(on_evict=lambda *entry: left.append(entry), **cache_options), left


# -- limits ---------------------------------------------------------------------------------------


async def test_bytes_are_what_size_of_says_and_stay_below_max_bytes(clock):
    cache = CacheManager(max_size=100, max_bytes=10, size_of=len, policy="lru", clock=clock)
    await cache.set_many({"a": "x" * 4, "b": "x" * 6})
    assert (await cache.get_stats())["bytes"] == 10
    await cache.set("b", "x" * 5)
    assert (await cache.get_stats())["bytes"] == 9
    await cache.set("c", "x" * 2)
    assert sorted(await cache.keys()) == ["b", "c"]
    await cache.delete("b")
    stats = await cache.get_stats()
    assert (stats["bytes"], stats["entries"], stats["evictions"]) == (2, 1, 1)


def test_a_value_larger_than_the_limit_is_not_kept_and_nor_is_the_one_before():
    cache, left = left_by({"max_bytes": 10, "size_of": len})
    cache.set("k", "old")
    cache.set("k", "x" * 11)
    assert cache.get("k") is None
    assert left == [("k", "old", "replaced"), ("k", "x" * 11, "refused")]
    assert cache.get_stats()["evictions"] == 0


def test_without_size_of_a_value_counts_what_it_takes():
    cache = sync.CacheManager(max_bytes=1_000_000)
    for value, least in ((b"x" * 5_000, 5_000), ("y" * 7_000, 7_000), ([0] * 1_000, 8_000)):
        before = cache.get_stats()["bytes"]
        cache.set(str(type(value)), value)
        assert least <= cache.get_stats()["bytes"] - before < least + 200


@pytest.mark.parametrize("size", [-1, "1", 2**70, None, 1.5])
def test_a_size_that_is_none_is_an_error_and_the_old_value_stays(size):
    cache = sync.CacheManager(max_bytes=10, size_of=lambda value: 1 if value == "old" else size)
    cache.set("k", "old")
    with pytest.raises(holdall.InvalidArgumentError, match="size_of"):
        cache.set("k", "new")
    assert cache.get("k") == "old"


def test_what_size_of_raises_reaches_the_caller():
    cache = sync.CacheManager(max_bytes=10, size_of=lambda value: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cache.set("k", 1)
    assert len(cache) == 0


@pytest.mark.parametrize("name", ["max_size", "max_bytes"])
@pytest.mark.parametrize("value", [-1, 1.5, True, "7"])
def test_a_limit_that_is_no_number_is_refused_when_the_manager_is_made(name, value):
    for kind in (CacheManager, StorageManager, sync.CacheManager):
        with pytest.raises(holdall.InvalidArgumentError, match=f"{name}.*whole number"):
            kind(**{name: value})


# -- policies -------------------------------------------------------------------------------------


def test_lru_lets_go_of_what_was_not_used_for_longest():
    cache, left = left_by({"max_size": 3, "policy": "lru"})
    cache.set_many({"a": 1, "b": 2, "c": 3})
    cache.get("a")
    cache.set("d", 4)
    cache.set("c", 33)
    cache.set("e", 5)
    assert [key for key, _, reason in left if reason == "evicted"] == ["b", "a"]


def test_fifo_lets_go_of_the_oldest_however_often_it_was_used():
    cache, left = left_by({"max_size": 3, "policy": "fifo"})
    cache.set_many({"a": 1, "b": 2, "c": 3})
    for _ in range(5):
        cache.get("a")
    cache.set("d", 4)
    assert left == [("a", 1, "evicted")]


@pytest.mark.parametrize("policy", ["w-tinylfu", "s3-fifo"])
def test_what_is_used_outlasts_a_scan(policy):
    cache, _ = left_by({"max_size": 100, "policy": policy})
    hot = [f"hot/{n}" for n in range(20)]
    cache.set_many(dict.fromkeys(hot, 1))
    for _ in range(3):
        cache.get_many(hot)
    for n in range(1_000):
        cache.set(f"scan/{n}", n)
    assert cache.get_many(hot) == dict.fromkeys(hot, 1)
    scanned, _ = left_by({"max_size": 100, "policy": "lru"})
    scanned.set_many(dict.fromkeys(hot, 1))
    scanned.get_many(hot)
    scanned.set_many({f"scan/{n}": n for n in range(1_000)})
    assert scanned.get_many(hot) == {}


def test_a_wrong_policy_names_those_there_are():
    for kind in (CacheManager, StorageManager):
        with pytest.raises(holdall.InvalidArgumentError, match="'w-tinylfu', 's3-fifo', 'lru'"):
            kind(policy="mru")


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_keeps_both_limits_and_counts_what_left(policy):
    cache, left = left_by(
        {"max_size": 10, "max_bytes": 50, "size_of": len, "policy": policy, "default_ttl": None}
    )
    for n in range(300):
        cache.set(f"{n % 37}", "x" * (n % 13))
        cache.get(f"{n % 5}")
        stats = cache.get_stats()
        assert stats["entries"] == len(cache) <= 10
        assert stats["bytes"] == sum(len(cache._cache.get(key)) for key in cache.keys()) <= 50
    stats = cache.get_stats()
    reasons = [reason for _, _, reason in left]
    assert stats["evictions"] == reasons.count("evicted") > 0
    assert set(reasons) <= {"evicted", "replaced"}
    # Everything that was set has left, or is there.
    assert len(left) + len(cache) == 300


# -- callbacks ------------------------------------------------------------------------------------


def test_on_evict_hears_of_each_entry_once_with_the_reason(clock):
    cache, left = left_by({"max_size": 2, "policy": "fifo", "default_ttl": 10, "clock": clock})
    cache.set("a", 1)
    cache.set("a", 2)
    cache.delete("a")
    cache.set_many({"b": 3, "c": 4, "d": 5})
    assert left == [("a", 1, "replaced"), ("a", 2, "deleted"), ("b", 3, "evicted")]
    left.clear()
    clock.advance(11)
    assert cache.get("c") is None
    cache.set("e", 6)
    cache.clear()
    assert ("c", 4, "expired") in left
    assert ("e", 6, "cleared") in left
    assert len(left) == 3


def test_on_evict_may_use_the_cache():
    cache = sync.CacheManager(
        max_size=2, policy="fifo", on_evict=lambda key, value, reason: cache.set("last", key)
    )
    cache.set_many({"a": 1, "b": 2})
    assert cache.delete("a")
    assert cache.get("last") == "a"


def test_an_on_evict_that_fails_hurts_nobody(monkeypatch):
    seen = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: seen.append(unraisable.exc_type))
    cache = sync.CacheManager(max_size=1, on_evict=lambda *entry: 1 / 0)
    cache.set("a", 1)
    cache.set("b", 2)
    assert cache.get("b") == 2
    assert seen == [ZeroDivisionError]


# -- statistics -----------------------------------------------------------------------------------


async def test_statistics_are_exact(clock):
    cache = CacheManager(max_size=4, default_ttl=10, policy="lru", clock=clock)
    await cache.set_many({str(n): n for n in range(6)})  # 0 and 1 are evicted
    await cache.get("0")  # a miss
    await cache.get("5")  # a hit
    await cache.get_many(["4", "5", "none"])  # two hits and a miss
    for counted_as_neither in (cache.contains("5"), cache.touch("5"), cache.ttl_of("5")):
        await counted_as_neither
    await cache.get_or_set("5", int)  # a hit
    clock.advance(11)
    await cache.get("5")  # a miss: it has expired
    stats = await cache.get_stats()
    assert (stats["hits"], stats["misses"]) == (4, 3)
    assert stats["hit_rate"] == 4 / 7
    assert stats["evictions"] == 2
    cache._cache.sweep()
    stats = await cache.get_stats()
    assert (stats["expirations"], stats["entries"], len(cache)) == (4, 0, 0)
    assert (stats["evictions"], stats["max_size"], stats["policy"]) == (2, 4, "lru")


# -- expiry ---------------------------------------------------------------------------------------


def watched(value, gone):
    return weakref.finalize(value, gone.set)


def test_an_expired_object_is_freed_without_being_asked_for():
    gone, stays = threading.Event(), Value()
    left = []
    cache = sync.CacheManager(
        default_ttl=None, on_evict=lambda key, _, why: left.append((key, why))
    )
    value = Value()
    watched(value, gone)
    cache.set("short", value, ttl=0.02)
    cache.set("long", stays, ttl=3_600)
    cache.set("for ever", stays)
    del value
    assert gone.wait(30), "nobody has freed it"
    # No call has touched the key since.
    assert left == [("short", "expired")]
    assert cache.get_stats()["expirations"] == 1
    assert (len(cache), cache.get("long")) == (2, stays)


def test_touch_and_replacement_move_the_end_of_a_life():
    gone = threading.Event()
    cache = sync.CacheManager(default_ttl=3_600)
    value, kept = Value(), Value()
    watched(value, gone)
    cache.set("touched", value)
    cache.set("replaced", Value(), ttl=0.02)
    cache.set("replaced", kept, ttl=None)
    cache.touch("touched", 0.02)
    del value
    assert gone.wait(30)
    assert cache.get("replaced") is kept


def test_a_cache_that_nobody_holds_frees_its_objects_at_once():
    gone = threading.Event()
    cache = sync.CacheManager()
    value = Value()
    watched(value, gone)
    cache.set("k", value, ttl=3_600)
    del value, cache
    gc.collect()
    assert gone.is_set()


def test_the_memory_over_a_store_frees_what_expired_too(tmp_path):
    gone = threading.Event()
    with sync.StorageManager(tmp_path) as storage:

        class Kept(dict):
            pass

        value = Kept(a=1)
        watched(value, gone)
        storage.set("k", value, ttl=0.05)
        del value
        assert gone.wait(30)
        assert storage.get("k") is None


def test_with_a_clock_by_hand_the_next_calls_free_what_expired(clock):
    cache = sync.CacheManager(default_ttl=10, clock=clock)
    value = Value()
    gone = weakref.ref(value)
    cache.set("k", value)
    del value
    clock.advance(11)
    assert cache.get("k") is None
    assert gone() is None
