"""The other formats, their table and the choice from it."""

from __future__ import annotations

import dataclasses
import io
import json
import pickle
import threading
from datetime import datetime
from typing import get_args

import joblib
import numpy as np
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import holdall
import holdall.types
from holdall import formats
from holdall.errors import (
    DeserializationError,
    InvalidJSONError,
    OptionError,
    SerializationError,
    UnknownFormatError,
)
from holdall.formats._joblib_arrays import classes as joblib_classes


def joined(parts):
    one = isinstance(parts, bytes | bytearray | memoryview)
    return bytes(parts) if one else b"".join(bytes(part) for part in parts)


def encoded(name, value, **options):
    return joined(formats.find(name).encode(value, options))


def back(name, value, **options):
    return formats.find(name).decode(encoded(name, value), options)


# -- the table --------------------------------------------------------------------------------


def test_every_name_of_the_specification_is_there():
    assert set(formats.FORMATS) == {
        "json", "custom_json", "pickle", "joblib", "string", "bytes", "npy"
    }  # fmt: skip
    assert formats.find("text") is formats.find("string")
    assert all(codec.name == name for name, codec in formats.FORMATS.items())


@pytest.mark.parametrize("name", ["yaml", "", "JSON", None, 3, ["json"]])
def test_an_unknown_format_names_those_there_are(name):
    with pytest.raises(UnknownFormatError, match="json, custom_json, pickle, joblib"):
        formats.find(name)


@dataclasses.dataclass
class Data:
    a: int


class Model(pydantic.BaseModel):
    a: int


@pytest.mark.parametrize(("value", "name"), [
    (Model(a=1), "json"), (Data(1), "json"), ({}, "json"), ([], "json"), ((), "json"),
    (1, "json"), (1.5, "json"), (True, "json"), (None, "json"), ("", "string"), (b"", "bytes"),
    (bytearray(), "bytes"), (memoryview(b""), "bytes"), (np.zeros(1), "npy"),
])  # fmt: skip
def test_a_format_is_chosen_by_type(value, name):
    assert formats.codec_for(value).name == name


@pytest.mark.parametrize("value", [
    object(), {1}, datetime(2024, 1, 1), np.array([None]), np.float32(1), Model, print,
])  # fmt: skip
def test_a_type_that_no_safe_format_takes_is_never_pickled_by_itself(value):
    with pytest.raises(UnknownFormatError, match="pickle"):
        formats.codec_for(value)


def test_an_option_that_the_format_does_not_take_names_what_it_takes():
    codec = formats.find("npy")
    with pytest.raises(OptionError, match="no options; model_class is for json, pickle, joblib"):
        formats.taken(codec, {"model_class": int}, codec.decode_options)
    codec = formats.find("custom_json")
    with pytest.raises(OptionError, match="takes custom_decoder"):
        formats.taken(codec, {"model_class": int}, codec.decode_options)
    assert formats.taken(codec, {"model_class": None}, codec.decode_options) == {}


# -- text and bytes ---------------------------------------------------------------------------


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_text_comes_back_character_for_character(text):
    assert back("string", text) == text


def test_newlines_and_byte_order_marks_are_kept():
    text = "\ufeffa\r\nb\rc\n\0"
    assert back("string", text) == text
    assert encoded("string", text) == text.encode()


@pytest.mark.parametrize("value", ["\ud800", b"x", 1, None])
def test_what_is_not_text_is_refused(value):
    with pytest.raises(SerializationError):
        encoded("string", value)


def test_bytes_that_are_not_utf8_are_no_text():
    with pytest.raises(DeserializationError, match="byte 1"):
        formats.find("string").decode(b"a\xff", {})


@pytest.mark.parametrize("value", [
    b"abc", bytearray(b"abc"), memoryview(b"abc"), memoryview(b"aabbcc")[::2],
    memoryview(np.frombuffer(b"abcd", "u2").copy()), memoryview(b""),
])  # fmt: skip
def test_bytes_like_objects_come_back_as_bytes(value):
    found = back("bytes", value)
    assert type(found) is bytes
    assert found == value.tobytes() if isinstance(value, memoryview) else found == value


def test_other_objects_are_not_bytes():
    with pytest.raises(SerializationError, match="takes bytes"):
        encoded("bytes", "text")


# -- custom_json ------------------------------------------------------------------------------


def test_custom_json_is_json_dumps_and_the_encoder_sees_datetimes():
    def custom_encoder(obj):
        return obj.isoformat() if isinstance(obj, datetime) else str(obj)

    value = {"at": datetime(2024, 1, 2), "ü": {1, 2}, 3: (4,)}
    data = encoded("custom_json", value, custom_encoder=custom_encoder)
    assert json.loads(data) == {"at": "2024-01-02T00:00:00", "ü": "{1, 2}", "3": [4]}

    def custom_decoder(found):
        return {key: str(value).upper() for key, value in found.items()}

    codec = formats.find("custom_json")
    assert codec.decode(b'{"a": "b"}', {"custom_decoder": custom_decoder}) == {"a": "B"}


def test_custom_json_fails_with_errors_of_ours():
    def bad(_):
        raise KeyError("secret")

    with pytest.raises(SerializationError) as caught:
        encoded("custom_json", {1}, custom_encoder=bad)
    assert "secret" not in str(caught.value)
    with pytest.raises(SerializationError, match="give a custom_encoder"):
        encoded("custom_json", {1})
    items: list = []
    items.append(items)
    with pytest.raises(SerializationError):
        encoded("custom_json", items)
    with pytest.raises(InvalidJSONError) as caught:
        formats.find("custom_json").decode(b'{"a":\n nope}', {})
    assert (caught.value.lineno, caught.value.colno) == (2, 2)
    with pytest.raises(DeserializationError):
        formats.find("custom_json").decode(b"{}", {"custom_decoder": bad})


# -- pickle and joblib ------------------------------------------------------------------------


@pytest.mark.parametrize("value", [
    {1: {2, 3}}, None, list(range(100_000)), {"a": b"x" * 300_000}, Data(1),
    [np.arange(50_000), "x"],
], ids=["small", "none", "long", "bytes", "object", "array"])  # fmt: skip
@pytest.mark.parametrize("name", ["pickle", "joblib"])
def test_objects_come_back_and_other_programs_read_them(name, value):
    data = encoded(name, value)
    for found in (
        formats.find(name).decode(data, {}),
        pickle.loads(data) if name == "pickle" else joblib.load(io.BytesIO(data)),
    ):
        assert repr(found) == repr(value)


def test_pickles_are_protocol_5():
    assert encoded("pickle", 1)[:2] == b"\x80\x05"
    assert encoded("pickle", list(range(5_000)))[:2] == b"\x80\x05"


@pytest.mark.parametrize("compress", [0, 3, ("gzip", 1)])
def test_joblib_files_of_others_are_read(compress, tmp_path):
    joblib.dump({"a": np.arange(1000)}, tmp_path / "x", compress=compress)
    found = formats.find("joblib").decode((tmp_path / "x").read_bytes(), {})
    assert found["a"].sum() == 499_500


def test_arrays_from_joblib_are_writable_and_files_can_be_mapped(tmp_path):
    (tmp_path / "x").write_bytes(encoded("joblib", np.arange(10_000.0)))
    assert joblib.load(tmp_path / "x", mmap_mode="r")[7] == 7
    back("joblib", np.arange(3))[0] = 1


large_arrays = [
    np.arange(20_000.0).reshape(100, 200),
    np.asfortranarray(np.arange(20_000.0).reshape(100, 200)),
    np.arange(40_000.0)[::2],
    np.arange(20_000, dtype=">i8"),
    np.zeros(20_000, dtype="M8[s]"),
    np.zeros(9_000, dtype=[("x", "i2"), ("y", "f8")]),
    np.full(9_000, None),
    np.ma.masked_array(np.arange(20_000.0), np.arange(20_000) % 2),
]


def test_joblib_has_the_bytes_of_joblib_and_takes_arrays_without_a_copy():
    assert joblib_classes() is not None, "joblib works in another way now"
    for array in large_arrays:
        for value in (array, {"a": array, "b": [array, 1]}):
            theirs = io.BytesIO()
            joblib.dump(value, theirs, protocol=5)
            assert encoded("joblib", value) == theirs.getvalue()
    array = large_arrays[0]
    parts = formats.find("joblib").encode([array], {})
    assert any(np.shares_memory(np.frombuffer(part, "u1"), array) for part in parts)


def test_joblib_makes_of_a_bytearray_what_joblib_makes_of_the_file():
    for array in large_arrays:
        for value in (array, {"a": array, "b": [array, 1]}):
            data = bytearray(encoded("joblib", value))
            wanted, found = (joblib.load(io.BytesIO(data)), formats.find("joblib").decode(data, {}))
            assert repr(found) == repr(wanted)
            one, other = (
                (found, wanted) if isinstance(value, np.ndarray) else (found["a"], wanted["a"])
            )
            assert type(one) is type(other)
            assert (one.dtype, one.flags.writeable) == (other.dtype, True)
            assert one.flags.f_contiguous == other.flags.f_contiguous
            assert one.flags.aligned


def test_an_array_keeps_the_memory_of_a_joblib_file_only_if_it_is_most_of_it():
    most, part = np.arange(100_000.0), np.arange(20_000.0)
    data = bytearray(encoded("joblib", [most, part]))
    found = formats.find("joblib").decode(data, {})
    assert np.shares_memory(found[0], np.frombuffer(data, "u1"))
    assert found[1].base is None
    found[0][:] = 0
    assert (found[1] == part).all()


def test_joblib_does_it_all_where_its_inner_parts_are_unknown(monkeypatch):
    monkeypatch.setattr("holdall.formats.joblib.classes", lambda: None)
    value = {"a": np.arange(20_000.0), "b": "text"}
    data = encoded("joblib", value)
    for whole in (data, bytearray(data)):
        assert repr(formats.find("joblib").decode(whole, {})) == repr(value)


def test_a_joblib_file_that_says_a_wrong_length_is_an_error_and_reads_nothing_else():
    data = encoded("joblib", np.arange(20_000.0))
    for cut in (8, 1_000, 150_000):
        with pytest.raises(DeserializationError):
            formats.find("joblib").decode(bytearray(data[:-cut]), {})


def deep():
    value: list = []
    for _ in range(100_000):
        value = [value]
    return value


@pytest.mark.parametrize("name", ["pickle", "joblib"])
@pytest.mark.parametrize("value", [threading.Lock(), lambda: 1, [lambda: 1] * 5_000, deep()],
                         ids=["lock", "lambda", "large", "deep"])  # fmt: skip
def test_what_cannot_be_pickled_is_a_serialization_error(name, value):
    with pytest.raises(SerializationError, match=r"cannot be pickled|nested too deeply"):
        encoded(name, value)


class Vanished:
    pass


def test_unreadable_pickles_are_deserialization_errors(monkeypatch):
    data = encoded("pickle", Vanished())
    monkeypatch.delitem(globals(), "Vanished")
    with pytest.raises(DeserializationError, match="cannot be imported here"):
        formats.find("pickle").decode(data, {})
    for name in ("pickle", "joblib"):
        for bad in (b"", b"\x80\x05", b"nonsense", b"\x80\x05" + b"(" * 100_000):
            with pytest.raises(DeserializationError):
                formats.find(name).decode(bad, {})


# -- npy --------------------------------------------------------------------------------------

ARRAYS = [
    np.arange(6).reshape(2, 3),
    np.asfortranarray(np.arange(6).reshape(2, 3)),
    np.arange(24).reshape(2, 3, 4).transpose(2, 0, 1),
    np.arange(10)[::3],
    np.array(7.5),
    np.zeros((0, 3)),
    np.array([]),
    np.arange(5, dtype=">i4"),
    np.array(["2024-01-01", "NaT"], "M8[s]"),
    np.array([(1, 2.5, "x")], [("a", "<i4"), ("b", ">f8"), ("c", "U3")]),
    np.array([(1,)], [("größe", "i4")]),
    np.array([(1,)], [("数", "i4")]),
    np.array(["a", "béé"]),
    np.array(["", ""]),
    np.array([1 + 2j]),
    np.array([True, False]),
    np.zeros(1, [(f"field_{n:06}", "i1") for n in range(200)]),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: str(array.dtype)[:20])
def test_arrays_come_back_and_numpy_reads_them(array):
    data = encoded("npy", array)
    codec = formats.find("npy")
    saved = io.BytesIO()
    with __import__("warnings").catch_warnings():
        __import__("warnings").simplefilter("ignore")
        np.save(saved, array)
        loaded = np.load(io.BytesIO(data))
    for found in (codec.decode(data, {}), codec.decode(saved.getvalue(), {}), loaded):
        assert found.dtype == array.dtype
        assert found.shape == array.shape
        assert found.tobytes() == array.tobytes()
        assert found.flags.writeable


@given(npst.arrays(npst.scalar_dtypes() | npst.array_dtypes(), npst.array_shapes(min_dims=0)))
def test_any_array_comes_back(array):
    found = back("npy", array)
    assert found.dtype == array.dtype
    assert found.tobytes() == array.tobytes()


def test_the_buffer_of_a_contiguous_array_is_not_copied():
    for array in (np.arange(6.0).reshape(2, 3), np.asfortranarray(np.ones((2, 3)))):
        _, buffer = formats.find("npy").encode(array, {})
        assert np.shares_memory(np.frombuffer(buffer, "u1"), array)


@pytest.mark.parametrize("value", [
    np.array([None]), np.array([{}], object), np.zeros(1, [("a", "O")]), [1, 2], np.float64(1),
    np.ma.masked_array([1], [True]),
], ids=lambda value: type(value).__name__)  # fmt: skip
def test_objects_and_what_is_no_array_are_refused(value):
    with pytest.raises(SerializationError, match="pickle"):
        encoded("npy", value)


def test_an_array_of_variable_strings_is_refused():
    kind = getattr(np.dtypes, "StringDType", None)
    if kind is None:
        pytest.skip("numpy 1 has none")
    with pytest.raises(SerializationError, match="pickle"):
        encoded("npy", np.array(["a"], kind()))


def header(shape, descr="'<f8'"):
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize("data", [
    b"", b"\x93NUMPY", b"PK\x03\x04", header("(1,)"), header("(10**9, 10**9)"),
    header("(1000000000000000,)"), header("(-1,)"), header("(1,)", "'|O'") + b"cposix\nsystem\n",
    header("(1,)") + b"\0" * 7, b"\x93NUMPY\x09\x00" + b"\0" * 50, header("'x'"), header("(" * 300),
    header("(1,)", "'<f8'" + " " * 20_000),
], ids=range(13))  # fmt: skip
def test_hostile_array_files_are_errors(data):
    with pytest.raises(DeserializationError, match="without pickle"):
        formats.find("npy").decode(data, {})


class Scaler:
    def __init__(self, factor):
        self.factor = factor


@pytest.mark.parametrize("format", ["pickle", "joblib"])
async def test_an_object_is_of_the_class_asked_for_in_every_process(format, tmp_path):
    async with holdall.StorageManager(tmp_path) as storage:
        await storage.set("k", Scaler(2), format=format)
        assert (await storage.get("k", model_class=Scaler)).factor == 2
    async with holdall.StorageManager(tmp_path) as another:
        assert (await another.get("k", model_class=Scaler)).factor == 2
    async with holdall.BlobManager(tmp_path) as blobs:
        with pytest.raises(DeserializationError, match="the value is a Scaler, not a dict"):
            await blobs.load("k", model_class=dict)
        with pytest.raises(OptionError, match="give a class"):
            await blobs.load("k", model_class=list[Scaler])


def test_the_words_for_formats_that_type_checkers_know_are_those_there_are():
    assert set(get_args(holdall.types.Format)) == set(formats.FORMATS) | set(formats.ALIASES)
