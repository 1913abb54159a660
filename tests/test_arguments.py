"""Wrong arguments are named, by the managers with and without `await`, and nothing is touched."""

from __future__ import annotations

import copy
import inspect
import pickle

import pytest

import holdall
from holdall import InvalidArgumentError, sync

BLOBS = [
    ("save", ("k", 1), {"ttl": "x"}, "ttl"),
    ("save", ("k", 1), {"ttl": True}, "ttl"),
    ("save", ("k", 1), {"tags": "x"}, "tags"),
    ("save", ("k", 1), {"tags": [1]}, "tags"),
    ("save", ("k", 1), {"tags": 5}, "tags"),
    ("save", ("k", 1), {"metadata": 5}, "metadata"),
    ("save", ("k", 1), {"metadata": [("a", 1)]}, "metadata"),
    ("save", ("k", 1), {"if_match": 5}, "if_match"),
    ("save", ("k", 1), {"if_absent": "x"}, "if_absent"),
    ("save", ("k", 1), {"durability": "x"}, "durability"),
    ("save", ("k", 1), {"durability": 5}, "durability"),
    ("save", ("k", 1, "custom_json"), {"custom_encoder": 5}, "custom_encoder"),
    ("save_many", ([1],), {}, "items"),
    ("save_many", ({},), {"durability": 5}, "durability"),
    ("load", ("k",), {"mmap": "x"}, "mmap"),
    ("load", ("k",), {"custom_decoder": 5}, "custom_decoder"),
    ("load", ("k",), {"model_class": 5}, "model"),
    ("load_many", ("k",), {}, "keys"),
    ("load_many", (5,), {}, "keys"),
    ("load_many", (["k"],), {"custom_decoder": 5}, "custom_decoder"),
    ("delete", ("k",), {"if_match": 5}, "if_match"),
    ("delete_many", (5,), {}, "keys"),
    ("touch", ("k", "x"), {}, "ttl"),
    ("rename", ("k", "l"), {"overwrite": "x"}, "overwrite"),
    ("copy", ("k", "l"), {"overwrite": "x"}, "overwrite"),
    ("evict", (5,), {}, "tags"),
    ("keys", (5,), {}, "prefix"),
    ("keys", (), {"after": 5}, "after"),
    ("keys", (), {"limit": "x"}, "limit"),
    ("keys", (), {"page_size": 0}, "page"),
    ("open", ("k", "x"), {}, "mode"),
    ("open", ("k", "wb"), {"if_match": 5}, "if_match"),
    ("read_range", ("k", "x", 1), {}, "start"),
]
CACHE = [
    ("set", ("k", 1), {"ttl": "x"}, "ttl"),
    ("set", ("k", 1), {"ttl": float("nan")}, "ttl"),
    ("get_many", ("k",), {}, "keys"),
    ("get_many", (5,), {}, "keys"),
    ("set_many", ([1],), {}, "items"),
    ("incr", ("k", "x"), {}, "by"),
    ("incr", ("k", True), {}, "by"),
    ("get_or_set", ("k", 5), {}, "loader"),
    ("delete_many", (5,), {}, "keys"),
    ("touch", ("k", "x"), {}, "ttl"),
]
STORAGE = [
    ("get", ("k",), {"copy": "x"}, "copy"),
    ("get_many", (5,), {}, "keys"),
    ("set", ("k", 1), {"if_match": 5}, "if_match"),
    ("set", ("k", 1), {"copy": 5}, "copy"),
    ("set_many", ([(1, 2)],), {}, "items"),
    ("get_or_set", ("n", 5), {}, "loader"),
    ("cache_set", ("k", 1), {"ttl": "x"}, "ttl"),
]
OPTIONS = [
    ("BlobManager", {"base_path": 5}, "base_path"),
    ("BlobManager", {"durability": 5}, "durability"),
    ("BlobManager", {"lock_timeout": "x"}, "lock_timeout"),
    ("BlobManager", {"lock_timeout": -1}, "lock_timeout"),
    ("BlobManager", {"lock_timeout": float("nan")}, "lock_timeout"),
    ("BlobManager", {"clock": 5}, "clock"),
    ("BlobManager", {"allow_network_fs": "x"}, "allow_network_fs"),
    ("BlobManager", {"signing_key": 5}, "signing_key"),
    ("BlobManager", {"max_value_bytes": "x"}, "max_value_bytes"),
    ("BlobManager", {"inline_below": "x"}, "inline_below"),
    ("BlobManager", {"inline_below": 65_537}, "65,536"),
    ("BlobManager", {"inline_below": None}, "inline_below"),
    ("StorageManager", {"inline_below": -1}, "inline_below"),
    ("BlobManager", {"max_entries": 0}, "max_entries"),
    ("BlobManager", {"max_entries": "x"}, "max_entries"),
    ("StorageManager", {"max_disk_bytes": -1}, "max_disk_bytes"),
    ("StorageManager", {"eviction": "fifo"}, "eviction"),
    ("BlobManager", {"clean_every": "x"}, "clean_every"),
    ("BlobManager", {"clean_every": -1}, "clean_every"),
    ("CacheManager", {"max_size": 1.5}, "max_size"),
    ("CacheManager", {"max_size": -1}, "max_size"),
    ("CacheManager", {"default_ttl": 0}, "ttl"),
    ("CacheManager", {"max_bytes": -1}, "max_bytes"),
    ("CacheManager", {"on_evict": 5}, "on_evict"),
    ("CacheManager", {"size_of": 5}, "size_of"),
    ("CacheManager", {"policy": 5}, "policy"),
    ("CacheManager", {"clock": 5}, "clock"),
    ("StorageManager", {"copy": "x"}, "copy"),
    ("StorageManager", {"external_check": "x"}, "external_check"),
    ("StorageManager", {"external_check": -1}, "external_check"),
    ("StorageManager", {"max_size": "x"}, "max_size"),
]


async def call(manager, method, arguments, options):
    result = getattr(manager, method)(*arguments, **options)
    if inspect.isasyncgen(result):
        return [one async for one in result]
    if inspect.isgenerator(result):
        return list(result)
    return await result if inspect.isawaitable(result) else result


@pytest.mark.parametrize("face", [holdall, sync], ids=["await", "sync"])
@pytest.mark.parametrize(
    ("manager", "rows"),
    [("BlobManager", BLOBS), ("CacheManager", CACHE), ("StorageManager", STORAGE)],
)
async def test_a_wrong_argument_is_named(tmp_path, face, manager, rows):
    given = () if manager == "CacheManager" else (tmp_path,)
    one = getattr(face, manager)(*given)
    await call(one, "set" if hasattr(one, "set") else "save", ("k", 1), {})
    for method, arguments, options, named in rows:
        with pytest.raises(InvalidArgumentError) as caught:
            await call(one, method, arguments, options)
        assert named in str(caught.value), (method, options)
    await call(one, "delete", ("k",), {})
    assert await call(one, "get_stats", (), {}) is not None
    assert (await call(one, "get_stats", (), {}))["entries"] == 0


@pytest.mark.parametrize("face", [holdall, sync], ids=["await", "sync"])
@pytest.mark.parametrize(("manager", "options", "named"), OPTIONS)
def test_a_wrong_option_is_named_when_the_manager_is_made(face, manager, options, named):
    with pytest.raises(InvalidArgumentError) as caught:
        getattr(face, manager)(**options)
    assert named in str(caught.value)


@pytest.mark.parametrize("face", [holdall, sync], ids=["await", "sync"])
@pytest.mark.parametrize("manager", ["BlobManager", "CacheManager", "StorageManager"])
@pytest.mark.parametrize("way", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_manager_says_why_it_is_not_pickled_or_copied(face, manager, way):
    with pytest.raises(TypeError, match=f"a {manager} cannot be pickled or copied: .*make another"):
        way(getattr(face, manager)())


async def test_a_manager_that_is_closed_while_it_opens_stays_closed(tmp_path):
    import asyncio

    blobs = holdall.BlobManager(tmp_path)
    first = asyncio.ensure_future(blobs.save("k", 1))
    await asyncio.sleep(0)
    await blobs.close()
    with pytest.raises(holdall.StoreClosedError):
        await first
    with pytest.raises(holdall.StoreClosedError):
        await blobs.load("k")
