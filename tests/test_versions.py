"""What a later release has written is refused politely, and stays as it is, byte for byte."""

from __future__ import annotations

import os
import sqlite3
import struct
from contextlib import closing

import pytest

import holdall
from holdall import BlobManager, StorageManager, StoreVersionError, sync
from pages import seal


def seen(folder):
    """Everything below a folder: names, contents, records, inodes and times."""
    found = {}
    for at, folders, files in os.walk(folder):
        for name in [".", *folders, *files]:
            path = os.path.join(at, name)
            stat = os.stat(path)
            content = None
            if name in files:
                with open(path, "rb") as file:
                    content = file.read()
            found[path] = (stat.st_ino, stat.st_mode, stat.st_size, stat.st_mtime_ns, content)
            found[path] += (tuple(os.listxattr(path)),)
    return found


def change(path, offset, value):
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(value)


def later_store(own):
    (own / "store.json").write_text('{"format": 2, "what": "else"}')


def later_clock(own):
    change(own / "clock", 7, b"\x02")


def longer_clock(own):
    later_clock(own)
    with open(own / "clock", "ab") as file:
        file.write(bytes(8_192))


def later_database(path):
    change(path, 60, struct.pack(">I", 3))
    change(path, 68, b"hol\x03")
    seal(path)


def later_values(own):
    later_database(own / "inline" / "values.sqlite")


def later_index(own):
    (index,) = (own / "index").iterdir()
    later_database(index / "index.sqlite")


PARTS = [later_store, later_clock, longer_clock, later_values, later_index]


@pytest.fixture
def own(tmp_path):
    """The inside of a store with values in files and inline, closed."""
    with sync.BlobManager(tmp_path / "store") as blobs:
        blobs.save("file", ["a", "file"])
        with sync.BlobManager(tmp_path / "store", inline_below=100) as small:
            small.save("inline", 1)
        assert list(blobs.keys()) == ["file", "inline"]
    return tmp_path / "store" / ".holdall"


@pytest.mark.parametrize("part", PARTS)
async def test_a_part_of_a_later_release_is_refused_and_nothing_is_touched(own, part):
    part(own)
    layout = 3 if part in (later_values, later_index) else 2
    before = seen(own.parent)
    for _ in range(2):
        blobs, storage = BlobManager(own.parent), StorageManager(own.parent)
        for call in (
            blobs.load("file"),
            blobs.load("inline"),
            blobs.save("file", 2),
            blobs.delete("file"),
            blobs.clear(),
            blobs.get_stats(),
            blobs.keys().__anext__(),
            storage.get("file"),
            storage.set("new", 1),
        ):
            says = rf"layout {layout}\b.* {layout - 1}\b.*later release"
            with pytest.raises(StoreVersionError, match=says) as told:
                await call
            assert "nothing was touched" in str(told.value)
            assert isinstance(told.value, RuntimeError)
        await blobs.close()
        await storage.close()
    assert seen(own.parent) == before


async def test_an_index_of_a_later_release_can_be_done_without(own):
    later_index(own)
    blobs = BlobManager(own.parent)
    with pytest.raises(StoreVersionError, match=r"remove .holdall/index"):
        await blobs.load("file")
    for path in sorted((own / "index").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    assert await blobs.load("file") == ["a", "file"]
    assert [key async for key in blobs.keys()] == ["file", "inline"]
    await blobs.close()


def test_another_process_that_uses_the_store_does_not_hide_a_later_database(own):
    with sync.BlobManager(own.parent) as blobs:
        # Not open in this process: only its lock says that the store is in use.
        assert blobs.load("file") == ["a", "file"]
        later_values(own)
        with pytest.raises(holdall.StoreVersionError, match=r"layout 3\b"):
            blobs.load("inline")
        assert blobs.load("file") == ["a", "file"]


@pytest.mark.parametrize("version", [0, 3, 6, 2**31 + 2])
def test_a_flipped_bit_of_the_version_of_an_index_costs_nothing(own, version):
    (index,) = (own / "index").iterdir()
    change(index / "index.sqlite", 60, struct.pack(">I", version))
    with sync.BlobManager(own.parent) as blobs:
        assert blobs.load("file") == ["a", "file"]
        assert list(blobs.keys()) == ["file", "inline"]


@pytest.mark.parametrize("version", [0, 3, 6, 2**31 + 2])
def test_a_flipped_bit_of_the_version_of_the_inline_values_costs_nothing(own, version):
    change(own / "inline" / "values.sqlite", 60, struct.pack(">I", version))
    with sync.BlobManager(own.parent) as blobs:
        assert blobs.load("inline") == 1
        assert blobs.load("file") == ["a", "file"]
        assert not blobs.verify().ok
        blobs.repair()
        assert blobs.load("inline") == 1
        assert blobs.verify().ok


def without_checksums(path):
    """Makes a database what it was before its pages had checksums."""
    old = path.with_suffix(".old")
    with closing(sqlite3.connect(path)) as new, closing(sqlite3.connect(old)) as database:
        for (sql,) in new.execute("SELECT sql FROM sqlite_schema ORDER BY rootpage"):
            database.execute(sql)
        for table in ("entry", "meta", "tag"):
            rows = new.execute(f"SELECT * FROM {table}").fetchall()
            for row in rows:
                database.execute(f"INSERT INTO {table} VALUES({', '.join('?' * len(row))})", row)
        database.execute(f"PRAGMA application_id = {0x686F6C01}")
        database.execute("PRAGMA user_version = 1")
        database.commit()
        database.execute("PRAGMA journal_mode = WAL")
    old.rename(path)
    assert path.read_bytes()[20] == 0


def test_inline_values_of_before_pages_had_checksums_are_taken_over_by_repair(own):
    without_checksums(own / "inline" / "values.sqlite")
    with sync.BlobManager(own.parent) as blobs:
        with pytest.raises(holdall.BlobCorruptError, match=r"run repair"):
            blobs.load("inline")
        assert blobs.load("file") == ["a", "file"]
        assert blobs.repair().salvaged == 1
        assert blobs.load("inline") == 1
        assert blobs.verify().ok
    assert (own / "inline" / "values.sqlite").read_bytes()[20] == 8


def test_an_index_of_before_pages_had_checksums_is_made_anew(own):
    (index,) = (own / "index").iterdir()
    without_checksums(index / "index.sqlite")
    with sync.BlobManager(own.parent) as blobs:
        assert list(blobs.keys()) == ["file", "inline"]
        assert blobs.verify().ok
