"""Compressed values: smaller files, and every other promise still holds."""

from __future__ import annotations

import json
import pickle

import joblib
import numpy
import pytest
from pydantic import BaseModel

import holdall
from holdall import BlobManager, StorageManager, sync

CODECS = [("zstd", ".zst"), ("lz4", ".lz4")]


class Recipe(BaseModel):
    title: str
    steps: list[str]


RECIPE = Recipe(title="Pasta", steps=["Boil water.", "Wait."] * 200)
VALUES = [
    ("json", RECIPE, {"model_class": Recipe}, ".json"),
    ("custom_json", {"a": [1, None, "é"] * 500}, {}, ".json"),
    ("pickle", ["x", {1, 2}] * 500, {}, ".pkl"),
    ("joblib", {"x": [1, 2, 3] * 1_000}, {}, ".joblib"),
    ("string", "text, " * 500, {}, ".txt"),
    ("bytes", b"\0\xff" * 1_000, {}, ".bin"),
]


@pytest.mark.parametrize(("codec", "end"), CODECS)
@pytest.mark.parametrize(("format", "value", "options", "suffix"), VALUES)
async def test_every_format_comes_back(tmp_path, codec, end, format, value, options, suffix):
    async with BlobManager(tmp_path, compression=codec) as blobs, BlobManager(tmp_path) as plain:
        saved = await blobs.save("k", value, format)
        assert (tmp_path / f"k{suffix}{end}").stat().st_size == saved.size
        assert saved.compression == codec
        assert await blobs.load("k", **options) == value
        assert await plain.load("k", format, **options) == value
        assert (await plain.metadata("k")) == saved
        assert (await plain.save("k", value, format)).compression is None
        assert not (tmp_path / f"k{suffix}{end}").exists()
        assert await blobs.load("k", **options) == value


@pytest.mark.parametrize(("codec", "end"), CODECS)
async def test_arrays_large_and_small_come_back(tmp_path, codec, end):
    async with BlobManager(tmp_path, compression=codec) as blobs:
        for size in (1_000, 2_000_000):
            array = numpy.arange(size, dtype="f8")
            for format, suffix in (("npy", ".npy"), ("joblib", ".joblib"), ("pickle", ".pkl")):
                await blobs.save("k", array, format)
                assert (tmp_path / f"k{suffix}{end}").exists()
                loaded = await blobs.load("k")
                assert numpy.array_equal(loaded, array)
                loaded[0] = 5
        await blobs.save("k", b"\0" * 20_000_000)
        assert await blobs.load("k") == b"\0" * 20_000_000


async def test_a_compressed_value_is_not_mapped_but_opened(tmp_path):
    async with BlobManager(tmp_path, compression="zstd") as blobs:
        await blobs.save("k", numpy.arange(10_000))
        with pytest.raises(holdall.InvalidArgumentError, match=r"compressed \(zstd\)"):
            await blobs.load("k", mmap=True)
        await blobs.save("t", "line\n" * 1_000)
        async with await blobs.open("t", "rb") as file:
            assert await file.read(10) == b"line\nline\n"
        assert await blobs.read_range("t", 5, 4) == b"line"
        await blobs.copy("t", "u")
        await blobs.rename("u", "v")
        await blobs.migrate("v", "json")
        assert await blobs.load("v") == "line\n" * 1_000
        assert (tmp_path / "v.json.zst").exists()


async def test_what_does_not_get_smaller_is_a_plain_file(tmp_path):
    async with BlobManager(tmp_path, compression="lz4") as blobs:
        saved = await blobs.save("k", {"a": 1})
        assert saved.compression is None
        assert json.loads((tmp_path / "k.json").read_text()) == {"a": 1}


async def test_a_strangers_pickle_is_refused_compressed_too(tmp_path):
    async with BlobManager(tmp_path, compression="zstd") as blobs:
        await blobs.save("mine", list(range(1_000)), "pickle")
        (tmp_path / "theirs.pkl.zst").write_bytes((tmp_path / "mine.pkl.zst").read_bytes())
        with pytest.raises(holdall.UntrustedPayloadError):
            await blobs.load("theirs")
        (tmp_path / "plain.pkl").write_bytes(pickle.dumps(5))
        with pytest.raises(holdall.UntrustedPayloadError):
            await blobs.load("plain")
        joblib.dump([1], tmp_path / "other.joblib")
        with pytest.raises(holdall.UntrustedPayloadError):
            await blobs.load("other")


async def test_storage_and_inline_values_are_compressed_as_well(tmp_path):
    async with StorageManager(tmp_path, compression="zstd", inline_below=4_096) as storage:
        await storage.set("k", RECIPE)
        assert not list(tmp_path.glob("k*"))
    with sync.StorageManager(tmp_path, compression="lz4") as storage:
        assert storage.get("k", model_class=Recipe) == RECIPE
        storage.set("k", RECIPE)
        assert (tmp_path / "k.json.lz4").exists()
    async with StorageManager(tmp_path) as storage:
        assert await storage.get("k", model_class=Recipe) == RECIPE


@pytest.mark.parametrize("word", ["gzip", "", 1, True])
def test_another_word_is_refused_with_those_that_there_are(word):
    with pytest.raises(holdall.InvalidArgumentError, match="'zstd', 'lz4'"):
        BlobManager("x", compression=word)
