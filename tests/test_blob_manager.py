"""`BlobManager` through its public methods."""

from __future__ import annotations

import asyncio
import copy
import json
import math
import pickle
import threading
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from pydantic import BaseModel

import holdall
from holdall import BlobManager


class Recipe(BaseModel):
    title: str


BAD_KEYS = ["", "a\0b", "\ud800", None, 7, b"key"]
BAD_TTLS = [0, -1, 0.0, math.nan, math.inf, -math.inf, True, False, timedelta(0), "1", 1e300]


@pytest.mark.parametrize("key", BAD_KEYS)
async def test_a_bad_key_is_a_value_error_before_anything_is_touched(key, tmp_path):
    manager = BlobManager(tmp_path / "store")
    for call in (
        lambda: manager.save(key, 1),
        lambda: manager.load(key),
        lambda: manager.load(key, default=1),
        lambda: manager.exists(key),
        lambda: manager.delete(key),
        lambda: manager.metadata(key),
        lambda: manager.touch(key),
        lambda: manager.rename("a", key),
        lambda: manager.copy(key, "a"),
        lambda: manager.migrate(key, "json"),
        lambda: manager.load_many([key]),
    ):
        with pytest.raises(ValueError, match="non-empty str") as caught:
            await call()
        assert isinstance(caught.value, holdall.InvalidKeyError)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("ttl", BAD_TTLS, ids=repr)
async def test_a_bad_ttl_is_a_value_error_before_anything_is_touched(ttl, tmp_path):
    manager = BlobManager(tmp_path / "store")
    for call in (
        lambda: manager.save("a", 1, ttl=ttl),
        lambda: manager.save_many({"a": 1}, ttl=ttl),
        lambda: manager.touch("a", ttl),
    ):
        with pytest.raises(ValueError, match="above zero") as caught:
            await call()
        assert isinstance(caught.value, holdall.InvalidArgumentError)
    assert not (tmp_path / "store").exists()


async def test_making_a_manager_touches_nothing(tmp_path):
    Path(".env").mkdir()
    manager = BlobManager(tmp_path / "store")
    assert manager.base_path == tmp_path / "store"
    assert "store" in repr(manager)
    await manager.close()
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("value", [None, False, 0, "", [], {}, b""])
async def test_falsy_values_are_not_missing(blobs, value):
    await blobs.save("k", value)
    found = await blobs.load("k", default="default")
    assert found == value
    assert type(found) is type(value)


async def test_a_missing_key(blobs):
    with pytest.raises(holdall.BlobNotFoundError, match="missing") as caught:
        await blobs.load("missing")
    assert isinstance(caught.value, FileNotFoundError)
    assert isinstance(caught.value, KeyError)
    assert caught.value.key == "missing"
    assert await blobs.load("missing", default=None) is None
    assert await blobs.load("missing", mmap=True, default=3) == 3


async def test_a_wrong_format_is_an_error_and_text_is_string(blobs):
    await blobs.save("k", "text", "text")
    assert await blobs.load("k", "text") == await blobs.load("k", "string") == "text"
    with pytest.raises(holdall.FormatMismatchError, match="string"):
        await blobs.load("k", "json")
    with pytest.raises(holdall.UnknownFormatError, match=r'could not save "k": .*use one of json'):
        await blobs.save("k", 1, "yaml")


async def test_a_failed_save_leaves_the_old_value(blobs):
    await blobs.save("k", {"a": 1})
    for value, format in (({1, 2}, "json"), (object(), None), (threading.Lock(), "pickle")):
        with pytest.raises((holdall.SerializationError, holdall.UnknownFormatError)) as caught:
            await blobs.save("k", value, format)
        assert caught.value.key == "k"
        assert caught.value.operation == "save"
        assert str(caught.value).startswith('could not save "k": ')
    assert await blobs.load("k") == {"a": 1}


async def test_an_option_that_the_format_does_not_take(blobs):
    with pytest.raises(holdall.OptionError, match='could not save "k": the format json'):
        await blobs.save("k", 1, "json", custom_encoder=str)
    await blobs.save("k", b"x")
    with pytest.raises(holdall.OptionError, match="bytes does not take model_class"):
        await blobs.load("k", model_class=Recipe)


async def test_model_class(blobs):
    await blobs.save_pydantic_as_json(Recipe(title="x"), "k")
    assert await blobs.load("k", model_class=Recipe) == Recipe(title="x")
    assert await blobs.load("k") == {"title": "x"}
    await blobs.save("many", [Recipe(title="y")])
    assert await blobs.load("many", model_class=list[Recipe]) == [Recipe(title="y")]
    with pytest.raises(holdall.DeserializationError, match='could not load "many"') as caught:
        await blobs.load("many", model_class=Recipe)
    assert type(caught.value.__cause__).__name__ == "ValidationError"


async def test_metadata_tags_and_conditions(blobs, clock):
    record = await blobs.save("k", 1, tags=("a", "b"), metadata={"by": "me"}, ttl=60)
    assert (record.key, record.format, record.size) == ("k", "json", 1)
    assert (record.tags, record.metadata) == (("a", "b"), {"by": "me"})
    assert record.expires_at == clock.now() + timedelta(seconds=60)
    assert (await blobs.metadata("k")).etag == record.etag
    with pytest.raises(FileExistsError):
        await blobs.save("k", 2, if_absent=True)
    newer = await blobs.save("k", 2, if_match=record.etag)
    with pytest.raises(holdall.ConflictError):
        await blobs.save("k", 3, if_match=record.etag)
    with pytest.raises(holdall.ConflictError):
        await blobs.delete("k", if_match=record.etag)
    assert await blobs.delete("k", if_match=newer.etag)
    with pytest.raises(holdall.InvalidArgumentError, match="tags"):
        await blobs.save("k", 1, tags="word")
    with pytest.raises(holdall.SerializationError, match="metadata"):
        await blobs.save("k", 1, metadata={"x": {1}})


async def test_a_record_survives_pickling_and_copying(blobs):
    await blobs.save("plain", 1)
    await blobs.save("k" * 2_000, {1}, "pickle", tags=("a", "b"), metadata={"by": "me"}, ttl=60)
    for key in ("plain", "k" * 2_000):
        record = await blobs.metadata(key)
        for again in (pickle.loads(pickle.dumps(record)), copy.deepcopy(record)):
            assert again == record
            for name in ("key", "format", "size", "etag", "checksum", "tags", "metadata"):
                assert getattr(again, name) == getattr(record, name)
            assert again.expires_at == record.expires_at
    with pytest.raises(holdall.InvalidArgumentError):
        holdall.BlobMetadata("k", b"something else")


async def test_ttl_and_touch(blobs, clock):
    await blobs.save("k", 1, ttl=timedelta(minutes=1))
    await blobs.save("for ever", 1)
    clock.advance(59)
    assert await blobs.exists("k")
    await blobs.touch("k", 10)
    clock.advance(9)
    assert await blobs.load("k") == 1
    clock.advance(2)
    assert not await blobs.exists("k")
    assert await blobs.load("k", default=None) is None
    assert await blobs.expire() == 1
    assert await blobs.load("for ever") == 1


async def test_many(blobs):
    saved = await blobs.save_many({"b": 1, "a": "x", "c": b"y"})
    assert {key: one.format for key, one in saved.items()} == {
        "a": "string", "b": "json", "c": "bytes"
    }  # fmt: skip
    assert list((await blobs.load_many(["c", "missing", "a", "c"])).items()) == [
        ("c", b"y"), ("a", "x")
    ]  # fmt: skip
    assert await blobs.delete_many(["a", "b", "missing"]) == 2
    assert [key async for key in blobs.keys()] == ["c"]
    for call in (blobs.load_many, blobs.delete_many):
        with pytest.raises(holdall.InvalidArgumentError, match="list"):
            await call("c")


async def test_a_batch_does_what_it_can_and_says_what_failed(blobs):
    with pytest.raises(holdall.BatchError, match="2 of 4 keys failed") as caught:
        await blobs.save_many({"a": 1, "bad": {1: 1}, "": 2, "b": 3})
    assert list(caught.value.succeeded) == ["a", "b"]
    assert list(map(type, caught.value.errors.values())) == [
        holdall.InvalidKeyError, holdall.SerializationError
    ]  # fmt: skip
    await blobs.save("c", "text")
    with pytest.raises(holdall.BatchError) as caught:
        await blobs.load_many(["a", "c", "missing", "b"], format="json")
    assert caught.value.succeeded == {"a": 1, "b": 3}
    assert list(caught.value.errors) == ["c"]
    copied = pickle.loads(pickle.dumps(caught.value))
    assert str(copied) == str(caught.value)
    assert list(copied.errors) == ["c"]


async def test_keys_come_in_order_page_by_page(blobs):
    names = [f"{letter}/{n:02}" for letter in "ab" for n in range(7)]
    await blobs.save_many(dict.fromkeys(reversed(names), 0))
    for size in (1, 3, 7, 1000):
        assert [key async for key in blobs.keys(page_size=size)] == names
    assert [key async for key in blobs.keys("b/", page_size=2)] == names[7:]
    assert [key async for key in blobs.keys(after="a/03", limit=5, page_size=2)] == names[4:9]
    assert [key async for key in blobs.keys(limit=0)] == []
    with pytest.raises(holdall.InvalidArgumentError):
        _ = [key async for key in blobs.keys(page_size=0)]


async def test_a_listing_that_is_left_in_the_middle_leaves_nothing_behind(blobs, caplog):
    await blobs.save_many({f"{n:02}": 0 for n in range(20)})
    listing = blobs.keys(page_size=5)
    assert await listing.__anext__() == "00"
    await listing.aclose()
    async for key in blobs.keys(page_size=1):
        if key == "02":
            break
    assert await blobs.delete_many([f"{n:02}" for n in range(20)]) == 20
    assert [key async for key in blobs.keys()] == []
    assert "never retrieved" not in caplog.text


async def test_values_that_have_expired_are_in_no_listing(tmp_path):
    clock = holdall.testing.ManualClock()
    async with holdall.BlobManager(tmp_path / "store", clock=clock) as blobs:
        for n in range(12):
            await blobs.save(f"{n:02}", n, ttl=10 if n % 3 else None)
        clock.advance(11)
        for size in (1, 4, 100):
            assert [key async for key in blobs.keys(page_size=size)] == ["00", "03", "06", "09"]


async def test_rename_copy_and_clear(blobs):
    await blobs.save("a", 1)
    await blobs.save("b", 2)
    with pytest.raises(holdall.ConflictError):
        await blobs.rename("a", "b")
    await blobs.rename("a", "b", overwrite=True)
    await blobs.copy("b", "c")
    assert await blobs.load_many(["a", "b", "c"]) == {"b": 1, "c": 1}
    assert await blobs.clear() == 2
    stats = await blobs.get_stats()
    assert (stats["entries"], stats["folder"]) == (0, str(blobs.base_path))


async def test_migrate_keeps_tags_metadata_and_expiry(blobs, clock):
    await blobs.save("k", {"a": 1}, "pickle", tags=["t"], metadata={"m": 1}, ttl=100)
    clock.advance(40)
    record = await blobs.migrate("k", "json")
    assert (record.format, record.tags, record.metadata) == ("json", ("t",), {"m": 1})
    clock.advance(59)
    assert await blobs.load("k", "json") == {"a": 1}
    clock.advance(2)
    assert not await blobs.exists("k")
    await blobs.save("k", {1}, "pickle")
    with pytest.raises(holdall.SerializationError, match="migrate"):
        await blobs.migrate("k", "json")
    assert await blobs.load("k") == {1}
    assert (await blobs.migrate("k", "pickle")).format == "pickle"
    with pytest.raises(holdall.BlobNotFoundError):
        await blobs.migrate("missing", "json")


async def test_evict_removes_by_tag(blobs):
    await blobs.save_many({"a": 1, "b": 2}, tags=["old"])
    await blobs.save("c", 3, tags=["new"])
    assert await blobs.evict("old") == 2
    assert [key async for key in blobs.keys()] == ["c"]


async def test_an_array_can_be_mapped(blobs):
    await blobs.save("a", np.arange(1000.0))
    found = await blobs.load("a", mmap=True)
    assert isinstance(found, np.memmap)
    assert found[999] == 999
    with pytest.raises(ValueError, match="read-only"):
        found[0] = 1
    await blobs.save("empty", np.zeros((0, 3)))
    assert (await blobs.load("empty", "npy", mmap=True)).shape == (0, 3)
    await blobs.save("text", "x")
    with pytest.raises(holdall.FormatMismatchError, match="string"):
        await blobs.load("text", mmap=True)


async def test_large_values_are_pickled_while_the_loop_runs(blobs, monkeypatch):
    from holdall.formats import FORMATS

    seen = []
    codec = type(FORMATS["pickle"])
    for name in ("encode", "decode"):
        real = getattr(codec, name)

        def watched(self, *args, real=real):
            seen.append(threading.current_thread().name)
            return real(self, *args)

        monkeypatch.setattr(codec, name, watched)
    await blobs.save("small", {1}, "pickle")
    await blobs.load("small")
    await blobs.save("large", list(range(100_000)), "pickle")
    assert len(await blobs.load("large")) == 100_000
    assert seen[:2] == ["MainThread"] * 2
    assert all(name.startswith("holdall-codec") for name in seen[2:])
    with pytest.raises(holdall.SerializationError):
        await blobs.save("bad", [threading.Lock()] * 2_000, "pickle")


async def test_other_programs_read_the_files(blobs):
    await blobs.save("j", {"a": 1})
    await blobs.save("p", {1}, "pickle")
    await blobs.save("n", np.arange(3))
    base = blobs.base_path
    assert json.loads((base / "j.json").read_bytes()) == {"a": 1}
    assert pickle.loads((base / "p.pkl").read_bytes()) == {1}
    assert np.load(base / "n.npy").tolist() == [0, 1, 2]


async def test_many_tasks_at_once(blobs):
    await asyncio.gather(*(blobs.save(str(n), n) for n in range(200)))
    assert await asyncio.gather(*(blobs.load(str(n)) for n in range(200))) == list(range(200))


async def test_after_close_every_call_is_an_error(tmp_path):
    async with BlobManager(tmp_path) as manager:
        await manager.save("a", 1)
    await manager.close()
    for call in (manager.load("a"), manager.save("a", 1), manager.clear(), manager.get_stats()):
        with pytest.raises(holdall.StoreClosedError, match="closed"):
            await call


async def test_switched_off(monkeypatch, tmp_path):
    monkeypatch.setenv("BLOB_STORAGE_ENABLED", "false")
    manager = BlobManager(tmp_path / "store")
    with pytest.raises(holdall.StorageDisabledError, match="BLOB_STORAGE_ENABLED"):
        await manager.save("a", 1)


@pytest.mark.parametrize(
    "option", [{"durability": "never"}, {"trust": "all"}, {"on_corrupt": "ignore"}]
)
def test_a_wrong_word_names_those_allowed(option):
    with pytest.raises(holdall.InvalidArgumentError, match="use one of"):
        BlobManager("x", **option)
