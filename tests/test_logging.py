"""What reaches `logging`: engine events, escaped keys, and never a value."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

import holdall
import programs
from holdall import BlobManager, CacheManager, StorageManager

SECRET = "tiptoe-marmalade-7093"
NASTY = "a\nFAKE LINE \x1b[31mred\x1b[0m \u202eesrever\r\t'\"\\"


@pytest.fixture(autouse=True)
def logger():
    logger = logging.getLogger("holdall")
    before = logger.level
    yield logger
    logger.setLevel(before)
    holdall._core.set_log_level(logger.getEffectiveLevel())
    holdall._core.drain_logs()


class Recipe(BaseModel):
    title: int


async def path_of(blobs, key):
    path, _ = await blobs._wait(blobs._store.locate(key, None))
    return Path(path)


def damage(path):
    """As a failing disk would: the time of change says nothing."""
    before = path.stat()
    path.write_bytes(b"[" + path.read_bytes()[1:-1] + b" ")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def chain(error):
    """The error and those behind it, which a traceback shows too."""
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def fits_no_line(text: str) -> bool:
    return any(not character.isprintable() for character in text)


async def provoke(folder, key):
    """Everything that can go wrong with a value that holds the secret; the errors."""
    errors = []

    async def fails(call):
        try:
            await call
        except holdall.HoldallError as error:
            errors.append(error)
        else:
            raise AssertionError("it did not fail")

    value = {"title": SECRET}
    async with (
        BlobManager(folder) as blobs,
        BlobManager(folder, on_corrupt="miss", max_value_bytes=1_000) as careful,
        StorageManager(folder, external_check=0) as storage,
    ):
        await fails(blobs.load(key))
        await blobs.save(key, value, metadata={"about": SECRET})
        await storage.set(key, value)
        await storage.get(key)
        await fails(blobs.load(key, "pickle"))
        await fails(blobs.load(key, model_class=Recipe))
        await fails(storage.get(key, model_class=Recipe))
        await fails(blobs.save(key, {SECRET: {SECRET}}))
        await fails(blobs.save(key, {1: SECRET}))
        await fails(blobs.save(key, [float("nan"), SECRET]))
        await fails(blobs.save(key, lambda: SECRET, "pickle"))
        await fails(blobs.save(key, value, "string"))
        await fails(blobs.save(key, value, "npy"))
        await fails(blobs.save(key, value, if_absent=True))
        await fails(blobs.save(key, value, if_match="other"))
        await fails(blobs.save_many({key: {1: SECRET}, "good": value}))
        await fails(careful.save(key, [SECRET] * 100))
        await fails(blobs.save(key, value, metadata={1: SECRET}))
        (await path_of(blobs, key)).write_text('{"title": "' + SECRET + '"')
        await fails(blobs.load(key))
        await fails(blobs.load(key, model_class=Recipe))
        await blobs.save(key, [SECRET])
        damage(await path_of(blobs, key))
        await fails(blobs.load(key))
        assert await careful.load(key, default=None) is None
        await blobs.save(key, [SECRET], "pickle")
        damage(await path_of(blobs, key))
        await fails(blobs.load(key))
        await fails(blobs.load_many([key]))
        await fails(CacheManager().ttl_of(key))
    return errors


@pytest.mark.parametrize("key", ["plain", NASTY])
async def test_no_value_is_in_any_record_or_message_and_keys_are_on_one_line(
    tmp_path, key, caplog, monkeypatch
):
    monkeypatch.setenv("LOG_DEBUG_ENABLED", "true")
    with caplog.at_level(1):
        errors = await provoke(tmp_path / "store", key)
    assert len(errors) > 20
    for error in errors:
        for one in chain(error):
            # Pydantic's own error is promised as the cause, and shows its input.
            if not isinstance(one, ValidationError):
                assert SECRET not in str(one)
                assert SECRET not in repr(one)
        assert not fits_no_line(str(error)), repr(str(error))
        assert error.key is None or error.key == key
    assert any(record.name.startswith("holdall") for record in caplog.records)
    for record in caplog.records:
        if record.name.startswith("holdall"):
            assert SECRET not in record.getMessage()
            assert not fits_no_line(record.getMessage()), repr(record.getMessage())


async def test_events_of_the_engine_name_their_module_and_the_file_with_its_name_escaped(
    tmp_path, caplog, monkeypatch
):
    monkeypatch.setenv("LOG_LEVEL", "INFO")
    async with BlobManager(tmp_path / "store", on_corrupt="miss") as blobs:
        await blobs.save(NASTY, [1])
        damage(await path_of(blobs, NASTY))
        assert await blobs.load(NASTY, default="gone") == "gone"
    (record,) = [one for one in caplog.records if one.levelno == logging.WARNING]
    assert record.name == "holdall.blob"
    assert record.getMessage().startswith("taken for a miss: ")
    assert "a%0AFAKE%20LINE%20%1B%5B31mred" in record.getMessage()
    assert not fits_no_line(record.getMessage())


@pytest.mark.parametrize(
    ("settings", "seen"),
    [
        ({}, "WARNING"),
        ({"LOG_LEVEL": "INFO"}, "INFO WARNING"),
        ({"LOG_LEVEL": "debug"}, "DEBUG INFO WARNING"),
        ({"LOG_LEVEL": "ERROR"}, ""),
        ({"LOG_DEBUG_ENABLED": "true"}, "DEBUG INFO WARNING"),
        ({"LOG_LEVEL": "ERROR", "LOG_DEBUG_ENABLED": "1"}, "DEBUG INFO WARNING"),
        ({"LOG_LEVEL": "ERROR", "LOG_DEBUG_ENABLED": "false"}, ""),
    ],
    ids=str,
)
def test_the_level_decides_what_is_formatted_and_what_is_passed_on(tmp_path, settings, seen):
    """In a program of its own: a level is set for the whole process."""
    out = programs.run(
        """
        import logging, os, sys
        logging.basicConfig(stream=sys.stdout, format="%(levelname)s %(name)s %(message)s")
        from holdall import sync

        with sync.BlobManager(sys.argv[1], on_corrupt="miss") as store:
            store.save("k", [1])
            # An edit by another program, then damage, then an index that was lost.
            with open(sys.argv[1] + "/k.json", "w") as file:
                file.write("[22]")
            store.load("k")
            store.save("k", [3])
            before = os.stat(sys.argv[1] + "/k.json")
            with open(sys.argv[1] + "/k.json", "r+") as file:
                file.write("[4")
            os.utime(sys.argv[1] + "/k.json", ns=(before.st_atime_ns, before.st_mtime_ns))
            store.load("k", default=None)
            list(store.keys())
        root = logging.getLogger()
        assert root.level == logging.WARNING and len(root.handlers) == 1
        """,
        tmp_path / "store",
        env={**os.environ, **settings},
    )
    found = {line.split()[0] for line in out.splitlines()}
    assert " ".join(sorted(found)) == seen
    assert all(line.split()[1].startswith("holdall.") for line in out.splitlines())


def test_without_logging_configured_nothing_is_printed(tmp_path):
    """No handler is added, and Python's last resort does not speak for a library."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from holdall import sync; s = sync.BlobManager(sys.argv[1]);"
            "s.save('k', 1); s.load('k'); s.close()",
            tmp_path / "store",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == done.stderr == ""


async def test_a_level_that_the_program_sets_itself_is_left_alone(tmp_path, logger):
    logger.setLevel(logging.ERROR)
    async with BlobManager(tmp_path) as blobs:
        await blobs.save("k", 1)
    assert logger.level == logging.ERROR
    assert logging.getLogger().level == logging.WARNING


async def test_each_operation_is_an_event_with_a_hash_of_its_key_and_no_value(tmp_path, caplog):
    with caplog.at_level(logging.DEBUG, "holdall"):
        async with BlobManager(tmp_path) as blobs:
            await blobs.save("a key", "a value")
            assert await blobs.load("a key") == "a value"
            await blobs.delete("a key")
    told = [record.message for record in caplog.records if record.name == "holdall.operations"]
    assert [message.split()[0] for message in told] == ["save", "load", "delete"]
    hashes = {message.partition('key_hash="')[2][:16] for message in told}
    assert len(hashes) == 1 and int(hashes.pop(), 16)
    assert all("micros=" in message and "ok=true" in message for message in told)
    events = [record for record in caplog.records if record.name == "holdall.operations"]
    for record, name in zip(events, ("save", "load", "delete"), strict=True):
        assert (record.operation, record.ok) == (name, True)
        assert record.key_hash == events[0].key_hash and len(record.key_hash) == 16
        assert type(record.micros) is int and record.micros > 0
    assert [record.bytes for record in events] == [7, 7, 0]
    assert "bytes=7" in told[0] and "a key" not in "".join(told) and "a value" not in "".join(told)


async def test_a_key_in_a_field_of_an_event_is_on_one_line(tmp_path, caplog, monkeypatch):
    monkeypatch.setenv("LOG_LEVEL", "DEBUG")
    with caplog.at_level(1):
        await provoke(tmp_path / "store", NASTY)
    found = [record for record in caplog.records if record.name.startswith("holdall")]
    usual = set(vars(logging.makeLogRecord({})))
    fields = [
        value for record in found for name, value in vars(record).items() if name not in usual
    ]
    assert len(fields) > 50
    for value in fields:
        assert SECRET not in str(value)
        assert not fits_no_line(str(value)), repr(value)


@pytest.mark.parametrize("blocking", [False, True])
async def test_a_call_that_finds_nothing_is_counted_once(tmp_path, blocking):
    store = holdall.sync.BlobManager(tmp_path) if blocking else holdall.BlobManager(tmp_path)

    async def done(answer):
        return answer if blocking else await answer

    async def count():
        return (await done(store.get_stats()))["operations"]["load"]["count"]

    await done(store.save("there", 1))
    for call in (
        lambda: store.load("none"),
        lambda: store.load("none", default=None),
        lambda: store.load_many(["none", "neither"]),
        lambda: store.load_many(["none", "there"]),
        lambda: store.load("there"),
    ):
        before = await count()
        try:
            await done(call())
        except holdall.BlobNotFoundError as error:
            assert "save one first, or pass a default" in str(error)
        assert await count() == before + 1
    await done(store.close())
