"""Stores that stay below a size, and lose what has expired, by themselves."""

from __future__ import annotations

import asyncio
import logging

import pytest

import programs
from holdall import BlobManager, InvalidArgumentError, StorageManager, sync
from holdall.testing import ManualClock
from holdall.types import CleaningReport


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "store"


async def test_the_oldest_go_first_down_to_the_limit_and_are_counted(folder):
    clock = ManualClock()
    async with BlobManager(folder, max_entries=3, clock=clock) as blobs:
        for name in "abcde":
            await blobs.save(name, name)
            clock.advance(1)
        assert await blobs.clean_up() == CleaningReport(expired=0, evicted=2, evicted_bytes=2)
        assert [key async for key in blobs.keys()] == ["c", "d", "e"]
        await blobs.save("f", "f", ttl=5)
        clock.advance(5)
        assert (await blobs.clean_up()).expired == 1
        stats = await blobs.get_stats()
        assert (stats["evictions"], stats["expirations"], stats["entries"]) == (2, 1, 3)


async def test_bytes_on_the_disk_are_limited_apart_from_bytes_in_memory(folder):
    clock = ManualClock()
    options = {"max_bytes": 10_000, "max_disk_bytes": 1_000, "clock": clock}
    async with StorageManager(folder, **options) as storage:
        for at in range(5):
            await storage.set(f"k{at}", b"x" * 300)
            clock.advance(1)
        done = await storage.blobs.clean_up()
        assert done.evicted_bytes == 600
        # Memory had them too.
        assert [await storage.get(f"k{at}") is None for at in range(5)] == [True] * 2 + [False] * 3
        stats = await storage.get_stats()
        assert (stats["evictions"], stats["total_size"]) == (2, 900)


def test_without_limits_nothing_is_evicted(folder):
    clock = ManualClock()
    with sync.BlobManager(folder, clock=clock) as blobs:
        blobs.save_many({f"k{at}": at for at in range(200)})
        clock.advance(1e9)
        assert blobs.clean_up() == (0, 0, 0)
        assert blobs.get_stats()["entries"] == 200


async def test_a_tag_is_evicted_whatever_the_limits(folder):
    async with BlobManager(folder, max_entries=10) as blobs:
        await blobs.save("a", 1, tags=["red"])
        await blobs.save("b", 2)
        assert await blobs.evict("red") == 1
        assert await blobs.exists("b")


async def test_both_happens_by_itself_and_is_logged(folder, caplog):
    caplog.set_level(logging.INFO, "holdall")
    async with BlobManager(folder, max_entries=10, clean_every=0.001) as blobs:
        await blobs.save("short", "lived", ttl=0.001)
        for at in range(50):
            await blobs.save(f"k{at}", at)
        for _ in range(5_000):
            stats = await blobs.get_stats()
            if stats["evictions"] >= 40 and stats["expirations"] == 1:
                break
            await asyncio.sleep(0.002)
        assert stats["entries"] <= 10
        assert await blobs.load("k49") == 49
    told = [one.getMessage() for one in caplog.records if one.name == "holdall.cleaning"]
    assert any("cleaned up" in text and "evicted=" in text for text in told), told


async def test_never_is_never(folder):
    async with BlobManager(folder, max_entries=1, clean_every=None) as blobs:
        for at in range(20):
            await blobs.save(f"k{at}", at, ttl=0.001)
        assert (await blobs.get_stats())["entries"] == 20


def test_a_process_that_ends_leaves_a_whole_store_whatever_was_being_cleaned_up(folder):
    programs.run(
        """
        import sys
        from holdall import sync
        blobs = sync.BlobManager(sys.argv[1], max_entries=50)
        blobs.save_many({f"k{at}": "x" * 100 for at in range(1_000)})
        blobs.save("last", 1)
        """,
        folder,
    )
    with sync.BlobManager(folder) as blobs:
        assert blobs.verify().problems == ()
        assert blobs.load("last") == 1


@pytest.mark.parametrize("hit", ["disk", "memory"])
async def test_what_was_used_lately_stays_wherever_it_was_found(folder, hit):
    clock = ManualClock()
    options = {"max_entries": 2, "eviction": "least-recently-used", "clock": clock}
    async with StorageManager(folder, **options) as storage:
        for name in "abc":
            await storage.set(name, name)
            clock.advance(2)
        if hit == "memory":
            assert await storage.get("a") == "a"
        else:
            assert await storage.blobs.load("a") == "a"
        assert (await storage.blobs.clean_up()).evicted == 1
        assert [key async for key in storage.blobs.keys()] == ["a", "c"]
    assert (folder / ".holdall" / "uses").stat().st_size == 1_048_576


def test_what_another_process_used_stays(folder):
    options = {"max_entries": 2, "eviction": "least-recently-used", "clean_every": None}
    with sync.BlobManager(folder, **options) as blobs:
        blobs.save_many({"a": 1, "b": 2, "c": 3})
        programs.run(
            """
            import sys
            from holdall import sync
            with sync.BlobManager(sys.argv[1], eviction="least-recently-used") as blobs:
                assert blobs.load("a") == 1
            """,
            folder,
        )
        assert blobs.clean_up().evicted == 1
        assert list(blobs.keys()) == ["a", "c"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_entries": True}, "max_entries is a whole number, not bool; give one or more, or"),
        ({"max_entries": 0}, "max_entries=0 would keep nothing; give one or more, or None"),
        ({"max_entries": -5}, "max_entries=-5 would keep nothing; give one or more, or None"),
        ({"max_disk_bytes": 1.5}, "max_disk_bytes is a whole number, not float; give one or more"),
        ({"clean_every": 0}, "clean_every=0 would do nothing else; give seconds above zero, or"),
    ],
    ids=str,
)
def test_what_cannot_be_a_limit_is_refused_with_what_can(folder, options, message):
    with pytest.raises(InvalidArgumentError) as error:
        BlobManager(folder, **options)
    assert str(error.value).startswith(message)
