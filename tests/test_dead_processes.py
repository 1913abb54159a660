"""A process that was stopped or killed in the middle of its work keeps nobody for long.

What it held or left behind is made by hand where the moment would have to be hit.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import signal
import struct
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import holdall
import programs
from holdall import BlobManager, StorageManager, sync

STRIPES = 4_096
HEADER = 4_096

HOLDING = """
    import fcntl, os, struct, sys
    path, start, length = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    file = open(path, "r+b")
    lock = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, start, length, 0)
    fcntl.fcntl(file, 37, lock)  # F_OFD_SETLK
    print("held", flush=True)
    sys.stdin.read()
    """

WRITING = """
    import sqlite3, sys
    database = sqlite3.connect(sys.argv[1], isolation_level=None)
    database.execute("BEGIN IMMEDIATE")
    database.execute("INSERT INTO tag VALUES (x'00', x'00')")
    print("held", flush=True)
    sys.stdin.read()
    """

SAVING = """
    import sys
    from holdall import sync
    blobs = sync.BlobManager(sys.argv[1])
    assert list(blobs.keys()) == ["large", "small"]
    print("ready", flush=True)
    blobs.save("new", 1)
    print("saved", flush=True)
    sys.stdin.read()
    """


@pytest.fixture
def folder(tmp_path):
    with sync.StorageManager(tmp_path / "store") as storage:
        storage.set("small", 1)
        storage.set("large", bytes(300_000))
        storage.set("gone", 1)
        storage.delete("gone")
    return tmp_path / "store"


@pytest.mark.parametrize("ended", ["stopped", "killed"])
async def test_who_holds_every_lock_keeps_writers_for_a_while_and_readers_not_at_all(folder, ended):
    locks = folder / ".holdall" / "locks"
    async with (
        StorageManager(folder, lock_timeout=1.5) as storage,
        BlobManager(folder, lock_timeout=1.5) as blobs,
    ):
        assert await storage.get("small") == 1
        with programs.running(HOLDING, locks, 0, STRIPES) as holder:
            assert holder.line() == "held"
            if ended == "killed":
                holder.kill()
                begun = time.monotonic()
                await storage.set("small", 2)
                assert await blobs.delete("large")
                assert time.monotonic() - begun < 1
                return
            os.kill(holder.process.pid, signal.SIGSTOP)
            # Many more than the engine has threads.
            saves = [asyncio.create_task(blobs.save(f"new/{n}", n)) for n in range(30)]
            saves.append(asyncio.create_task(storage.set("small", 3)))
            saves += [asyncio.create_task(blobs.delete(f"new/{n}")) for n in range(30)]
            await asyncio.sleep(0.1)
            begun = time.monotonic()
            assert await storage.get("small") == 1
            assert await blobs.exists("small") and not await blobs.exists("gone")
            assert len(await blobs.load("large")) == 300_000
            assert [key async for key in blobs.keys()] == ["large", "small"]
            assert time.monotonic() - begun < 1.2, "readers stood behind those who waited"
            assert not any(save.done() for save in saves[:31])
            for error in await asyncio.gather(*saves, return_exceptions=True):
                assert isinstance(error, holdall.StoreBusyError | TimeoutError), error
                assert "stopped process" in str(error) and "lock_timeout" in str(error)
            os.kill(holder.process.pid, signal.SIGCONT)
            holder.kill()
        await storage.set("small", 4)
        assert await storage.get("small") == 4
        assert [key async for key in blobs.keys()] == ["large", "small"]


def test_a_writer_that_died_between_the_two_counts_is_buried_by_whoever_comes(folder):
    with sync.StorageManager(folder) as storage:
        assert storage.get("small") == 1
        with open(folder / ".holdall" / "clock", "r+b") as clock:
            clock.seek(HEADER)
            counts = struct.unpack(f"<{STRIPES}Q", clock.read(STRIPES * 8))
            clock.seek(HEADER)
            clock.write(struct.pack(f"<{STRIPES}Q", *(count | 1 for count in counts)))
        assert storage.get("small") == 1
        assert storage.get_many(["small", "gone"]) == {"small": 1}
        storage.set("small", 2)
        assert storage.get("small") == 2
        assert list(storage.blobs.keys()) == ["large", "small"]
        assert storage.get_stats()["entries"] == 2
        # All is calm again: a hit in memory counts.
        before = storage.get_stats()["cache"]["hits"]
        assert storage.get("small") == storage.get("small") == 2
        assert storage.get_stats()["cache"]["hits"] > before


@pytest.mark.parametrize("ended", ["killed", "goes on"])
def test_a_listing_has_what_a_reader_has_seen_of_a_writer_between_file_and_index(folder, ended):
    with sync.BlobManager(folder) as blobs, ThreadPoolExecutor() as threads:
        assert list(blobs.keys()) == ["large", "small"]
        (queue,) = (folder / ".holdall" / "index").glob("*/writers.lock")
        with programs.running(HOLDING, queue, 0, 1) as holder:
            assert holder.line() == "held"
            with programs.running(SAVING, folder) as writer:
                assert writer.line() == "ready"
                while not blobs.exists("new"):
                    time.sleep(0.001)
                if ended == "killed":
                    writer.process.kill()  # its locks go a little later
                    assert list(blobs.keys()) == ["large", "new", "small"]
                    assert blobs.get_stats()["entries"] == 3
                    return
                listing = threads.submit(lambda: list(blobs.keys()))
                concurrent.futures.wait([listing], timeout=0.2)
                holder.kill()
                assert listing.result() == ["large", "new", "small"]
                assert writer.line() == "saved"


def test_a_process_that_died_while_it_filled_the_index_is_followed_by_another(folder):
    own = folder / ".holdall"
    clock = (own / "clock").read_bytes()
    (epoch,) = struct.unpack_from("<Q", clock, 8)
    half = own / "index" / str(epoch + 1)
    half.mkdir()
    (half / "index.sqlite").write_bytes(b"SQLite format 3\0" + bytes(5_000))
    (half / "writers.lock").touch()
    with open(own / "clock", "r+b") as file:
        file.seek(32)
        file.write(struct.pack("<I", 1))
    with sync.BlobManager(folder) as blobs:
        assert list(blobs.keys()) == ["large", "small"]
        blobs.save("new", 1)
        assert list(blobs.keys()) == ["large", "new", "small"]
    assert [path.name for path in (own / "index").iterdir()] == [str(epoch + 1)]


@pytest.mark.parametrize("ended", ["stopped", "killed"])
def test_who_is_in_the_middle_of_a_change_of_the_database_keeps_no_reader(folder, ended):
    with sync.BlobManager(folder, inline_below=100) as blobs:
        blobs.save("inline", 1)
    database = folder / ".holdall" / "inline" / "values.sqlite"
    with programs.running(WRITING, database) as holder:
        assert holder.line() == "held"
        os.kill(holder.process.pid, signal.SIGSTOP if ended == "stopped" else signal.SIGKILL)
        if ended == "killed":
            holder.process.wait(30)
        with sync.BlobManager(folder, inline_below=100) as blobs:
            begun = time.monotonic()
            assert blobs.load("inline") == 1
            assert blobs.load("small") == 1
            assert sorted(blobs.keys()) == ["inline", "large", "small"]
            assert time.monotonic() - begun < 3
            if ended == "stopped":
                with pytest.raises(holdall.StoreBusyError, match="stopped"):
                    blobs.save("inline", 2)
                assert blobs.load("inline") == 1
                holder.kill()
            blobs.save("inline", 3)
            assert blobs.load("inline") == 3
