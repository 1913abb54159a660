"""Every exception: what it is, what it carries, what it says, and that it travels."""

from __future__ import annotations

import asyncio
import concurrent.futures
import copy
import errno
import json
import multiprocessing
import pickle
import traceback

import pytest
from pydantic import BaseModel, ValidationError

import holdall
from holdall import BlobManager, CacheManager, StorageManager, errors, sync
from holdall.formats import FORMATS

BUILTINS = {
    "HoldallError": (Exception,),
    "BatchError": (),
    "BlobCorruptError": (ValueError,),
    "BlobNotFoundError": (FileNotFoundError, KeyError),
    "ConfigurationError": (ValueError,),
    "ConflictError": (FileExistsError,),
    "DeserializationError": (ValueError,),
    "FormatMismatchError": (ValueError,),
    "InvalidArgumentError": (ValueError,),
    "InvalidJSONError": (json.JSONDecodeError, errors.DeserializationError),
    "InvalidKeyError": (ValueError,),
    "MigrationStoppedError": (errors.StorageIOError, OSError),
    "OptionError": (errors.InvalidArgumentError,),
    "PickleRefusedError": (errors.UntrustedPayloadError, PermissionError),
    "ReentrantLoadError": (RuntimeError,),
    "SerializationError": (ValueError,),
    "StorageDisabledError": (RuntimeError,),
    "StorageIOError": (OSError,),
    "StoreBusyError": (TimeoutError,),
    "StoreClosedError": (RuntimeError,),
    "StoreVersionError": (RuntimeError,),
    "UnknownFormatError": (ValueError,),
    "UntrustedPayloadError": (PermissionError,),
}


class Recipe(BaseModel):
    title: str
    minutes: int


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "store"


async def caught(call):
    with pytest.raises(holdall.HoldallError) as found:
        await call
    return found.value


# -- each class, raised by the package itself ------------------------------------------------------


async def batch(blobs, _):
    await blobs.save_many({"k": 1, "bad": {1: 1}})


async def corrupt(blobs, folder):
    await blobs.save("mine", 1)
    (folder / "k.txt").mkdir()
    await blobs.load("k")


async def missing(blobs, _):
    await blobs.load("k")


async def configured(blobs, _):
    import os

    os.environ["LOG_LEVEL"] = "LOUD"  # taken back by the fixture of every test
    await CacheManager().get("k")


async def conflict(blobs, _):
    await blobs.save("k", 1)
    await blobs.save("k", 2, if_absent=True)


async def undecodable(blobs, _):
    await blobs.save("k", {"title": 1})
    await blobs.load("k", model_class=Recipe)


async def mismatch(blobs, _):
    await blobs.save("k", "text")
    await blobs.load("k", "json")


async def argument(blobs, _):
    await blobs.save("k", 1, ttl=0)


async def no_json(blobs, folder):
    await blobs.save("mine", 1)
    (folder / "k.json").write_text("{")
    await blobs.load("k")


async def walled(_, folder):
    async with BlobManager(folder, allow_classes=()) as blobs:
        await blobs.save("k", Recipe(title="Pasta", minutes=20), "pickle")


async def bad_key(blobs, _):
    await blobs.load("")


async def no_room(blobs, _):
    async def refuse(*_):
        error = errors.StorageIOError("the disk is full")
        error.errno = errno.ENOSPC
        raise error

    await blobs.save("k", [1], "pickle")
    blobs._replace = refuse
    await blobs.migrate_all("json")


async def option(blobs, _):
    await blobs.save("k", 1, "json", custom_encoder=str)


async def reentrant(_, __):
    cache = CacheManager()

    async def loader():
        return await cache.get_or_set("k", loader)

    await cache.get_or_set("k", loader)


async def unserializable(blobs, _):
    await blobs.save("k", [{1}])


async def disabled(blobs, folder):
    import os

    os.environ["BLOB_STORAGE_ENABLED"] = "false"
    await BlobManager(folder).load("k")


async def refused(_, folder):
    folder.parent.joinpath("file").write_text("")
    await BlobManager(folder.parent / "file").save("k", 1)


async def busy(_, folder):
    """A lock that another process holds: open file descriptions exclude each other here too."""
    import fcntl
    import struct

    async with BlobManager(folder, lock_timeout=0.05) as blobs:
        await blobs.save("other", 1)
        with open(folder / ".holdall" / "locks", "r+b") as file:  # noqa: ASYNC230
            whole = struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 4_096, 0)
            fcntl.fcntl(file, 37, whole)  # F_OFD_SETLK
            await blobs.save("k", 1)


async def closed(blobs, _):
    await blobs.close()
    await blobs.load("k")


async def newer(_, folder):
    (folder / ".holdall").mkdir(parents=True, mode=0o700)
    folder.chmod(0o700)
    (folder / ".holdall" / "store.json").write_text(
        '{"format": 99, "store_id": "0123456789abcdef0123456789abcdef", "created": 1, '
        '"release": "9", "case_sensitive": true}'
    )
    await BlobManager(folder).load("k")


async def unknown(blobs, _):
    await blobs.save("k", 1, "yaml")


async def untrusted(blobs, folder):
    await blobs.save("mine", 1)
    (folder / "k.pkl").write_bytes(pickle.dumps(1))
    await blobs.load("k")


RAISED = {
    "BatchError": (batch, None, "save"),
    "BlobCorruptError": (corrupt, "k", "load"),
    "BlobNotFoundError": (missing, "k", "load"),
    "ConfigurationError": (configured, None, None),
    "ConflictError": (conflict, "k", "save"),
    "DeserializationError": (undecodable, "k", "load"),
    "FormatMismatchError": (mismatch, "k", "load"),
    "InvalidArgumentError": (argument, "k", "save"),
    "InvalidJSONError": (no_json, "k", "load"),
    "InvalidKeyError": (bad_key, "", "load"),
    "MigrationStoppedError": (no_room, None, "migrate the store"),
    "OptionError": (option, "k", "save"),
    "PickleRefusedError": (walled, "k", "save"),
    "ReentrantLoadError": (reentrant, "k", "load"),
    "SerializationError": (unserializable, "k", "save"),
    "StorageDisabledError": (disabled, "k", "load"),
    "StorageIOError": (refused, "k", "save"),
    "StoreBusyError": (busy, "k", "save"),
    "StoreClosedError": (closed, "k", "load"),
    "StoreVersionError": (newer, "k", "load"),
    "UnknownFormatError": (unknown, "k", "save"),
    "UntrustedPayloadError": (untrusted, "k", "load"),
}


def test_every_class_is_in_the_tables_of_this_file():
    assert set(BUILTINS) == set(errors.__all__)
    assert set(RAISED) == set(errors.__all__) - {"HoldallError"}


@pytest.mark.parametrize("name", RAISED)
async def test_each_is_raised_with_key_and_operation_says_what_to_do_and_travels(
    name, folder, monkeypatch
):
    for variable in ("LOG_LEVEL", "BLOB_STORAGE_ENABLED"):
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)
    work, key, operation = RAISED[name]
    async with BlobManager(folder) as blobs:
        error = await caught(work(blobs, folder))
    assert type(error) is getattr(errors, name)
    for builtin in BUILTINS[name]:
        assert isinstance(error, builtin)
    assert (error.key, error.operation) == (key, operation)
    if operation:
        assert str(error).startswith(f"could not {operation}")
    if key:
        assert f'"{key}"' in str(error)
    assert "; " in str(error), f"no next step: {error}"
    assert str(error).isprintable()
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(error, protocol))
        assert_same(again, error)
    assert_same(copy.copy(error), error)
    # A traceback ends with the class and the message.
    last = traceback.format_exception_only(type(error), error)[-1]
    assert name in last
    assert str(error) in last


def assert_same(again, error):
    assert type(again) is type(error)
    assert str(again) == str(error)
    names = "key", "operation", "path", "errno", "cause", "remedy", "lineno", "colno", "pos", "msg"
    for name in names:
        assert getattr(again, name, None) == getattr(error, name, None), name


@pytest.mark.parametrize("name", errors.__all__)
def test_builtins_are_mixed_in_and_all_are_of_one_tree(name):
    kind = getattr(errors, name)
    assert issubclass(kind, errors.HoldallError)
    for builtin in BUILTINS[name]:
        assert issubclass(kind, builtin)
    assert kind.__doc__


def boom(folder: str) -> None:
    sync.BlobManager(folder).load("k")


def test_errors_cross_a_process_pool(folder):
    context = multiprocessing.get_context("spawn")
    with (
        concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool,
        pytest.raises(holdall.BlobNotFoundError) as found,
    ):
        pool.submit(boom, str(folder)).result()
    assert found.value.key == "k"


# -- what they say ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [('{"a": }', 1, 7), ('{\n  "a": 1,\n  "b" 2\n}', 3, 7), ("", 1, 1), ("[1, 2", 1, 5)],
)
async def test_broken_json_says_line_and_column_with_or_without_a_model(folder, text, line, column):
    async with BlobManager(folder) as blobs, StorageManager(folder) as storage:
        await blobs.save("mine", 1)
        (folder / "k.json").write_text(text)
        for call in (
            lambda: blobs.load("k"),
            lambda: blobs.load("k", model_class=Recipe),
            lambda: storage.get("k", model_class=dict[str, int]),
        ):
            with pytest.raises(json.JSONDecodeError) as found:
                await call()
            error = found.value
            assert (error.lineno, error.colno) == (line, column)
            assert f"line {line} column {column}" in str(error)
            assert error.doc == ""
            lines = text.split("\n")
            assert error.pos == sum(len(one) + 1 for one in lines[: line - 1]) + column - 1


async def test_a_model_that_does_not_fit_has_pydantics_error_as_its_cause(folder):
    async with BlobManager(folder) as blobs, StorageManager(folder) as storage:
        await blobs.save("k", {"title": "secret", "minutes": "secret"})
        for call in (
            lambda: blobs.load("k", model_class=Recipe),
            lambda: storage.get("k", model_class=Recipe),
        ):
            error = await caught(call())
            assert type(error) is holdall.DeserializationError
            assert isinstance(error.__cause__, ValidationError)
            assert [one["loc"] for one in error.__cause__.errors()] == [("minutes",)]
            assert "Recipe" in str(error)
            assert "1 error" in str(error)
            assert "secret" not in str(error)


async def test_a_wrong_format_names_the_one_that_is_stored_and_an_unknown_one_all(folder):
    async with BlobManager(folder) as blobs:
        await blobs.save("k", "text")
        error = await caught(blobs.load("k", "pickle"))
        assert "string" in str(error)
        assert "pickle" in str(error)
        for call in (
            blobs.save("k", 1, "yaml"),
            blobs.load("k", "yaml"),
            blobs.migrate("k", "yaml"),
            blobs.load_many(["k"], "yaml"),
        ):
            error = await caught(call)
            assert type(error) is holdall.UnknownFormatError
            assert str(error).startswith(f"could not {error.operation}")
            for name in (*FORMATS, "text"):
                assert name in str(error)
        for value in (object(), 3 + 4j, {"a"}, iter([])):
            error = await caught(blobs.save("k", value))
            assert "pickle" in str(error) or "custom_json" in str(error)
        assert await blobs.load("k") == "text"


async def test_an_option_names_what_the_format_takes(folder):
    async with BlobManager(folder) as blobs:
        await blobs.save("k", "text")
        error = await caught(blobs.load("k", model_class=Recipe))
        assert type(error) is holdall.OptionError
        assert "string" in str(error)
        assert "model_class" in str(error)
        error = await caught(blobs.save("k", {"a": 1}, "json", custom_encoder=str))
        assert "custom_json" in str(error)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"durability": "never"}, ("process", "disk")),
        ({"trust": "all"}, ("own", "any")),
        ({"on_corrupt": "ignore"}, ("raise", "miss")),
    ],
)
async def test_a_word_that_is_not_allowed_names_those_that_are(folder, option, words):
    with pytest.raises(holdall.InvalidArgumentError) as found:
        BlobManager(folder, **option)
    ((name, value),) = option.items()
    for word in (name, value, *words):
        assert word in str(found.value)


async def test_a_durability_of_one_save_that_is_not_allowed_names_those_that_are(folder):
    async with BlobManager(folder) as blobs:
        error = await caught(blobs.save("k", 1, durability="never"))
        assert isinstance(error, ValueError)
        assert "process" in str(error)
        assert "disk" in str(error)
        assert not await blobs.exists("k")


async def test_a_batch_carries_the_error_of_each_key_and_the_first_as_its_cause(folder):
    async with BlobManager(folder) as blobs:
        await blobs.save("good", 1)
        (folder / "bad.json").write_text("{")
        (folder / "worse.pkl").write_bytes(b"x")
        error = await caught(blobs.load_many(["good", "bad", "worse", "none"]))
        assert error.succeeded == {"good": 1}
        assert [type(one) for one in error.errors.values()] == [
            holdall.InvalidJSONError,
            holdall.UntrustedPayloadError,
        ]
        assert [one.key for one in error.errors.values()] == ["bad", "worse"]
        assert error.__cause__ is error.errors["bad"]
        assert "2 of 3" in str(error)


def test_the_faces_raise_the_same_errors(folder):
    def said(call, args, options, run):
        with pytest.raises(holdall.HoldallError) as found:
            run(call(*args, **options))
        return type(found.value), str(found.value), found.value.key, found.value.operation

    awaited, plain = BlobManager(folder), sync.BlobManager(folder)
    for name, args, options in (
        ("load", ("k",), {}),
        ("save", ("k", {1}), {}),
        ("save", ("", 1), {}),
        ("save", ("k", 1), {"ttl": -1}),
        ("save", ("k", 1, "yaml"), {}),
        ("save", ("k", 1), {"if_match": "1"}),
        ("touch", ("k",), {}),
        ("rename", ("k", "k2"), {}),
        ("migrate", ("k", "json"), {}),
        ("metadata", ("k",), {}),
    ):
        assert said(getattr(awaited, name), args, options, asyncio.run) == said(
            getattr(plain, name), args, options, id
        )
