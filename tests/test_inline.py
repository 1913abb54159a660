"""Values in the store's database instead of files of their own: every other promise still holds."""

from __future__ import annotations

import os

import numpy
import pytest
from pydantic import BaseModel

import holdall
import programs
from holdall import BlobManager, StorageManager, sync
from pages import seal

BELOW = 4_096


class Recipe(BaseModel):
    title: str
    minutes: int


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "store"


def files(folder):
    """The files of values."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return sorted(
        path.relative_to(folder).as_posix() for path in found if ".holdall" not in path.parts
    )


ARRAY = numpy.arange(5)
VALUES = [
    ("json", Recipe(title="Pasta", minutes=20), {"model_class": Recipe}),
    ("json", {"a": [1, None, "é"]}, {}),
    ("custom_json", {"a": 1}, {}),
    ("pickle", {1, 2}, {}),
    ("joblib", {"x": 1}, {}),
    ("string", "text", {}),
    ("bytes", b"\0\xff", {}),
    ("bytes", b"", {}),
]


@pytest.mark.parametrize(("format", "value", "options"), VALUES)
async def test_every_format_comes_back_from_the_database(folder, format, value, options):
    async with BlobManager(folder, inline_below=BELOW) as blobs, BlobManager(folder) as plain:
        saved = await blobs.save("k", value, format)
        assert files(folder) == []
        assert await blobs.load("k", **options) == value
        assert await plain.load("k", format, **options) == value
        assert (await plain.metadata("k")) == saved
        await plain.save("k", value, format)
        assert len(files(folder)) == 1
        assert await blobs.load("k", **options) == value


async def test_an_array_comes_back_from_the_database_and_is_not_mapped(folder):
    async with BlobManager(folder, inline_below=BELOW) as blobs:
        await blobs.save("k", ARRAY)
        assert (await blobs.load("k")).tolist() == ARRAY.tolist()
        with pytest.raises(holdall.InvalidArgumentError, match="inline_below=0"):
            await blobs.load("k", mmap=True)
    async with BlobManager(folder) as blobs:
        await blobs.save("k", ARRAY)
        assert (await blobs.load("k", mmap=True)).tolist() == ARRAY.tolist()


async def test_a_pickle_in_the_database_is_read_only_if_signed(folder):
    async with BlobManager(folder, inline_below=BELOW, signing_key="1" * 32) as one:
        await one.save("k", {1}, "pickle")
    async with BlobManager(folder, signing_key="2" * 32) as other:
        with pytest.raises(holdall.UntrustedPayloadError):
            await other.load("k")


@pytest.mark.parametrize("format", ["string", "pickle"])
async def test_a_compressed_value_goes_where_its_length_on_disk_says(folder, format):
    long = "the same again and again " * 100
    async with BlobManager(folder, inline_below=300, compression="zstd") as blobs:
        saved = await blobs.save("k", long, format)
        assert saved.size < 300
        assert files(folder) == []
        assert await blobs.load("k") == long
    async with BlobManager(folder) as blobs:
        assert await blobs.load("k") == long


async def test_each_value_goes_where_its_length_says(folder):
    async with BlobManager(folder, inline_below=10) as blobs:
        await blobs.save("nine", "x" * 9)
        await blobs.save("ten", "x" * 10)
        assert files(folder) == ["ten.txt"]
        await blobs.save("nine", "x" * 10)
        await blobs.save("ten", "x" * 9)
        assert files(folder) == ["nine.txt"]
        stats = await blobs.get_stats()
        assert (stats["entries"], stats["total_size"]) == (2, 19)
        assert [key async for key in blobs.keys()] == ["nine", "ten"]


async def test_every_method_takes_inline_values(folder, clock):
    async with BlobManager(folder, inline_below=BELOW, clock=clock) as blobs:
        many = {f"many/{n}": n for n in range(10)}
        await blobs.save_many(many, tags=("many",))
        assert await blobs.load_many(list(many)) == many
        first = await blobs.save("k", "one", tags=("t",), metadata={"by": "Ann"}, ttl=60)
        assert (first.tags, first.metadata) == (("t",), {"by": "Ann"})
        with pytest.raises(holdall.ConflictError):
            await blobs.save("k", "two", if_absent=True)
        await blobs.touch("k", 600)
        assert await blobs.read_range("k", 1, 10) == b"ne"
        async with blobs.open("k", "rb") as file:
            assert await file.read() == b"one"
        async with blobs.open("streamed", "wb") as file:
            await file.write(b"bytes")
        assert await blobs.load("streamed") == b"bytes"
        await blobs.copy("k", "copied")
        await blobs.rename("copied", "renamed")
        assert await blobs.load("renamed") == "one"
        await blobs.migrate("renamed", "json")
        assert (await blobs.metadata("renamed")).format == "json"
        assert files(folder) == []
        assert [found async for found in blobs.keys("many/")] == sorted(many)
        clock.advance(601)
        assert await blobs.expire() == 2
        assert await blobs.evict("many") == 10
        assert not await blobs.exists("many/1")
        assert await blobs.delete("streamed")
        await blobs.save_many({"a": 1, "b": 2})
        await blobs.delete_many(["a"])
        assert await blobs.clear() == 1
        assert (await blobs.get_stats())["entries"] == 0


def test_the_same_without_await(folder):
    with sync.StorageManager(folder, inline_below=BELOW) as storage:
        storage.set("k", Recipe(title="Pasta", minutes=20))
        assert files(folder) == []
    with sync.BlobManager(folder) as blobs:
        assert blobs.load("k", model_class=Recipe).minutes == 20


OTHER = """
    import sys
    from holdall import sync

    stores = {
        "inline": sync.BlobManager(sys.argv[1], inline_below=1_000),
        "file": sync.BlobManager(sys.argv[1]),
    }
    for line in sys.stdin:
        match line.split():
            case kind, "save", key, value:
                stores[kind].save(key, value)
            case kind, "delete", key:
                stores[kind].delete(key)
        print("done", flush=True)
"""


async def test_memory_never_answers_with_an_inline_value_that_was_replaced_elsewhere(folder):
    async with StorageManager(folder, external_check=3_600, inline_below=BELOW) as storage:
        with programs.running(OTHER, folder) as other:
            await storage.set("k", "mine")
            for n in range(20):
                assert await storage.get("k") == await storage.get("k")
                other.ask(f"{'inline' if n % 3 else 'file'} save k {n}")
                assert await storage.get("k") == str(n)
            other.ask("inline delete k")
            assert await storage.get("k") is None


WRITER = """
    import sys
    from holdall import sync

    inline = sync.BlobManager(sys.argv[1], inline_below=1_000)
    plain = sync.BlobManager(sys.argv[1])
    for n in range(1_000_000):
        (plain if n % 4 == 0 else inline).save(f"k{n % 5}", {"number": n, "text": "x" * (n % 50)})
        print(n, flush=True)
"""


async def test_what_was_acknowledged_survives_a_killed_process(folder):
    newest = {}
    for _ in range(3):
        with programs.running(WRITER, folder) as writer:
            for _ in range(40):
                last = int(writer.line())
                newest[last % 5] = last
            writer.kill()
        async with BlobManager(folder) as blobs:
            for key, number in newest.items():
                found = await blobs.load(f"k{key}")
                assert found["text"] == "x" * (found["number"] % 50)
                assert found["number"] >= number
            stats = await blobs.get_stats()
            assert stats["entries"] == len([key async for key in blobs.keys()])
        newest.clear()


async def test_a_damaged_inline_value_is_an_error_or_a_miss_as_the_caller_chose(folder):
    async with BlobManager(folder, inline_below=BELOW) as blobs:
        await blobs.save_many({"good": "a text to be kept", "bad": "a text to be damaged"})
    database = folder / ".holdall" / "inline" / "values.sqlite"
    content = database.read_bytes()
    assert content.count(b"a text to be damaged") == 1
    database.write_bytes(content.replace(b"a text to be damaged", b"a text to be mistaken"[:20]))
    # Of more than one bit its whole page would be one that was not written.
    seal(database)
    async with BlobManager(folder) as blobs:
        with pytest.raises(holdall.BlobCorruptError, match="save or delete the key, or run repair"):
            await blobs.load("bad")
        assert await blobs.load("good") == "a text to be kept"
    async with BlobManager(folder, on_corrupt="miss", inline_below=BELOW) as blobs:
        assert await blobs.load("bad", default=None) is None
        await blobs.save("bad", "new")
        assert await blobs.load("bad") == "new"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_uses_inline_values(folder):
    with sync.BlobManager(folder, inline_below=BELOW) as blobs:
        blobs.save("before", 1)
        child = os.fork()
        if child == 0:
            try:
                blobs.save("child", blobs.load("before") + 1)
                os._exit(0)
            except BaseException:
                os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        assert blobs.load("child") == 2
        blobs.save("before", 3)
        assert blobs.load("before") == 3
