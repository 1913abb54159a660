"""Values that are read and written piece by piece."""

from __future__ import annotations

import asyncio
import io
import json

import numpy as np
import pytest

import holdall
from holdall import BlobManager, sync


def temporary(tmp_path):
    return list((tmp_path / ".holdall" / "tmp").iterdir())


async def test_what_is_written_in_pieces_comes_back_in_pieces(tmp_path):
    whole = bytes(range(256)) * 12_000
    async with BlobManager(tmp_path) as blobs:
        async with blobs.open("big", "wb", tags=["t"], ttl=60, metadata={"n": 1}) as writer:
            for start in range(0, len(whole), 700_001):
                piece = whole[start : start + 700_001]
                assert await writer.write(memoryview(piece)) == len(piece)
            assert not await blobs.exists("big")
        assert writer.metadata is not None and writer.metadata.size == len(whole)
        record = await blobs.metadata("big")
        assert (record.tags, record.metadata, record.format) == (("t",), {"n": 1}, "bytes")
        assert await blobs.load("big") == whole
        reader = await blobs.open("big")
        assert b"".join([piece async for piece in reader]) == whole
        assert (reader.seek(-3, 2), await reader.read()) == (len(whole) - 3, whole[-3:])
        assert (reader.seek(10), await reader.read(2), reader.tell()) == (10, whole[10:12], 12)
        await reader.close()
        with pytest.raises(holdall.StoreClosedError):
            await reader.read()
        assert await blobs.read_range("big", 1_000, 5) == whole[1_000:1_005]
        assert await blobs.read_range("big", len(whole) - 1, 5) == whole[-1:]
    assert temporary(tmp_path) == []


async def test_a_block_left_by_an_exception_leaves_the_old_value_and_no_file(tmp_path):
    async with BlobManager(tmp_path) as blobs:
        await blobs.save("key", "old")
        with pytest.raises(ZeroDivisionError):
            async with blobs.open("key", "wb") as writer:
                await writer.write(b"half")
                raise ZeroDivisionError
        assert await blobs.load("key") == "old"
        writer = await blobs.open("key", "wb")
        await writer.write(b"half")
        await writer.abort()
        assert await writer.close() is None
        lost = await blobs.open("key", "wb")
        await lost.write(b"half")
        del lost, writer
        assert await blobs.load("key") == "old"
    assert temporary(tmp_path) == []


async def test_a_cancelled_write_gives_the_value_up(tmp_path):
    async with BlobManager(tmp_path) as blobs:
        writer = await blobs.open("key", "wb")
        task = asyncio.ensure_future(writer.write(b"x" * 1_000_000))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await writer.close() is None
        assert not await blobs.exists("key")


async def test_a_reader_keeps_the_value_that_it_opened(tmp_path):
    async with BlobManager(tmp_path) as blobs:
        await blobs.save("key", b"a" * 100_000)
        async with blobs.open("key") as reader:
            assert await reader.read(1) == b"a"
            await blobs.save("key", b"b" * 100_000)
            assert set(await reader.read()) == {ord("a")}


async def test_conditions_are_asked_when_the_value_is_placed(tmp_path):
    async with BlobManager(tmp_path) as blobs:
        with pytest.raises(holdall.ConflictError):
            async with blobs.open("key", "wb", if_absent=True) as writer:
                await writer.write(b"late")
                await blobs.save("key", "first")
        assert await blobs.load("key") == "first"


async def test_the_format_is_recorded_and_signed_ones_are_refused(tmp_path):
    async with BlobManager(tmp_path) as blobs:
        async with blobs.open("data", "wb", "json") as writer:
            await writer.write(b'{"a": [1, 2]}')
        assert await blobs.load("data") == {"a": [1, 2]}
        for format in ("pickle", "joblib"):
            with pytest.raises(holdall.InvalidArgumentError, match="signed"):
                await blobs.open("data", "wb", format)
        await blobs.save_with_pickle({"a": 1}, "pickle")
        async with blobs.open("pickle") as reader:
            payload = await reader.read()
        assert payload.endswith(b".") and reader.size == len(payload)


async def test_mistakes_are_named(tmp_path):
    async with BlobManager(tmp_path) as blobs:
        with pytest.raises(holdall.BlobNotFoundError):
            await blobs.open("missing")
        with pytest.raises(holdall.InvalidArgumentError, match="'rb', 'wb'"):
            blobs.open("key", "r")  # type: ignore[call-overload]
        with pytest.raises(holdall.InvalidKeyError):
            blobs.open("")
        for start, length in ((-1, 1), (0, -1), (0.5, 1)):
            with pytest.raises(holdall.InvalidArgumentError):
                await blobs.read_range("key", start, length)  # type: ignore[arg-type]
        await blobs.save("key", b"value")
        async with blobs.open("key") as reader:
            with pytest.raises(holdall.InvalidArgumentError):
                reader.seek(-1)
        async with blobs.open("key", "wb") as writer:
            with pytest.raises(TypeError):
                await writer.write("text")  # type: ignore[arg-type]
            await writer.write(b"still open")
        assert await blobs.load("key") == b"still open"


def test_without_await_they_are_files_that_others_take(tmp_path):
    with sync.BlobManager(tmp_path) as blobs:
        with blobs.open("array", "wb", "npy") as writer:
            np.save(writer, np.arange(1_000))
        assert blobs.load("array").sum() == 499_500
        with blobs.open("text", "wb", "string") as writer:
            writer.write(b"eins\nzwei\n")
        with blobs.open("text") as reader:
            lines = io.TextIOWrapper(io.BufferedReader(reader)).readlines()
        assert lines == ["eins\n", "zwei\n"]
        blobs.save("data", {"a": 1})
        with blobs.open("data") as reader:
            assert json.load(reader) == {"a": 1}
        assert reader.closed
        lost = blobs.open("lost", "wb")
        lost.write(b"half")
        del lost
        assert not blobs.exists("lost")
        assert blobs.read_range("text", 5, 4) == b"zwei"
    assert temporary(tmp_path) == []
