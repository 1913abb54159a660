"""Every value comes back as it was, from memory, file and database alike, or is refused."""

from __future__ import annotations

import collections
import math
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel, Field

import holdall
from holdall import sync


def nested(depth: int, kind: str = "list") -> Any:
    value: Any = None
    for _ in range(depth):
        value = {"k": value} if kind == "dict" else [value]
    return value


def circular() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


class Raises:
    def __reduce__(self):
        raise RuntimeError("not me")


class Bad(BaseModel):
    data: bytes


class Hidden(BaseModel):
    name: str
    secret: str = Field(default="none", exclude=True)


EXACT = {
    "none": None,
    "false": False,
    "zero": 0,
    "minus zero": -0.0,
    "empty text": "",
    "empty list": [],
    "empty dict": {},
    "empty bytes": b"",
    "crlf": "a\r\nb\rc\n",
    "bom": "\ufefftext",
    "nul": "a\0b",
    "controls": "".join(map(chr, range(0x20))),
    "pickle in text": "\x80\x04N.",
    "looks like json": '{"a": 1}',
    "astral": "\U0010ffff😀\u202e",
    "2**70": 2**70,
    "-2**63-1": -(2**63) - 1,
    "smallest float": 5e-324,
    "largest float": 1.7976931348623157e308,
    "many digits": 0.1 + 0.2,
    "deep": nested(199),
    "deep dict": nested(198, "dict"),
    "names that merge elsewhere": {"a": 1, "A": 2, "á": 3, "a\u0301": 4, "": 5, "__proto__": 6},
    "pickled bytes": b"\x80\x04N.",
    "npy bytes": b"\x93NUMPY\x01\x00",
    "zstd bytes": b"\x28\xb5\x2f\xfd\x04\x00",
    "text like a path": "../../etc/passwd",
}
REFUSED = {
    "nan": math.nan,
    "infinity": math.inf,
    "nan inside": {"a": [1, math.nan]},
    "1e400": {"a": 1e400},
    "too long": 10**4_300,
    "number as name": {1: "a", "1": "b"},
    "bool as name": {True: 1},
    "none as name": {None: 1},
    "tuple as name": {(1, 2): 3},
    "set": {"a": {1, 2}},
    "bytes inside": [b"x"],
    "surrogate": "a\ud800",
    "surrogate inside": ["\udfff"],
    "surrogate as name": {"\ud800": 1},
    "too deep": nested(100_000),
    "too deep dict": nested(100_000, "dict"),
    "circular": circular(),
    "object": object(),
    "numpy scalar": np.int64(1),
    "array inside": {"a": np.arange(3)},
    "object array": np.array([object()]),
    "masked": np.ma.array([1, 2], mask=[0, 1]),
    "bytes in a model": Bad(data=b"\xff\xfe"),
}
WAYS: dict[str, dict[str, Any]] = {
    "file": {},
    "inline": {"inline_below": 65_536},
    "zstd": {"compression": "zstd"},
    "lz4": {"compression": "lz4"},
}


def same(one: Any, other: Any) -> bool:
    if isinstance(one, float):
        return isinstance(other, float) and one.hex() == other.hex()
    return type(one) is type(other) and one == other


@pytest.mark.parametrize("way", WAYS)
def test_what_is_accepted_comes_back_from_disk_and_from_memory(tmp_path, way):
    with sync.StorageManager(tmp_path / "store", **WAYS[way]) as storage:
        for key, value in EXACT.items():
            storage.set(key, value)
            assert same(storage.get(key), value), key
            assert same(storage.get(key, copy=True), value), key
    with sync.BlobManager(tmp_path / "store") as blobs:
        for key, value in EXACT.items():
            assert same(blobs.load(key), value), key
            for format in ("pickle", "joblib"):
                if format == "joblib" and key.startswith("deep"):
                    # Its pickler is Python code, which may go less deep.
                    continue
                blobs.save(f"{format}/{key}", value, format)
                assert same(blobs.load(f"{format}/{key}"), value), key


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_refused_everywhere_and_the_old_value_stands(tmp_path, way, name):
    with sync.StorageManager(tmp_path / "store", **WAYS[way]) as storage:
        storage.set("k", "old")
        with pytest.raises(holdall.HoldallError) as caught:
            storage.set("k", REFUSED[name])
        assert caught.value.key == "k"
        assert isinstance(caught.value, ValueError | TypeError)
        assert len(str(caught.value)) < 400
        assert ";" in str(caught.value), "there is no remedy"
        assert storage.get("k") == "old"
        assert storage.blobs.load("k") == "old"


@pytest.mark.parametrize("format", ["pickle", "joblib", "json", "string", "bytes", "npy"])
@pytest.mark.parametrize(
    "value", [Raises(), nested(100_000), nested(100_000, "dict")], ids=["reduce", "lists", "dicts"]
)
def test_an_object_that_cannot_be_encoded_is_an_error_and_the_old_value_stands(
    tmp_path, format, value
):
    with sync.BlobManager(tmp_path / "store") as blobs:
        blobs.save("k", "old")
        with pytest.raises(holdall.SerializationError):
            blobs.save("k", value, format)
        assert blobs.load("k") == "old"


def test_a_value_that_changes_while_it_is_saved_leaves_the_old_one(tmp_path):
    class Growing(dict[str, Any]):
        def __reduce__(self):
            self["more"] = len(self)
            return super().__reduce__()

    with sync.BlobManager(tmp_path / "store") as blobs:
        blobs.save("k", "old")
        counter = collections.Counter()

        class Changing:
            def __reduce__(self):
                holder.append(1)
                return int, ()

        holder: list[Any] = [Changing()]
        blobs.save("k", holder, "pickle")
        assert blobs.load("k")[0] == 0
        assert not counter


def test_an_excluded_field_is_not_written(tmp_path):
    with sync.BlobManager(tmp_path / "store") as blobs:
        blobs.save("k", Hidden(name="a", secret="b"))
        assert blobs.load("k") == {"name": "a"}
        assert blobs.load("k", model_class=Hidden).secret == "none"


def test_none_and_missing_and_false_are_told_apart(tmp_path):
    with sync.StorageManager(tmp_path / "store") as storage:
        for key in ("none", "false", "zero", "empty"):
            storage.set(key, {"none": None, "false": False, "zero": 0, "empty": ""}[key])
        for again in range(2):
            if again:
                storage.cache_delete("none")
            assert storage.get("none", "default") is None
            assert storage.get("false", "default") is False
            assert storage.get("zero", "default") == 0
            assert storage.get("empty", "default") == ""
            assert storage.get("missing", "default") == "default"


@pytest.mark.parametrize(
    "model_class",
    ["int", "NoSuch", "No Such[", "1/0", "__import__('os').abort()", 5, {}, object(), [1]],
    ids=lambda given: given if isinstance(given, str) else type(given).__name__,
)
def test_what_is_no_model_is_an_option_error_and_no_text_is_evaluated(tmp_path, model_class):
    with sync.BlobManager(tmp_path / "store") as blobs:
        blobs.save("k", 1)
        with pytest.raises(holdall.OptionError, match="could not load"):
            blobs.load("k", model_class=model_class)


def test_one_value_that_cannot_be_removed_does_not_keep_the_rest_of_a_tag(tmp_path):
    with sync.BlobManager(tmp_path / "store") as blobs:
        for key in ("a", "b", "c"):
            blobs.save(key, 1, tags=("t",))
        (tmp_path / "store/b.json").unlink()
        (tmp_path / "store/b.json").mkdir()
        with pytest.raises(holdall.BlobCorruptError):
            blobs.evict("t")
        assert not blobs.exists("a")
        assert not blobs.exists("c")
