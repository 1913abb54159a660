"""Several processes on one folder: what one has acknowledged, all others see, whole."""

from __future__ import annotations

import pytest

import holdall
import programs
from holdall import BlobManager, StorageManager, sync

OTHER = """
    import sys
    from holdall import sync

    store = sync.BlobManager(sys.argv[1])
    for line in sys.stdin:
        match line.split():
            case "save", key, value:
                store.save(key, value)
            case "delete", key:
                store.delete(key)
            case "rename", key, target:
                store.rename(key, target, overwrite=True)
            case "touch", key:
                store.touch(key, 0.001)
                while store.exists(key):
                    pass
            case "clear",:
                store.clear()
        print("done", flush=True)
"""


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def other(folder):
    with programs.running(OTHER, folder) as program:
        yield program


async def test_memory_never_answers_with_what_another_process_has_replaced(folder, other):
    async with StorageManager(folder, external_check=3_600) as storage:
        await storage.set("k", "mine")
        for n in range(20):
            assert await storage.get("k") == await storage.get("k")
            other.ask(f"save k {n}")
            assert await storage.get("k") == str(n)
        assert (await storage.get_stats())["cache"]["hits"] > 20
        other.ask("delete k")
        assert await storage.get("k") is None
        assert not await storage.exists("k")
        other.ask("save k again")
        assert await storage.get_many(["k", "none"]) == {"k": "again"}


async def test_memory_never_answers_with_what_expired_renamed_or_cleared_elsewhere(folder, other):
    async with StorageManager(folder, external_check=3_600) as storage:
        for key in ("touched", "moved", "cleared"):
            await storage.set(key, "mine")
            assert await storage.get(key) == "mine"
        other.ask("touch touched")
        assert await storage.get("touched") is None
        other.ask("rename moved cleared")
        assert await storage.get("moved") is None
        assert await storage.get("cleared") == "mine"
        other.ask("clear")
        assert await storage.get("cleared") is None
        assert (await storage.get_stats())["entries"] == 0


async def test_a_write_elsewhere_leaves_the_memory_of_other_keys_alone(folder, other):
    async with StorageManager(folder) as storage:
        value = [1]
        await storage.set("k", value)
        other.ask("save other 1")
        assert await storage.get("k") is value


async def test_a_blob_manager_sees_what_another_process_did(folder, other):
    async with BlobManager(folder) as blobs:
        first = await blobs.save("k", "mine")
        other.ask("save k theirs")
        assert await blobs.load("k") == "theirs"
        assert (await blobs.metadata("k")).etag != first.etag
        with pytest.raises(holdall.ConflictError):
            await blobs.save("k", "lost update", if_match=first.etag)
        other.ask("save new 1")
        assert [key async for key in blobs.keys()] == ["k", "new"]
        other.ask("touch k")
        assert await blobs.load("k", default=None) is None
        other.ask("delete new")
        with pytest.raises(FileNotFoundError):
            await blobs.load("new")
        other.ask("save k back")
        assert await blobs.load("k") == "back"


async def test_a_counter_that_is_seen_by_memory_never_goes_back(folder):
    counting = """
        import sys
        from holdall import sync

        with sync.StorageManager(sys.argv[1]) as storage:
            storage.set("n", 0)
            print("ready", flush=True)
            for n in range(1, 2_001):
                storage.set("n", n)
        """
    async with StorageManager(folder) as storage:
        with programs.running(counting, folder) as program:
            program.line()
            seen = 0
            while seen < 2_000:
                now = await storage.get("n")
                assert now >= seen
                seen = now


def test_many_processes_writing_lose_no_update_and_tear_no_value(folder):
    writing = """
        import sys
        from holdall import ConflictError, sync

        who = sys.argv[2]
        store = sync.BlobManager(sys.argv[1])
        for n in range(25):
            while True:
                record = store.metadata("counter")
                try:
                    # Between the two looks another may write: then the etag says so.
                    store.save("counter", store.load("counter") + 1, if_match=record.etag)
                    break
                except ConflictError:
                    pass
            store.save("shared", [who] * 5_000)
            assert len(set(store.load("shared"))) == 1
            store.save(f"own/{who}/{n}", n)
            if n % 5 == 0:
                store.delete(f"own/{who}/{n}")
        print("fine", flush=True)
        """
    store = sync.BlobManager(folder)
    store.save("counter", 0)
    with (
        programs.running(writing, folder, "a") as one,
        programs.running(writing, folder, "b") as two,
        programs.running(writing, folder, "c") as three,
        programs.running(writing, folder, "d") as four,
    ):
        for program in (one, two, three, four):
            assert program.line() == "fine"
    assert store.load("counter") == 100
    assert store.load("shared")[0] in "abcd"
    left = {f"own/{who}/{n}": n for who in "abcd" for n in range(25) if n % 5}
    assert store.load_many(store.keys("own/")) == left
    assert store.get_stats()["entries"] == len(left) + 2


def test_a_process_that_is_killed_while_it_saves_leaves_the_old_value_or_the_new(folder):
    saving = """
        import sys
        from holdall import sync

        store = sync.BlobManager(sys.argv[1])
        for n in range(int(sys.argv[2]), 1_000_000):
            for key, format in (("a", "pickle"), ("b", "json")):
                store.save(key, [n] * 20_000, format)
            print(n, flush=True)
        """
    store = sync.BlobManager(folder)
    start = 0
    for acknowledged in (1, 2, 3, 5, 1, 4, 2, 6):
        with programs.running(saving, folder, start) as program:
            for _ in range(acknowledged):
                last = int(program.line())
            program.kill()
        for key in ("a", "b"):
            found = store.load(key)
            assert len(found) == 20_000
            assert set(found) == {found[0]}
            assert found[0] >= last
        # The lock that the dead process may have held is free, and listings hold.
        store.save("a", [last])
        assert list(store.keys()) == ["a", "b"]
        start = last + 1
