"""`fork` in the middle of work: parent and child both go on, in many rounds, and neither hangs.

`HOLDALL_FORKS=200 pytest tests/test_fork.py` tries more rounds.
"""

from __future__ import annotations

import os

import pytest

import programs

ROUNDS = max(6, int(os.environ.get("HOLDALL_FORKS", "0")))

PARTS = """
    import asyncio, gc, os, pickle, random, signal, sys, threading, time, warnings
    import holdall
    from holdall import sync

    # From 3.12 on the interpreter warns of forks with threads, which is what is tried here.
    warnings.filterwarnings("ignore", category=DeprecationWarning, message=".*fork.*")
    folder, rounds = sys.argv[1], int(sys.argv[2])
    options = {"inline_below": 200, "external_check": 3600}

    def wait_for(child, seconds=40):
        # In bounded time: a child that hangs is a failure, and is ended.
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                assert os.waitstatus_to_exitcode(status) == 0, f"the child ended with {status}"
                return
            time.sleep(0.002)
        os.kill(child, signal.SIGABRT)
        os.waitpid(child, 0)
        raise AssertionError("the child hangs")

    class Heavy:
        # Encoded on a codec thread, and large.
        def __init__(self, n):
            self.rows = [(n, str(n)) for _ in range(30_000)]

        def __eq__(self, other):
            return self.rows == other.rows

    async def busy(storage, stop, who):
        # Saves, loads, gathers, flushes, housekeeping and codec threads under way, for ever.
        n = 0
        while not stop():
            n += 1
            await asyncio.gather(
                *(storage.set(f"{who}/{k}", [n] * 50, ttl=30) for k in range(6)),
                storage.set(f"{who}/small", n),
                storage.set(f"{who}/durable", n, durability="disk"),
                storage.set(f"{who}/heavy", Heavy(n), format="pickle"),
                storage.set(f"{who}/large", bytes([n % 256]) * 2_000_000),
                storage.set("shared", [who, n]),
                storage.get(f"{who}/1"),
                storage.blobs.load(f"{who}/large", default=None),
                storage.cache_set(f"{who}/memory", n, ttl=0.01),
            )
            assert await storage.get(f"{who}/small") == n
            assert [k async for k in storage.blobs.keys(f"{who}/")]

    def in_child(storage, blocking):
        # The managers of the parent, on a new loop and without one, and new ones.
        signal.alarm(60)

        async def main():
            for manager in (storage, holdall.StorageManager(folder, **options)):
                me = f"child{os.getpid()}"
                await manager.set(f"{me}/a", [1])
                assert await manager.get(f"{me}/a") == [1]
                assert (await manager.get("shared"))[0]
                stops = iter([False, False, True])
                await busy(manager, lambda: next(stops), me)
                large = await manager.blobs.load("loop/large", default=None)
                assert large is None or len(set(large)) == 1
                assert await manager.get("seed") == "seed"
                removed = await manager.blobs.delete_many(
                    [k async for k in manager.blobs.keys(f"{me}/")]
                )
                assert removed > 5

        asyncio.run(main())
        assert blocking.get("seed") == "seed"
        blocking.set(f"sync{os.getpid()}", 1)
        assert blocking.get(f"sync{os.getpid()}") == 1
        assert blocking.delete(f"sync{os.getpid()}")
        assert blocking.get_stats()["entries"] > 0

    def fork(storage, blocking):
        child = os.fork()
        if child:
            return child
        code = 1
        try:
            in_child(storage, blocking)
            code = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    """

FROM_THE_LOOP = """
    async def main():
        storage = holdall.StorageManager(folder, **options)
        blocking = sync.StorageManager(folder, **options)
        blocking.set("seed", "seed")
        done = []
        await storage.set("shared", ["loop", 0])
        work = asyncio.create_task(busy(storage, lambda: bool(done), "loop"))
        for n in range(rounds):
            await asyncio.sleep(random.random() * 0.03)
            child = fork(storage, blocking)
            await storage.set("shared", ["parent", n])
            await asyncio.to_thread(wait_for, child)
            assert await storage.get("seed") == "seed"
        done.append(1)
        await work
        await storage.close()
        blocking.close()

    asyncio.run(main())
    print("fine")
    """

FROM_A_THREAD = """
    storage = holdall.StorageManager(folder, **options)
    blocking = sync.StorageManager(folder, **options)
    blocking.set("seed", "seed")
    blocking.set("shared", ["loop", 0])
    done, failed = [], []

    def loop(who):
        try:
            asyncio.run(busy(storage, lambda: bool(done), who))
        except BaseException as error:
            failed.append(error)

    def without():
        n = 0
        try:
            while not done:
                n += 1
                blocking.set("sync/small", n)
                blocking.set("sync/large", [n] * 500)
                assert blocking.get("sync/small") == n
                assert list(blocking.blobs.keys("sync/")) == ["sync/large", "sync/small"]
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=loop, args=(f"loop{n}",)) for n in range(2)]
    threads.append(threading.Thread(target=without))
    for thread in threads:
        thread.start()
    for n in range(rounds):
        time.sleep(random.random() * 0.03)
        wait_for(fork(storage, blocking))
        assert not failed, failed
    done.append(1)
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "the parent hangs"
    assert not failed, failed
    print("fine")
    """

POOLS = """
    import concurrent.futures, multiprocessing

    storage = holdall.StorageManager(folder, **options)
    blocking = sync.StorageManager(folder, **options)
    blocking.set("seed", "seed")
    blocking.set("shared", ["loop", 0])

    def work(n):
        # Inherited managers in a worker: one without a loop, one with.
        blocking.set(f"w/{n}", n)
        assert blocking.get("seed") == "seed"

        async def ask():
            await storage.set(f"v/{n}", [n])
            return await storage.get(f"v/{n}")

        return asyncio.run(ask()) + [blocking.get(f"w/{n}")]

    async def main():
        done = []
        task = asyncio.create_task(busy(storage, lambda: bool(done), "loop"))
        context = multiprocessing.get_context("fork")
        with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
            await asyncio.sleep(0.02)
            calls = [asyncio.wrap_future(pool.submit(work, n)) for n in range(12)]
            results = await asyncio.wait_for(asyncio.gather(*calls), 50)
        assert results == [[n, n] for n in range(12)]
        one = context.Process(target=work, args=(99,))
        one.start()
        await asyncio.to_thread(one.join, 40)
        assert one.exitcode == 0
        done.append(1)
        await task
        # What the children wrote, the memory of the parent sees.
        assert [await storage.get(f"v/{n}") for n in range(12)] == [[n] for n in range(12)]

    asyncio.run(main())
    print("fine")
    """

COHERENT = """
    from holdall import sync
    storage = sync.StorageManager(folder, **options)
    storage.set("small", 0)
    storage.set("file", [0] * 100)
    there, back = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        for n in (1, 3, 5):
            os.read(there[0], 1)
            assert storage.get("small") == n - 1 and storage.get("file") == [n - 1] * 100
            assert storage.get("small") == n - 1
            storage.set("small", n)
            storage.set("file", [n] * 100)
            os.write(back[1], b"x")
        os._exit(0)
    for n in (0, 2, 4):
        storage.set("small", n)
        storage.set("file", [n] * 100)
        assert storage.get("small") == n
        os.write(there[1], b"x")
        os.read(back[0], 1)
        # A hit in memory must not hide what the child has written.
        assert storage.get("small") == n + 1 and storage.get("file") == [n + 1] * 100
    wait_for(child)
    print("fine")
    """

ORPHAN = """
    # The child of a parent that was killed in the middle of writing keeps nobody waiting, and no
    # lock of the parent outlives it.
    storage = sync.StorageManager(folder, **options)
    storage.set("seed", "seed")
    ready = os.pipe()
    parent = os.fork()
    if parent == 0:
        def write():
            n = 0
            while True:
                n += 1
                for k in range(8):
                    storage.set(f"p/{k}", [n] * 100)
        for _ in range(3):
            threading.Thread(target=write, daemon=True).start()
        time.sleep(0.02)
        child = os.fork()
        if child == 0:
            signal.alarm(60)
            os.write(ready[1], os.getpid().to_bytes(4, "little"))
            time.sleep(30)
            os._exit(0)
        time.sleep(30)
        os._exit(1)
    child = int.from_bytes(os.read(ready[0], 4), "little")
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    begun = time.monotonic()
    with sync.StorageManager(folder, lock_timeout=20, **options) as again:
        for k in range(8):
            again.set(f"p/{k}", "mine")
            assert again.get(f"p/{k}") == "mine"
        assert len(list(again.blobs.keys())) == 9
    assert time.monotonic() - begun < 15, "a lock of the dead parent was held by its child"
    os.kill(child, signal.SIGKILL)
    print("fine")
    """


@pytest.mark.timeout(600 if ROUNDS > 6 else 120)
@pytest.mark.parametrize(
    "program",
    [FROM_THE_LOOP, FROM_A_THREAD, POOLS, COHERENT, ORPHAN],
    ids=["from the loop", "from a thread", "pools", "coherent", "orphan"],
)
def test_parent_and_child_both_go_on(tmp_path, program):
    code = programs.joined(PARTS, program)
    assert programs.run(code, tmp_path / "store", ROUNDS, seconds=500).strip() == "fine"


def test_a_fork_waits_for_an_import_that_another_thread_has_under_way(tmp_path):
    (tmp_path / "slowly.py").write_text(
        "import pathlib, time\npathlib.Path(__file__).with_suffix('.begun').touch()\n"
        "time.sleep(0.3)\nvalue = 7\n"
    )
    code = """
        import os, pathlib, signal, sys, threading, warnings
        sys.path.insert(0, sys.argv[1])
        warnings.filterwarnings("ignore", category=DeprecationWarning, message=".*fork.*")
        import holdall
        from holdall.formats._imports import complete

        thread = threading.Thread(target=complete, args=("slowly",))
        thread.start()
        begun = pathlib.Path(sys.argv[1], "slowly.begun")
        while not begun.exists():
            pass
        child = os.fork()
        if not child:
            signal.alarm(10)
            complete("slowly")
            import slowly
            os._exit(slowly.value)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        thread.join()
        complete("slowly")
    """
    assert programs.run(code, tmp_path).strip() == "7"
