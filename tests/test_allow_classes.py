"""`allow_classes`: what a pickle may name, whoever signed it."""

from __future__ import annotations

import collections
import copyreg
import datetime
import decimal
import io
import os
import pathlib
import pickle
import struct
import uuid
import zoneinfo

import joblib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import holdall
from holdall import BlobManager, StorageManager, sync
from holdall._core import pickle_end
from holdall.formats import FORMATS, Allowed
from holdall.formats._restricted import RestrictedUnpickler


class Recipe:
    """A class of ours."""

    def __init__(self, title):
        self.title = title

    def __eq__(self, other):
        return type(other) is type(self) and other.title == self.title

    __hash__ = None

    class Step:
        """One inside."""

        def __eq__(self, other):
            return type(other) is Recipe.Step

        __hash__ = None

    @classmethod
    def made(cls):
        """What a bound method of a class stands for."""
        return cls("made")


class Other(Recipe):
    """Another class."""


RAN: list[object] = []  # what a payload leaves behind


def run(*arguments):
    """What no pickle may call."""
    RAN.append(arguments)


HERE = __name__


@pytest.fixture(autouse=True, scope="module")
def nothing_ran():
    yield
    assert RAN == []


def read(data, *classes, format="pickle"):
    """The value of bytes that somebody signed, or that are trusted."""
    return FORMATS[format].decode(data, {"allow_classes": Allowed(classes)})


def refused(data, *classes, format="pickle"):
    with pytest.raises(holdall.PickleRefusedError) as caught:
        read(data, *classes, format=format)
    return caught.value


def text(word):
    return b"\x8c" + bytes([len(word)]) + word.encode()


def named(module, name):
    """A pickle of protocol 4 that names something."""
    return text(module) + text(name) + b"\x93"


# -- what is always allowed -----------------------------------------------------------------------

PLAIN = [
    None, True, 2**70, 1.5, 1j, "text", b"bytes", bytearray(b"x"), [1], (1,), {"a": {1}}, range(3),
    frozenset({1}), slice(1, 2), Ellipsis, NotImplemented,
    collections.Counter("aab"), collections.OrderedDict(a=1), collections.deque([1], 3),
    collections.defaultdict(list, a=[1]),
    datetime.date(2026, 1, 1), datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc),
    datetime.time(1), datetime.timedelta(3),
    datetime.datetime(2026, 1, 1, tzinfo=zoneinfo.ZoneInfo("UTC")),
    decimal.Decimal("1.5"), uuid.UUID(int=7), pathlib.PurePosixPath("a/b"), pathlib.Path("a"),
]  # fmt: skip


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_are_read_in_every_protocol_with_no_class_allowed(protocol):
    for value in PLAIN:
        assert read(pickle.dumps(value, protocol)) == value, value
    twice = [shared := [1], shared]
    twice.append(twice)
    got = read(pickle.dumps(twice, protocol))
    assert got[0] is got[1] and got[2] is got


@pytest.mark.parametrize("format", ["pickle", "joblib"])
async def test_what_is_saved_under_a_wall_comes_back_under_it(tmp_path, format):
    large = [{"title": str(n), "when": datetime.date(2026, 1, 1)} for n in range(5_000)]
    async with BlobManager(tmp_path, allow_classes=[Recipe]) as blobs:
        for number, value in enumerate([*PLAIN, Recipe("Pasta"), [Recipe("a"), {1}], large]):
            await blobs.save(str(number), value, format)
            assert await blobs.load(str(number)) == value


# -- classes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("allowed", [Recipe, f"{HERE}.Recipe"], ids=["class", "name"])
@pytest.mark.parametrize("protocol", range(6))
def test_an_allowed_class_is_read_by_itself_or_by_its_exact_name(allowed, protocol):
    assert read(pickle.dumps(Recipe("Pasta"), protocol), allowed) == Recipe("Pasta")
    error = refused(pickle.dumps(Other("x"), protocol), allowed)
    assert error.name == f"{HERE}.Other"


def test_a_class_inside_a_class_needs_its_own_name():
    data = pickle.dumps(Recipe.Step())
    assert refused(data, Recipe).name == f"{HERE}.Recipe.Step"
    for allowed in (Recipe.Step, f"{HERE}.Recipe.Step"):
        assert read(data, allowed) == Recipe.Step()


@pytest.mark.parametrize("format", ["pickle", "joblib"])
async def test_a_refused_class_is_named_with_key_and_remedy_in_loads_and_in_saves(tmp_path, format):
    async with (
        BlobManager(tmp_path) as anybody,
        BlobManager(tmp_path, allow_classes=[Recipe]) as blobs,
        StorageManager(tmp_path, allow_classes=[Recipe]) as storage,
    ):
        await anybody.save("k", [Other("secret")], format)
        calls = [
            ("load", lambda: blobs.load("k")),
            ("load", lambda: blobs.load("k", model_class=list)),
            ("migrate", lambda: blobs.migrate("k", "pickle" if format == "joblib" else "joblib")),
            ("load", lambda: storage.get("k")),
            ("load", lambda: storage.get_or_set("k", lambda: 1)),
            ("save", lambda: blobs.save("new", Other("secret"), format)),
            ("save", lambda: storage.set("new", Other("secret"), format=format)),
        ]
        for operation, call in calls:
            with pytest.raises(holdall.PickleRefusedError) as caught:
                await call()
            error = caught.value
            assert isinstance(error, holdall.UntrustedPayloadError | PermissionError)
            assert error.name == f"{HERE}.Other"
            assert error.key == ("new" if operation == "save" else "k")
            message = str(error)
            assert f"{HERE}.Other" in message and "add it to allow_classes" in message
            assert "secret" not in message
            copied = pickle.loads(pickle.dumps(error))
            assert (copied.name, str(copied)) == (error.name, message)
        for many in (blobs.load_many(["k"]), storage.get_many(["k"])):
            with pytest.raises(holdall.BatchError) as failed:
                await many
            assert isinstance(failed.value.errors["k"], holdall.PickleRefusedError)
        with pytest.raises(holdall.BatchError) as failed:
            await blobs.save_many({"good": Recipe("a"), "bad": Other("b")}, format)
        assert list(failed.value.errors) == ["bad"]
        assert await blobs.load("good") == Recipe("a")
        assert not await blobs.exists("new")
    blobs = sync.BlobManager(tmp_path, allow_classes=[Recipe])
    with blobs, pytest.raises(holdall.PickleRefusedError):
        blobs.load("k")
    with sync.StorageManager(tmp_path, allow_classes=[Other]) as storage:
        assert storage.get("k") == [Other("secret")]


async def test_a_wall_stands_before_trusted_files_too(tmp_path):
    async with BlobManager(tmp_path, trust="any", allow_classes=()) as blobs:
        await blobs.save("mine", 1)
        (tmp_path / "k.pkl").write_bytes(pickle.dumps(run))
        with pytest.raises(holdall.PickleRefusedError):
            await blobs.load("k")
        (tmp_path / "k.pkl").write_bytes(pickle.dumps({1, 2}))
        assert await blobs.load("k") == {1, 2}


@pytest.mark.parametrize(
    "wrong",
    [
        "pickle",
        b"x",
        Recipe,
        7,
        [7],
        ["numpy.*"],
        ["numpy"],
        ["*"],
        [""],
        ["a..b"],
        [lambda: 1],
        [list[int]],
    ],
)
def test_names_are_exact_and_nothing_else_is_taken(tmp_path, wrong):
    with pytest.raises(holdall.InvalidArgumentError, match="exact names"):
        BlobManager(tmp_path, allow_classes=wrong)
    with pytest.raises(holdall.InvalidArgumentError, match="exact names"):
        sync.StorageManager(tmp_path, allow_classes=wrong)


def test_the_class_that_was_given_is_taken_whatever_its_module_holds_by_now(monkeypatch):
    data = pickle.dumps(Recipe("a"))
    monkeypatch.setattr(f"{HERE}.Recipe", Other)
    assert type(read(data, globals()["Recipe"].__mro__[1])).__qualname__ == "Recipe"


# -- attacks --------------------------------------------------------------------------------------

STRANGERS = [
    ("os", "system"), ("posix", "system"), ("subprocess", "Popen"), ("builtins", "eval"),
    ("builtins", "exec"), ("builtins", "__import__"), ("builtins", "open"), ("builtins", "compile"),
    ("builtins", "type"), ("builtins", "map"), ("builtins", "super"), ("builtins", "setattr"),
    ("importlib", "import_module"), ("operator", "attrgetter"), ("operator", "methodcaller"),
    ("functools", "partial"), ("codecs", "encode"), ("codecs", "decode"), ("pickle", "loads"),
    ("_pickle", "loads"), ("marshal", "loads"), ("types", "FunctionType"), ("types", "CodeType"),
    ("copyreg", "add_extension"), ("copyreg", "_extension_registry"), ("copyreg", "__newobj__"),
    ("pydoc", "locate"), ("pkgutil", "resolve_name"), ("numpy", "load"), ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"), ("numpy.testing._private.utils", "runstring"),
    ("timeit", "timeit"), ("bdb", "Bdb"), ("asyncio", "run"), ("code", "InteractiveInterpreter"),
    ("holdall.formats._allowed", "importlib.import_module"),
    ("joblib.numpy_pickle", "NDArrayWrapper"),
    (HERE, "run"), ("builtins ", "eval"), ("builtins", "set.__doc__"),
    ("collections", "abc.sys"), ("collections", "_sys.modules"), ("datetime", "sys"),
    ("uuid", "os.system"), ("pathlib", "os.system"), ("zoneinfo", "ZoneInfo.clear_cache"),
]  # fmt: skip
"""Some of what attacks have named."""


@pytest.mark.parametrize(("module", "name"), STRANGERS)
def test_what_is_not_allowed_is_refused_in_every_way_to_name_it(module, name):
    call = b"(" + text("x") + b"tR."
    old = f"{module}\n{name}\n".encode()
    for data in (
        b"\x80\x04" + named(module, name) + call,
        b"c" + old + call,
        b"(" + text("x") + b"i" + old + b".",
        b"(c" + old + text("x") + b"o.",
        b"\x80\x02c" + old + b")\x81.",
        b"\x80\x04" + text(module) + b"\x940" + text(name) + b"h\x00\x85\x94.",
    ):
        if data.endswith(b"\x85\x94."):
            assert read(data)
            continue
        wanted = f"{module}.{name}".replace("__builtin__", "builtins")
        # Nobody would allow that by its own name.
        wanted = wanted.replace("numpy.core.multiarray._reconstruct", "numpy.ndarray")
        assert refused(data, Recipe).name == wanted


@pytest.mark.parametrize(
    "name", ["Recipe.__init__.__globals__", "Recipe.made.__func__", "run", "os.system"]
)
def test_no_attribute_is_reached_by_way_of_what_is_allowed(name):
    assert refused(b"\x80\x04" + named(HERE, name) + b".", Recipe)
    # Not even where the string itself was allowed: the way leads over something that is no class.
    if name.count(".") and not name.startswith("Recipe.__init__"):
        assert refused(b"\x80\x04" + named(HERE, name) + b".", f"{HERE}.{name}") or name.startswith(
            "Recipe.made"
        )


@pytest.mark.parametrize(
    "owner", [named(HERE, "Recipe"), b"N", text("x"), named("collections", "Counter")]
)
@pytest.mark.parametrize("name", ["made", "__subclasses__", "__init__", "__globals__", "mro"])
def test_getattr_gives_only_attributes_that_have_a_name_of_their_own(owner, name):
    data = b"\x80\x04" + named("builtins", "getattr") + owner + text(name) + b"\x86R."
    refused(data, Recipe)
    if name == "made" and b"Recipe" in owner:
        assert read(data, Recipe, f"{HERE}.Recipe.made")().title == "made"


def test_a_bound_method_of_an_object_is_refused_by_save_and_load(tmp_path):
    method = Recipe("a").__init__
    blobs = sync.BlobManager(tmp_path, allow_classes=[Recipe])
    with blobs, pytest.raises(holdall.PickleRefusedError):
        blobs.save("k", method, "pickle")
    refused(pickle.dumps(method), Recipe)


def test_an_extension_code_is_refused_though_the_process_has_met_it_before():
    copyreg.add_extension(HERE, "run", 0x7001)
    try:
        data = pickle.dumps(run, 2)
        assert data[2:3] == b"\x83"
        assert pickle.loads(data) is run, "it is in the cache now, which find_class does not see"
        assert "extension code" in str(refused(data))
        for form in (b"\x82\x01", b"\x84\x01\x70\x00\x00"):
            assert "extension code" in str(refused(b"\x80\x02" + form + b"."))
        joined = io.BytesIO()
        joblib.dump([run], joined, protocol=2)
        assert b"\x83" in joined.getvalue()
        assert "extension code" in str(refused(joined.getvalue(), format="joblib"))
        inner = dumped(np.array([run, 1], dtype=object))
        assert "extension code" in str(refused(inner, np.ndarray, format="joblib"))
    finally:
        copyreg.remove_extension(HERE, "run", 0x7001)
        copyreg.clear_extension_cache()


@pytest.mark.parametrize("format", ["pickle", "joblib"])
def test_a_class_is_not_changed_by_a_state_that_is_given_to_it(format):
    before = dict(vars(Recipe))
    state = b"N}" + text("__eq__") + named("collections", "Counter") + b"s\x86b"
    data = b"\x80\x04" + named(HERE, "Recipe") + state + b"."
    assert "changes a class" in str(refused(data, Recipe, format=format))
    remembered = b"\x80\x04" + named(HERE, "Recipe") + b"\x940h\x002" + state + b"."
    assert "changes a class" in str(refused(remembered, Recipe, format=format))
    assert dict(vars(Recipe)) == before


@pytest.mark.parametrize("format", ["pickle", "joblib"])
@pytest.mark.parametrize("opcodes", [b"Pid\n", text("id") + b"Q"])
def test_persistent_ids_are_refused(format, opcodes):
    assert "persistent ids" in str(refused(b"\x80\x04" + opcodes + b".", format=format))


@pytest.mark.parametrize("format", ["pickle", "joblib"])
def test_what_follows_the_end_is_refused(format):
    attack = pickle.dumps(run)
    for first in ([1], {"a": 1}):
        assert "follows" in str(refused(pickle.dumps(first) + attack, format=format))
        assert "follows" in str(refused(pickle.dumps(first) + b"\0", format=format))


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b".", "cut off"),
        (b"\x80\x04\x96" + struct.pack("<Q", 1 << 40) + b".", "cut off"),
        (b"\x80\x04B" + struct.pack("<I", 1 << 31) + b".", "cut off"),
        (b"\x80\x04T" + struct.pack("<i", -1) + b".", "cut off"),
        (b"\x80\x04\x8b" + struct.pack("<i", -1) + b".", "cut off"),
        (b"\x80\x04Nr" + struct.pack("<I", 1 << 31) + b".", "counts more objects"),
        (b"Np99999999999\n.", "counts more objects"),
        (b"\x80\x04h\x05.", "does not have"),
        (b"\x80\x04\x97.", "buffer outside"),
        (b"\x80\x04\xff.", "unknown opcode"),
        (b"\x80\x04.", "empty stack"),
        (b"\x80\x04(.", "empty stack"),
        (b"\x80\x04N", "cut off"),
        (b"", "cut off"),
    ],
)
def test_lengths_and_numbers_that_lie_take_no_memory(data, word):
    with pytest.raises((holdall.PickleRefusedError, holdall.DeserializationError), match=word):
        read(data)


@pytest.mark.parametrize("encoding", ["latin1", "zlib", "rot13", "hex"])
def test_bytes_of_old_protocols_are_latin_text_and_import_no_codec(encoding):
    data = (
        b"\x80\x02c_codecs\nencode\n"
        + b"X\x01\0\0\0\xff"[:5]
        + b"a"
        + b"X"
        + struct.pack("<I", len(encoding))
        + encoding.encode()
        + b"\x86R."
    )
    if encoding == "latin1":
        assert read(data) == b"a"
    else:
        assert refused(data).name == "_codecs.encode"


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
    | st.dates() | st.decimals() | st.uuids(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner)
    | st.frozensets(st.integers()),
    max_leaves=20,
)  # fmt: skip


@settings(max_examples=60)
@given(values, st.integers(0, 5), st.binary(max_size=8))
def test_a_pickle_ends_where_its_unpickler_stops(value, protocol, after):
    data = pickle.dumps(value, protocol)
    assert pickle_end(data + after) == len(data)
    assert pickle_end(after + data, len(after)) == len(data) + len(after)


@settings(max_examples=60)
@given(values, st.integers(0, 5), st.data())
def test_what_is_looked_through_is_what_is_carried_out(value, protocol, data):
    changed = bytearray(pickle.dumps([value, uuid.UUID(int=1), {1}], protocol))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(changed) - 1))
        kept = data.draw(st.sampled_from([0, 1]))
        changed[at : at + kept] = data.draw(st.binary(max_size=3))
    source = io.BytesIO(bytes(changed))
    try:
        end = pickle_end(bytes(changed))
        RestrictedUnpickler(source, Allowed(())).load()
    except Exception:
        return
    assert source.tell() == end


# -- arrays ---------------------------------------------------------------------------------------

ARRAYS = {
    "plain": np.arange(12.0).reshape(3, 4),
    "large": np.arange(200_000.0),
    "fortran": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "gaps": np.arange(12).reshape(3, 4)[:, ::2],
    "swapped": np.arange(5, dtype=">i4"),
    "pairs": np.zeros(4, dtype=[("x", "i2"), ("y", "f8")]),
    "times": np.arange(3).astype("M8[s]"),
    "scalar": np.float64(1.5),
    "objects": np.array([1, "a", {2}], dtype=object),
}


@pytest.mark.parametrize("format", ["pickle", "joblib"])
@pytest.mark.parametrize("allowed", [np.ndarray, "numpy.ndarray"], ids=["class", "name"])
async def test_numpy_ndarray_stands_for_all_that_arrays_name(tmp_path, format, allowed):
    async with BlobManager(tmp_path, allow_classes=[allowed]) as blobs:
        await blobs.save_many(ARRAYS, format)
        await blobs.save("all", ARRAYS, format)
        found = await blobs.load_many(ARRAYS)
        for name, wanted in ARRAYS.items():
            for got in (found[name], (await blobs.load("all"))[name]):
                # joblib gives the order of bytes of the machine.
                assert got.dtype.newbyteorder("=") == wanted.dtype.newbyteorder("="), name
                assert np.array_equal(got, wanted), name


@pytest.mark.parametrize("format", ["pickle", "joblib"])
async def test_arrays_are_not_among_plain_values(tmp_path, format):
    async with BlobManager(tmp_path, allow_classes=()) as blobs, BlobManager(tmp_path) as anybody:
        for name, value in ARRAYS.items():
            with pytest.raises(holdall.PickleRefusedError, match=r"numpy|joblib"):
                await blobs.save(name, value, format)
            await anybody.save(name, value, format)
            with pytest.raises(holdall.PickleRefusedError, match=r"numpy|joblib"):
                await blobs.load(name)


def dumped(value):
    file = io.BytesIO()
    joblib.dump(value, file)
    return file.getvalue()


@pytest.mark.parametrize("depth", [1, 2])
def test_the_pickle_inside_of_an_array_of_objects_keeps_to_the_wall(depth):
    value = np.array([Recipe("a"), 1], dtype=object)
    for _ in range(depth - 1):
        value = np.array([value, None], dtype=object)
    data = dumped({"array": value})
    assert refused(data, np.ndarray, format="joblib").name == f"{HERE}.Recipe"
    assert read(data, np.ndarray, Recipe, format="joblib")


@pytest.mark.filterwarnings("ignore:the matrix subclass")
def test_an_array_in_joblib_that_is_another_kind_is_refused():
    for value in (np.matrix([[1]]), np.ma.array([1])):
        refused(dumped(value), np.ndarray, "numpy.matrix", "numpy.ma.MaskedArray", format="joblib")


@pytest.mark.parametrize("compress", ["zlib", "gzip", "bz2", "xz"])
def test_what_joblib_has_compressed_is_refused_unread(compress):
    joblib.dump([1], file := io.BytesIO(), compress=(compress, 1))
    assert "compressed by joblib" in str(refused(file.getvalue(), format="joblib"))


def test_a_file_that_names_other_files_opens_none_of_them(tmp_path):
    np.save(tmp_path / "other.npy", np.arange(3))
    data = (
        b"\x80\x03cjoblib.numpy_pickle_compat\nNDArrayWrapper\n)\x81}(X\x08\0\0\0filename"
        b"X" + struct.pack("<I", len(name := os.fsencode(tmp_path / "other.npy"))) + name + b"ub."
    )
    assert refused(data, np.ndarray, format="joblib").name.endswith("NDArrayWrapper")
