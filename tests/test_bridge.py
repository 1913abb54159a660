"""How results travel between the engine's threads and event loops."""

from __future__ import annotations

import asyncio
import gc
import os
import threading

import pytest
import uvloop

import programs
from holdall import BlobManager, BlobNotFoundError, StorageManager, sync

LOOPS = pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])


def run_on(new_loop, work):
    loop = new_loop()
    try:
        return loop.run_until_complete(work)
    finally:
        loop.close()


@LOOPS
def test_ten_thousand_calls_may_be_under_way_at_once(tmp_path, new_loop):
    async def work():
        store = BlobManager(tmp_path)
        await asyncio.gather(*(store.save(f"{n % 97}/{n}", n) for n in range(10_000)))
        found = await asyncio.gather(*(store.load(f"{n % 97}/{n}") for n in range(10_000)))
        assert found == list(range(10_000))
        assert (await store.get_stats())["entries"] == 10_000

    run_on(new_loop, work())


@LOOPS
def test_tasks_timeouts_and_shields_work(tmp_path, new_loop):
    async def work():
        store = BlobManager(tmp_path)
        task = asyncio.create_task(store.save("a", 1))
        await asyncio.wait_for(store.save("b", 2), 10)
        await asyncio.shield(task)
        assert await asyncio.wait_for(asyncio.create_task(store.load("a")), 10) == 1
        with pytest.raises(BlobNotFoundError):
            await asyncio.wait_for(store.load("c"), 10)

    run_on(new_loop, work())


@LOOPS
def test_a_cancelled_save_lands_whole_or_not_at_all_and_others_go_on(tmp_path, new_loop):
    async def work():
        store = BlobManager(tmp_path)
        await store.save("k", "old")
        whole = {"old", *(str(n) * 1_000 for n in range(50))}
        cancelled = 0
        for n in range(50):
            saving = asyncio.create_task(store.save("k", str(n) * 1_000))
            other = asyncio.create_task(store.load("k"))
            for _ in range(n % 4):
                await asyncio.sleep(0)
            # A quick disk may be done already; then there is nothing to cancel.
            if saving.cancel():
                cancelled += 1
                with pytest.raises(asyncio.CancelledError):
                    await saving
            found = await other
            assert found in whole
        assert cancelled > 10
        await store.save("k", "new")
        for _ in range(20):
            assert await store.load("k") == "new"
        for _ in range(2_000):
            left = list((tmp_path / ".holdall/tmp").iterdir())
            if not left:
                break
            await asyncio.sleep(0.01)
        assert not left

    run_on(new_loop, work())


async def test_what_was_cancelled_never_overtakes_a_later_call(tmp_path):
    store = BlobManager(tmp_path)
    for n in range(150):
        late = [asyncio.create_task(store.save(f"other{i}", n)) for i in range(20)]
        late.append(asyncio.create_task(store.delete("k")))
        late.append(asyncio.create_task(store.save("gone", n)))
        for _ in range(n % 3):
            await asyncio.sleep(0)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        await asyncio.gather(store.save("k", n), store.delete("gone"))
        await asyncio.sleep(0.001)
        assert await store.load("k", default="deleted by a call that was given up") == n
        assert not await store.exists("gone")


def test_one_wake_up_resolves_all_that_finished(tmp_path):
    async def work():
        loop = asyncio.get_running_loop()
        watched = []
        add_reader = loop.add_reader

        def counting(file, callback, *args):
            def called():
                watched.append(file)
                callback(*args)

            return add_reader(file, called)

        loop.add_reader = counting
        store = BlobManager(tmp_path)
        await asyncio.gather(*(store.save(f"k{n}", n) for n in range(2_000)))
        return len(watched)

    # Not one for each; how many meet depends on how fast the loop is beside the disk.
    assert 0 < asyncio.run(work()) < 1_500


def test_loops_in_several_threads_share_one_store(tmp_path):
    store = StorageManager(tmp_path)
    failed = []

    def thread(number):
        async def work():
            for n in range(100):
                await store.set(f"{number}/{n}", n)
                assert await store.get(f"{number}/{n}") == n

        try:
            asyncio.run(work())
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=thread, args=(n,)) for n in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert failed == []
    assert asyncio.run(store.get_stats())["entries"] == 400


@LOOPS
def test_loops_that_come_and_go_leave_no_descriptors(tmp_path, new_loop):
    store = BlobManager(tmp_path)

    def once():
        run_on(new_loop, store.save("k", 1))
        gc.collect()

    for _ in range(3):
        once()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(30):
        once()
    assert len(os.listdir("/proc/self/fd")) <= before + 1


def test_a_loop_may_be_closed_while_work_is_under_way(tmp_path):
    store = BlobManager(tmp_path)

    async def leave():
        under_way = [asyncio.ensure_future(store.save(f"k{n}", bytes(10_000))) for n in range(200)]
        await asyncio.sleep(0)
        assert not all(task.done() for task in under_way)

    for _ in range(5):
        asyncio.run(leave())
    gc.collect()
    assert asyncio.run(store.save("k", 1)).key == "k"


def test_without_a_loop_the_error_says_what_to_use(tmp_path):
    waiting = BlobManager(tmp_path).save("k", 1)
    with pytest.raises(RuntimeError, match=r"holdall\.sync"):
        waiting.send(None)


def test_parent_and_child_go_on_after_a_fork(tmp_path):
    out = programs.run(
        """
        import asyncio, os, sys, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        from holdall import StorageManager, sync

        storage = StorageManager(sys.argv[1])
        blocking = sync.StorageManager(sys.argv[1])

        async def work(who):
            await asyncio.gather(*(storage.set(f"{who}/{n}", n) for n in range(200)))
            assert await storage.get("parent/7") == 7
            blocking_found = blocking.get("parent/8")
            assert blocking_found == 8

        asyncio.run(work("parent"))
        children = []
        for number in range(3):
            child = os.fork()
            if child == 0:
                asyncio.run(work(f"child{number}"))
                blocking.set("shared", number)
                os._exit(0)
            children.append(child)
        asyncio.run(work("parent"))
        for child in children:
            assert os.waitpid(child, 0)[1] == 0
        assert blocking.get("shared") in range(3)
        assert asyncio.run(storage.get_stats())["entries"] == 801
        print("fine")
        """,
        tmp_path,
    )
    assert out == "fine\n"


def test_a_fork_in_the_middle_of_work_harms_neither_side(tmp_path):
    out = programs.run(
        """
        import os, sys, threading, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        from holdall import sync

        store = sync.BlobManager(sys.argv[1])
        # Python itself does not survive a fork in the middle of an import.
        store.save("child", 0)
        store.load("child")
        stop = threading.Event()

        def writer(number):
            n = 0
            while not stop.is_set():
                store.save(f"{number}/{n % 20}", n)
                n += 1

        threads = [threading.Thread(target=writer, args=(n,)) for n in range(3)]
        for one in threads:
            one.start()
        for number in range(20):
            child = os.fork()
            if child == 0:
                store.save("child", number)
                assert store.load("child") == number
                list(store.keys())
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0, number
        stop.set()
        for one in threads:
            one.join()
        assert store.load("child") == 19
        print("fine")
        """,
        tmp_path,
    )
    assert out == "fine\n"


def test_a_program_ends_while_work_is_under_way(tmp_path):
    programs.run(
        """
        import asyncio, sys
        from holdall import BlobManager, CacheManager

        async def main():
            store = BlobManager(sys.argv[1])
            cache = CacheManager()
            await cache.set("k", object(), ttl=0.01)
            for n in range(500):
                asyncio.ensure_future(store.save(f"k{n}", n))
            await asyncio.sleep(0.01)

        asyncio.run(main())
        """,
        tmp_path,
    )


def test_the_blocking_face_needs_no_loop_and_works_inside_one(tmp_path):
    store = sync.BlobManager(tmp_path)
    store.save("k", [1])
    assert store.load("k") == [1]

    async def inside():
        return store.load("k")

    assert asyncio.run(inside()) == [1]
