"""The managers without `await`."""

from __future__ import annotations

import inspect
import threading

import numpy as np
import pytest
from pydantic import BaseModel

import holdall
from holdall import sync


class Recipe(BaseModel):
    title: str


@pytest.mark.parametrize("name", sync.__all__)
def test_every_public_method_has_its_twin_with_the_same_arguments(name):
    awaited, plain = getattr(holdall, name), getattr(sync, name)
    names = {one for one in dir(awaited) if not one.startswith("_")}
    assert names == {one for one in dir(plain) if not one.startswith("_")}
    for one in names - {"base_path", "blobs"}:
        theirs = inspect.signature(getattr(awaited, one)).parameters
        ours = inspect.signature(getattr(plain, one)).parameters
        if "options" not in ours:
            assert list(ours) == list(theirs), one
        assert not inspect.iscoroutinefunction(getattr(plain, one))


def test_blobs(tmp_path, clock):
    with sync.BlobManager(tmp_path, clock=clock) as blobs:
        record = blobs.save("a", {"x": 1}, tags=["t"], ttl=60)
        assert blobs.load("a", "json") == {"x": 1}
        assert blobs.metadata("a").etag == record.etag
        blobs.save_pydantic_as_json(Recipe(title="x"), "m")
        assert blobs.load("m", model_class=Recipe) == Recipe(title="x")
        blobs.save_with_pickle(list(range(50_000)), "p")
        blobs.save_with_joblib(np.arange(50_000), "j")
        blobs.save_as_string("text", "s")
        assert (len(blobs.load("p")), blobs.load("j")[7], blobs.load("s")) == (50_000, 7, "text")
        blobs.save_many({"b": 1, "c": 2})
        assert blobs.load_many(["c", "b", "x"]) == {"c": 2, "b": 1}
        assert list(blobs.keys(page_size=2)) == ["a", "b", "c", "j", "m", "p", "s"]
        assert blobs.load("missing", default=3) == 3
        with pytest.raises(holdall.BlobNotFoundError):
            blobs.load("missing")
        blobs.rename("b", "b2")
        blobs.copy("b2", "b3")
        assert blobs.migrate("b3", "pickle").format == "pickle"
        assert blobs.evict("t") == 1
        blobs.touch("c", 1)
        clock.advance(2)
        assert (blobs.expire(), blobs.exists("c")) == (1, False)
        assert (blobs.delete("b2"), blobs.delete_many(["b3"])) == (True, 1)
        blobs.save("n", np.arange(3))
        assert blobs.load("n", mmap=True).tolist() == [0, 1, 2]
        assert blobs.get_stats()["entries"] == blobs.clear()
    with pytest.raises(holdall.StoreClosedError):
        blobs.load("a")


def test_storage(blocking_storage):
    storage = blocking_storage
    value = {"title": "x"}
    storage.set("k", value)
    assert storage.get("k") is value
    assert storage.get("k", model_class=Recipe) == Recipe(title="x")
    assert storage.get("missing", default=1) == 1
    storage.set_many({"a": 1, "b": 2})
    assert storage.get_many(["b", "a"]) == {"b": 2, "a": 1}
    storage.cache_set("c", 3, ttl=5)
    assert storage.cache_get("c") == 3
    assert storage.cache_delete("c")
    assert storage.get_or_set("d", lambda: [4]) == [4]
    assert (storage.exists("d"), storage.delete("d"), storage.exists("d")) == (True, True, False)
    assert storage.get_stats()["cache"]["entries"] == 3
    assert storage.clear() == 3


def test_threads_cause_one_load(blocking_storage):
    calls, results = [], []
    go = threading.Event()

    def loader():
        calls.append(1)
        go.wait()
        return 7

    def ask():
        results.append(blocking_storage.get_or_set("k", loader))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    go.set()
    for thread in threads:
        thread.join()
    assert results == [7] * 8
    assert len(calls) == 1


async def test_it_works_inside_a_running_loop_too(blocking_storage):
    blocking_storage.set("k", 1)
    assert blocking_storage.get("k") == 1
