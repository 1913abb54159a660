"""No opcode of a pickle is read before its signature holds, by whatever way it is asked for."""

from __future__ import annotations

import os
import pickle
import re
import shutil
import sqlite3
from pathlib import Path

import joblib
import numpy as np
import pytest

import holdall
from holdall import BlobManager, StorageManager, sync
from holdall.formats import FORMATS

OURS, THEIRS = "1" * 32, "2" * 32
LARGE = 5 << 20
"""Read and verified in blocks."""

STORED = {
    "file": {},
    "large": {},
    "inline": {"inline_below": 65_536},
    "zstd": {"compression": "zstd"},
    "lz4": {"compression": "lz4"},
    "inline zstd": {"compression": "zstd", "inline_below": 65_536},
}
"""The ways a value can lie on the disk."""

RAN: list[object] = []


class Canary:
    """Leaves a trace when it is unpickled."""

    def __init__(self, padding=b""):
        self.padding = padding

    def __reduce__(self):
        return RAN.append, (self.padding[:1],)


class Watched:
    """Stands before the codecs: they must see nothing but what this test has had signed."""

    def __init__(self, monkeypatch):
        self.seen: list[bytes] = []
        self.allowed: set[bytes] = set()
        self.before = lambda: None
        for name in ("pickle", "joblib"):
            kind = type(FORMATS[name])
            monkeypatch.setattr(kind, "decode", self.watch(kind.decode))

    def watch(self, decode):
        def watched(codec, data, options):
            self.seen.append(bytes(data))
            if bytes(data) not in self.allowed:
                raise AssertionError("unverified bytes came to the unpickler")
            self.before()
            return decode(codec, data, options)

        return watched


@pytest.fixture
def watched(monkeypatch):
    RAN.clear()
    yield Watched(monkeypatch)
    assert RAN == []


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "store"


def payload(stored):
    return Canary(os.urandom(LARGE) if stored == "large" else b"x" * 2_000)


def forged(folder, stored, format):
    """A store with a value `k` that is all right but for the key that signed it.

    Its maker has the id of the store, and holdall.
    """
    elsewhere = folder.with_name("forger")
    with sync.BlobManager(folder, signing_key=OURS, **STORED[stored]) as blobs:
        blobs.save("mine", {1}, "pickle")
    (elsewhere / ".holdall").mkdir(parents=True, mode=0o700)
    elsewhere.chmod(0o700)
    shutil.copy(folder / ".holdall/store.json", elsewhere / ".holdall/store.json")
    with sync.BlobManager(elsewhere, signing_key=THEIRS, **STORED[stored]) as blobs:
        blobs.save("k", payload(stored), format)
    if "inline" in stored:
        shutil.rmtree(folder / ".holdall/inline")
        shutil.copytree(elsewhere / ".holdall/inline", folder / ".holdall/inline")
    else:
        (file,) = elsewhere.glob("k.*")
        file.rename(folder / file.name)


async def ways(blobs, storage):
    """Every way to read a value under `k`."""
    return [
        lambda: blobs.load("k"),
        lambda: blobs.load("k", default=None),
        lambda: blobs.load("k", model_class=set),
        lambda: blobs.load("k", "pickle"),
        lambda: blobs.load("k", "joblib"),
        lambda: blobs.load("k", custom_decoder=dict),
        lambda: blobs.load("k", mmap=True),
        lambda: blobs.load_many(["k"]),
        lambda: blobs.migrate("k", "json"),
        lambda: blobs.migrate("k", "joblib"),
        lambda: blobs.migrate("k", "pickle"),
        lambda: blobs.copy("k", "copied"),
        lambda: blobs.rename("k", "renamed"),
        lambda: blobs.touch("k", 60),
        lambda: blobs.read_range("k", 0, 100),
        lambda: blobs.rotate_signing_key(),
        lambda: streamed(blobs),
        lambda: storage.get("k"),
        lambda: storage.get("k", model_class=set),
        lambda: storage.get("k", copy=True),
        lambda: storage.get_many(["k"]),
        lambda: storage.get_or_set("k", lambda: 1),
        lambda: storage.exists("k"),
    ]


async def streamed(blobs):
    async with blobs.open("k") as reader:
        return await reader.read()


def blocking_ways(blobs, storage):
    return [
        lambda: blobs.load("k"),
        lambda: blobs.load("k", model_class=set),
        lambda: blobs.load_many(["k"]),
        lambda: blobs.migrate("k", "json"),
        lambda: blobs.copy("k", "copied"),
        lambda: blobs.rename("k", "renamed"),
        lambda: storage.get("k"),
        lambda: storage.get_many(["k"]),
        lambda: storage.get_or_set("k", lambda: 1),
    ]


@pytest.mark.parametrize("format", ["pickle", "joblib"])
@pytest.mark.parametrize("stored", STORED)
async def test_a_forgery_reaches_no_unpickler_by_any_way(folder, watched, stored, format):
    forged(folder, stored, format)
    refusals = 0
    async with (
        BlobManager(folder, signing_key=OURS) as blobs,
        StorageManager(folder, signing_key=OURS) as storage,
    ):
        assert await blobs.exists("k")
        assert not (await blobs.metadata("k")).foreign, "the forgery is without a flaw"
        for way in await ways(blobs, storage):
            try:
                found = await way()
            except holdall.BatchError as error:
                assert isinstance(error.errors["k"], holdall.UntrustedPayloadError)
                refusals += 1
            except holdall.UntrustedPayloadError:
                refusals += 1
            except (holdall.OptionError, holdall.FormatMismatchError, holdall.InvalidArgumentError):
                pass
            else:
                assert not isinstance(found, list), "the canary's answer"
        assert refusals >= 13
        assert await blobs.exists("k") and not await blobs.exists("copied")
    assert watched.seen == []


@pytest.mark.parametrize("stored", STORED)
def test_a_forgery_reaches_no_unpickler_without_await(folder, watched, stored):
    forged(folder, stored, "pickle")
    with (
        sync.BlobManager(folder, signing_key=OURS) as blobs,
        sync.StorageManager(folder, signing_key=OURS) as storage,
    ):
        for way in blocking_ways(blobs, storage):
            with pytest.raises((holdall.UntrustedPayloadError, holdall.BatchError)):
                way()
    assert watched.seen == []


@pytest.mark.parametrize("format", ["pickle", "joblib"])
@pytest.mark.parametrize("stored", ["file", "large", "zstd"])
async def test_what_is_unpickled_is_what_was_verified_though_the_file_was_replaced_since(
    folder, watched, stored, format
):
    value = ["x" * (LARGE if stored == "large" else 2_000)]
    async with BlobManager(folder, signing_key=OURS, **STORED[stored]) as blobs:
        await blobs.save("k", value, format)
        (file,) = folder.glob("k.*")
        watched.allowed.add(encoded(value, format))
        bad = pickle.dumps(Canary(b"x" * file.stat().st_size))

        def replace():
            # Between the check and the unpickler: in place, and by another file.
            with file.open("r+b") as there:
                there.write(bad)
            planted = file.with_name("planted")
            planted.write_bytes(bad)
            planted.rename(file)

        watched.before = replace
        assert await blobs.load("k") == value
        assert watched.seen == [encoded(value, format)]
        with pytest.raises((holdall.UntrustedPayloadError, holdall.BlobCorruptError)):
            await blobs.load("k")
        assert len(watched.seen) == 1


def encoded(value, format):
    parts = FORMATS[format].encode(value, {})
    return parts if isinstance(parts, bytes) else b"".join(bytes(part) for part in parts)


# -- replay ---------------------------------------------------------------------------------------


def move(folder, source, target):
    (folder / source).rename(folder / target)


def copy_with_stamp(folder, source, target):
    shutil.copy2(folder / source, folder / target)
    assert os.listxattr(folder / target), "shutil.copy2 keeps the stamp"


def copy_content(folder, source, target):
    (folder / target).write_bytes((folder / source).read_bytes())


def write_into(folder, source, target):
    content = (folder / source).read_bytes()
    with (folder / target).open("r+b") as there:
        there.truncate()
        there.write(content)


@pytest.mark.parametrize("replay", [move, copy_with_stamp, copy_content, write_into])
@pytest.mark.parametrize("options", [{}, {"compression": "lz4"}], ids=["plain", "lz4"])
async def test_one_keys_payload_is_refused_under_another_key(folder, watched, replay, options):
    end = ".pkl.lz4" if options else ".pkl"
    async with BlobManager(folder, signing_key=OURS, **options) as blobs:
        await blobs.save("k", {"one": "x" * 2_000}, "pickle")
        await blobs.save("other", {"two": "y" * 2_000}, "pickle")
        replay(folder, f"k{end}", f"other{end}")
        with pytest.raises((holdall.UntrustedPayloadError, holdall.BlobCorruptError)):
            await blobs.load("other")
    assert watched.seen == []


async def test_two_files_that_were_swapped_are_both_refused(folder, watched):
    async with BlobManager(folder, signing_key=OURS) as blobs:
        await blobs.save("a", {1}, "pickle")
        await blobs.save("b", {2}, "pickle")
        for source, target in (("a", "c"), ("b", "a"), ("c", "b")):
            move(folder, f"{source}.pkl", f"{target}.pkl")
        for key in "ab":
            with pytest.raises(holdall.UntrustedPayloadError):
                await blobs.load(key)
    assert watched.seen == []


@pytest.mark.parametrize(("source", "target"), [("pickle", "joblib"), ("joblib", "pickle")])
async def test_one_formats_payload_is_refused_under_the_name_of_another(
    folder, watched, source, target
):
    ends = {"pickle": "pkl", "joblib": "joblib"}
    async with BlobManager(folder, signing_key=OURS) as blobs:
        await blobs.save("k", {1}, source)
        move(folder, f"k.{ends[source]}", f"k.{ends[target]}")
        with pytest.raises(holdall.UntrustedPayloadError):
            await blobs.load("k")
        with pytest.raises((holdall.UntrustedPayloadError, holdall.FormatMismatchError)):
            await blobs.load("k", source)
    assert watched.seen == []


async def test_another_stores_file_is_refused_though_the_same_user_signed_it(folder, watched):
    other = folder.with_name("other")
    async with (
        BlobManager(folder, signing_key=OURS) as blobs,
        BlobManager(other, signing_key=OURS) as others,
    ):
        await blobs.save("k", {1}, "pickle")
        await others.save("k", {2}, "pickle")
        (other / "k.pkl").rename(folder / "k.pkl")
        with pytest.raises(holdall.UntrustedPayloadError):
            await blobs.load("k")
    assert watched.seen == []


def test_an_inline_value_that_was_given_another_key_is_refused(folder, watched):
    with sync.BlobManager(folder, signing_key=OURS, inline_below=4_096) as blobs:
        blobs.save("k", {1}, "pickle")
        blobs.save("other", {2}, "pickle")
    moved = (
        "update entry set key = cast('other' as blob) where key = cast('k' as blob)",
        "update entry set (row, content) = (select row, content from entry where key = "
        "cast('k' as blob)) where key = cast('other' as blob)",
        "update entry set content = (select content from entry where key = cast('k' as blob)) "
        "where key = cast('other' as blob)",
    )
    database = folder / ".holdall/inline/values.sqlite"
    kept = database.read_bytes()
    for number, change in enumerate(moved):
        database.write_bytes(kept)
        with sqlite3.connect(database) as connection:
            if not number:
                connection.execute("delete from entry where key = cast('other' as blob)")
            connection.execute(change)
        connection.close()
        blobs = sync.BlobManager(folder, signing_key=OURS)
        with blobs, pytest.raises((holdall.UntrustedPayloadError, holdall.BlobCorruptError)):
            blobs.load("other")
    assert watched.seen == []


async def test_a_signature_of_another_value_does_not_help(folder, watched):
    async with BlobManager(folder, signing_key=OURS) as blobs:
        await blobs.save("k", {1}, "pickle")
        trailer = (folder / "k.pkl").read_bytes()[-64:]
        (folder / "k.pkl").write_bytes(pickle.dumps(Canary()) + trailer)
        with pytest.raises(holdall.UntrustedPayloadError):
            await blobs.load("k")
    assert watched.seen == []


# -- what runs no code ----------------------------------------------------------------------------


async def test_arrays_of_objects_are_pickles_and_no_npy(folder, watched):
    objects = np.array([Canary()], dtype=object)
    async with BlobManager(folder, signing_key=OURS, trust="any") as blobs:
        with pytest.raises(holdall.SerializationError, match="pickle"):
            await blobs.save("k", objects, "npy")
        with pytest.raises(holdall.UnknownFormatError):
            await blobs.save("k", objects)
        await blobs.save("mine", 1)
        np.save(folder / "k.npy", objects, allow_pickle=True)
        for mmap in (False, True):
            with pytest.raises(holdall.DeserializationError):
                await blobs.load("k", mmap=mmap)


@pytest.mark.parametrize("trust", ["own", "any"])
async def test_joblib_and_pickle_files_are_never_mapped(folder, watched, trust):
    async with BlobManager(folder, signing_key=OURS, trust=trust) as blobs:
        for format in ("joblib", "pickle"):
            await blobs.save(format, np.arange(100_000.0), format)
            with pytest.raises(holdall.FormatMismatchError, match="maps npy"):
                await blobs.load(format, mmap=True)
    assert watched.seen == []


def test_no_format_but_the_signed_ones_unpickles_anything():
    code = re.compile(r"\b(pickle|joblib)\.loads?\(|Unpickler\(|allow_pickle=True")
    found = {
        path.name
        for path in Path(holdall.__file__).parent.rglob("*.py")
        for line in path.read_text().splitlines()
        if code.search(line) and not line.lstrip().startswith("class ")
    }
    # The others are called by the codecs of these two, with bytes that the engine has verified.
    assert found == {"pickle.py", "joblib.py", "_joblib_arrays.py", "_joblib_allowed.py"}


async def test_trust_is_a_word_for_one_manager(folder, watched):
    for wrong in ("Any", "all", None, True, 1):
        with pytest.raises(holdall.InvalidArgumentError, match="trust"):
            BlobManager(folder, trust=wrong)
        with pytest.raises(holdall.InvalidArgumentError, match="trust"):
            sync.StorageManager(folder, trust=wrong)
    async with (
        BlobManager(folder, trust="any", signing_key=OURS),
        BlobManager(folder, signing_key=OURS) as own,
    ):
        await own.save("mine", 1)
        joblib.dump(Canary(), folder / "k.joblib")
        with pytest.raises(holdall.UntrustedPayloadError):
            await own.load("k")
