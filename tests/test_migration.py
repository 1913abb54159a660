"""Values are brought to another format, compression or model while the store is in use."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pydantic import BaseModel

from holdall import (
    BatchError,
    BlobManager,
    BlobNotFoundError,
    DeserializationError,
    InvalidArgumentError,
    SerializationError,
    StorageIOError,
    StorageManager,
    StoreBusyError,
    sync,
)
from holdall.testing import ManualClock


class Recipe(BaseModel):
    name: str
    minutes: int = 0


def renamed(data):
    """Of the release before, in which the name was called title."""
    if "title" in data:
        data["name"] = data.pop("title")
    return data


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "store"


async def test_all_values_change_their_format_and_keep_everything_else(folder):
    clock = ManualClock()
    async with BlobManager(folder, clock=clock) as store:
        for number in range(300):
            note = {"n": number}
            await store.save(f"k/{number}", [number], "pickle", ttl=100, tags=("t",), metadata=note)
        await store.save("other", (1,), "pickle")
        before = await store.metadata("k/7")
        clock.advance(40)
        seen = []
        done = await store.migrate_all("json", prefix="k/", progress=lambda *at: seen.append(at))
        assert (done.checked, done.converted, done.unchanged) == (300, 300, 0)
        assert not done.failed
        assert seen[-1] == (300, 300)
        after = await store.metadata("k/7")
        assert (after.format, after.tags, after.metadata) == ("json", before.tags, before.metadata)
        assert after.created_at == before.created_at
        assert abs((after.expires_at - before.expires_at).total_seconds()) < 1
        assert await store.load("k/7") == [7]
        assert (await store.metadata("other")).format == "pickle"
        clock.advance(61)
        assert not await store.exists("k/7")


async def test_what_is_done_is_passed_over_when_it_is_run_again(folder):
    async with BlobManager(folder) as store:
        await store.save_many({str(number): [number] for number in range(600)}, "pickle")
        work: asyncio.Task[object]

        def stop(checked, converted):
            if converted >= 256:
                work.cancel()

        work = asyncio.ensure_future(store.migrate_all("json", progress=stop))
        with pytest.raises(asyncio.CancelledError):
            await work
        done = await store.migrate_all("json")
        assert done.converted < 600
        assert done.converted + done.unchanged == 600
        assert {await store.load(str(number)) == [number] for number in range(600)} == {True}


async def test_what_cannot_be_converted_stays_and_is_reported(folder):
    async with BlobManager(folder) as store:
        await store.save_many({"good": [1], "bad": {1, 2}}, "pickle")
        done = await store.migrate_all("json")
        assert list(done.failed) == ["bad"]
        assert isinstance(done.failed["bad"], SerializationError)
        assert await store.load("bad") == {1, 2}
        assert await store.load("good") == [1]


async def test_compression_changes_without_a_value_coming_to_python(folder):
    async with BlobManager(folder) as store:
        await store.save_many({"large": ["x" * 100] * 100, "small": 1})
        lines = ["y" * 100 + str(number) for number in range(100)]
        await store.save("signed", lines, "pickle")
        done = await store.migrate_all(compression="zstd")
        assert (done.converted, done.unchanged) == (2, 1)
        assert done.bytes_after < done.bytes_before / 10
        assert (await store.metadata("signed")).compression == "zstd"
        assert await store.load("signed") == lines
        undone = await store.migrate_all(compression="none")
        assert (undone.bytes_before, undone.bytes_after) == (done.bytes_after, done.bytes_before)


async def test_a_save_during_a_migration_stays(folder):
    async with BlobManager(folder) as store, BlobManager(folder) as other:
        await store.save_many({str(number): [number] for number in range(400)}, "pickle")
        busy = True

        async def save():
            rounds = 0
            while busy:
                await other.save("5", ["newest", rounds], "pickle")
                rounds += 1
                await asyncio.sleep(0)
            return rounds

        saving = asyncio.ensure_future(save())
        await store.migrate_all("json")
        busy = False
        rounds = await saving
        assert await store.load("5") == ["newest", rounds - 1]


@pytest.mark.parametrize("asked", [{"to_format": "json"}, {"model_class": Recipe}])
async def test_a_second_migration_is_refused_while_one_is_at_work(folder, asked):
    values = {str(number): {"name": str(number)} for number in range(600)}
    old = "pickle" if "to_format" in asked else "json"
    async with BlobManager(folder) as one, BlobManager(folder) as two:
        await one.save_many(values, old)
        refused = []

        def begin_others(checked, converted):
            if refused:
                return
            with sync.BlobManager(folder) as third:
                with pytest.raises(StoreBusyError, match="another migration is at work") as told:
                    third.migrate_all(compression="zstd")
                refused.append(told.value)
                third.migrate_all(compression="zstd", dry_run=True)
            command = [sys.executable, "-m", "holdall", "--store", str(folder), "migrate"]
            ran = subprocess.run(
                [*command, "--compression", "zstd"], capture_output=True, text=True
            )
            assert (ran.returncode, ran.stdout) == (6, "")
            assert "another migration is at work in this store" in ran.stderr

        done = await one.migrate_all(**asked, progress=begin_others)
        assert (done.checked, done.converted, len(refused)) == (600, 600, 1)
        both = await asyncio.gather(
            one.migrate_all(compression="zstd"),
            two.migrate_all("string"),
            return_exceptions=True,
        )
        assert sum(isinstance(each, StoreBusyError) for each in both) == 1
        # One that has ended, in whatever way, keeps nobody out.
        with pytest.raises(ZeroDivisionError):
            await one.migrate_all("pickle", progress=lambda *_: 1 / 0)
        await two.migrate_all("json")


async def test_an_older_model_is_upgraded_on_load_and_written_back_if_asked(folder):
    async with BlobManager(folder) as store:
        await store.save("old", {"title": "soup"}, tags=("t",))
        load = {"model_class": Recipe, "upgrade": renamed}
        assert await store.load("old", **load) == Recipe(name="soup")
        assert await store.load("old") == {"title": "soup"}
        assert await store.load("old", **load, write_back=True) == Recipe(name="soup")
        assert await store.load("old") == {"name": "soup", "minutes": 0}
        etag = (await store.metadata("old")).etag
        assert await store.load("old", **load, write_back=True) == Recipe(name="soup")
        about = await store.metadata("old")
        assert (about.etag, about.tags) == (etag, ("t",)), "what is current was written again"
        assert await store.load("none", default=None, **load) is None


async def test_all_values_of_an_older_model_are_brought_to_the_current_one(folder):
    async with BlobManager(folder) as store:
        await store.save_many({f"r/{n}": {"title": str(n)} for n in range(300)})
        await store.save("r/current", Recipe(name="x"))
        await store.save("r/broken", {"nothing": 1})
        await store.save("r/pickled", {"title": 1}, "pickle")
        dry = await store.migrate_all(
            model_class=Recipe, upgrade=renamed, prefix="r/", dry_run=True
        )
        assert dry.converted == 300
        assert await store.load("r/7") == {"title": "7"}
        done = await store.migrate_all(model_class=Recipe, upgrade=renamed, prefix="r/")
        assert (done.converted, done.unchanged) == (300, 1)
        assert isinstance(done.failed["r/broken"], DeserializationError)
        assert await store.load("r/7") == {"name": "7", "minutes": 0}
        again = await store.migrate_all(model_class=Recipe, upgrade=renamed, prefix="r/")
        assert (again.converted, again.unchanged) == (0, 301)


async def test_an_upgrade_that_raises_says_so_and_stops_nothing(folder):
    def broken(data):
        raise ZeroDivisionError

    async with BlobManager(folder) as store:
        await store.save("k", {"name": "x"})
        with pytest.raises(
            DeserializationError, match="upgrade= raised ZeroDivisionError"
        ) as error:
            await store.load("k", model_class=Recipe, upgrade=broken)
        assert isinstance(error.value.__cause__, ZeroDivisionError)
        done = await store.migrate_all(model_class=Recipe, upgrade=broken)
        assert list(done.failed) == ["k"]


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"upgrade": renamed},
        {"to_format": "json", "model_class": Recipe},
        {"compression": "gzip"},
        {"to_format": "json", "progress": 1},
    ],
)
async def test_a_migration_that_asks_for_nothing_or_too_much_is_refused(folder, asked):
    async with BlobManager(folder) as store:
        with pytest.raises(InvalidArgumentError):
            await store.migrate_all(**asked)


def test_without_await_it_is_the_same(folder):
    with sync.BlobManager(folder) as store:
        store.save("a", [1], "pickle")
        assert store.migrate_all("json").converted == 1
        store.save("old", {"title": "soup"})
        found = store.load("old", model_class=Recipe, upgrade=renamed, write_back=True)
        assert found == Recipe(name="soup")
        assert store.load("old")["name"] == "soup"


async def test_a_migration_to_another_format_compresses_what_python_converts_too(folder):
    async with BlobManager(folder) as store:
        value = ["x" * 100] * 100
        await store.save_many({str(number): value for number in range(20)}, "pickle")
        done = await store.migrate_all("json", compression="zstd")
        assert (done.converted, len(done.failed)) == (20, 0)
        about = await store.metadata("7")
        assert (about.format, about.compression) == ("json", "zstd")
        assert await store.load("7") == value
        await store.migrate_all("pickle")
        assert (await store.metadata("7")).compression == "zstd", "each keeps its own"


async def test_one_value_is_brought_to_another_format_compression_or_model(folder):
    async with BlobManager(folder) as store:
        await store.save("k", {"title": "soup", "text": "x" * 5_000}, "pickle", tags=("t",))
        await store.save("k/below", {"title": "x"}, "pickle")
        about = await store.migrate("k", compression="zstd")
        assert (about.format, about.compression) == ("pickle", "zstd")
        assert (await store.migrate("k", compression="zstd")).etag == about.etag
        about = await store.migrate("k", "json")
        assert (about.format, about.compression, about.tags) == ("json", "zstd", ("t",))
        about = await store.migrate("k", "json", compression="none")
        assert (about.format, about.compression) == ("json", None)
        about = await store.migrate("k", model_class=Recipe, upgrade=renamed)
        assert await store.load("k") == {"name": "soup", "minutes": 0}
        again = await store.migrate("k", model_class=Recipe, upgrade=renamed)
        assert again.etag == about.etag, "what is current was written again"
        assert (await store.metadata("k/below")).format == "pickle"
        for asked in ({}, {"to_format": "json", "model_class": Recipe}, {"upgrade": renamed}):
            with pytest.raises(InvalidArgumentError):
                await store.migrate("k", **asked)
        with pytest.raises(BlobNotFoundError):
            await store.migrate("none", compression="zstd")
        await store.save("k", {"minutes": "many"})
        with pytest.raises(DeserializationError):
            await store.migrate("k", model_class=Recipe)


async def test_many_values_of_an_older_model_are_upgraded_by_one_load(folder):
    async with BlobManager(folder) as store:
        await store.save_many({"a": {"title": "soup"}, "b": {"name": "tea"}, "bad": {"x": 1}})
        load = {"model_class": Recipe, "upgrade": renamed}
        with pytest.raises(BatchError) as error:
            await store.load_many(["a", "b", "none", "bad"], **load)
        found = {"a": Recipe(name="soup"), "b": Recipe(name="tea")}
        assert (error.value.succeeded, list(error.value.errors)) == (found, ["bad"])
        assert await store.load("a") == {"title": "soup"}
        assert await store.load_many(["a", "b"], **load, write_back=True) == found
        assert await store.load("a") == {"name": "soup", "minutes": 0}
        assert await store.load("b") == {"name": "tea", "minutes": 0}
        with pytest.raises(InvalidArgumentError, match="are for models"):
            await store.load_many(["a"], upgrade=renamed)


@pytest.mark.parametrize("face", ["awaited", "sync"])
async def test_memory_holds_the_upgraded_model_and_the_disk_too_if_asked(folder, face):
    kind = StorageManager if face == "awaited" else sync.StorageManager
    storage, blobs = kind(folder), sync.BlobManager(folder)

    async def get(*args, **options):
        found = storage.get(*args, **options)
        return await found if face == "awaited" else found

    async def get_many(*args, **options):
        found = storage.get_many(*args, **options)
        return await found if face == "awaited" else found

    calls = []

    def upgrade(data):
        calls.append(1)
        return renamed(data)

    load = {"model_class": Recipe, "upgrade": upgrade}
    blobs.save_many({key: {"title": key} for key in "abc"})
    with pytest.raises(DeserializationError):
        await get("a", model_class=Recipe)
    first = await get("a", **load)
    assert first == Recipe(name="a")
    assert await get("a", **load) is first
    assert await get("a") is first
    assert (len(calls), blobs.load("a")) == (1, {"title": "a"})
    found = await get_many(["a", "b", "c"], **load, write_back=True)
    assert found == {key: Recipe(name=key) for key in "abc"}
    assert len(calls) == 3
    assert blobs.load("b") == {"name": "b", "minutes": 0}
    assert await get("b", model_class=Recipe) is found["b"], "what was written back is in memory"
    blobs.save("d", {"title": "d"})
    made = storage.get_or_set("d", lambda: 1 / 0, **load, write_back=True)
    assert (await made if face == "awaited" else made) == Recipe(name="d")
    assert blobs.load("d") == {"name": "d", "minutes": 0}
    with pytest.raises(InvalidArgumentError, match="are for models"):
        await get("a", upgrade=upgrade)
    closing = storage.close()
    if face == "awaited":
        await closing


async def test_a_load_that_cannot_write_back_gives_what_it_has_read(folder, caplog, monkeypatch):
    async with BlobManager(folder) as store:
        await store.save("old", {"title": "soup"})

        async def refuse(*_):
            error = StorageIOError("the disk is full")
            error.errno = errno.ENOSPC
            raise error

        monkeypatch.setattr(store, "_replace", refuse)
        found = await store.load("old", model_class=Recipe, upgrade=renamed, write_back=True)
        assert found == Recipe(name="soup")
        assert "was not written back: the disk is full" in caplog.text


async def test_async_functions_that_nobody_would_await_are_refused(folder):
    async def told(*_):
        raise AssertionError

    class Told:
        async def __call__(self, *_):
            raise AssertionError

    async with BlobManager(folder) as store, StorageManager(folder) as storage:
        await store.save("k", {"name": "x"})
        for call in (
            lambda: store.migrate_all("json", progress=told),
            lambda: store.migrate_all("json", progress=Told()),
            lambda: store.migrate_all(model_class=Recipe, upgrade=told),
            lambda: store.migrate("k", model_class=Recipe, upgrade=told),
            lambda: store.load("k", model_class=Recipe, upgrade=told),
            lambda: store.load_many(["k"], model_class=Recipe, upgrade=told),
            lambda: storage.get("k", model_class=Recipe, upgrade=told),
            lambda: store.verify(progress=told),
            lambda: store.repair(progress=told),
            lambda: store.rotate_signing_key(progress=told),
        ):
            with pytest.raises(InvalidArgumentError, match="is an async function"):
                await call()


def test_the_command_line_has_python_convert_what_only_python_reads(folder):
    with sync.BlobManager(folder) as store:
        store.save_many({str(number): [number] for number in range(20)}, "pickle")
        store.save("set", {1}, "pickle")
    command = [sys.executable, "-m", "holdall", "--store", str(folder)]
    ran = subprocess.run(
        [*command, "migrate", "--to", "json", "--json"], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 1, ran.stderr
    done = json.loads(ran.stdout)
    assert done["converted"] == 20
    assert [failed["key"] for failed in done["failed"]] == ["set"]
    with sync.BlobManager(folder) as store:
        assert store.load("7") == [7]
        assert store.metadata("7").format == "json"


def test_a_killed_python_is_told_with_what_it_had_converted(folder):
    values = {str(number): [number] for number in range(3000)}
    command = [sys.executable, "-m", "holdall", "--store", str(folder), "migrate", "--to", "json"]
    with sync.BlobManager(folder) as store:
        store.save_many(values, "pickle")
    with subprocess.Popen(
        [*command, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        while len(list(folder.glob("*.json"))) < 700 and running.poll() is None:
            time.sleep(0.005)
        children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
        for child in children:
            os.kill(int(child), signal.SIGKILL)
        out, err = running.communicate()
    assert running.returncode == 7, (out, err)
    told = json.loads(out)
    assert 256 <= told["converted"] <= len(list(folder.glob("*.json"))), told
    assert "ended early" in told["ended_early"], told
    again = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "3,000" not in again.stdout
    with sync.BlobManager(folder) as store:
        assert store.load_many(list(values)) == values


def test_what_others_have_migrated_meanwhile_is_counted_as_unchanged(folder):
    with sync.BlobManager(folder) as store:
        store.save_many({str(number): [number] for number in range(600)}, "pickle")
        seen = []

        def change(checked, converted):
            if not seen:
                seen.append(checked)
                store.delete("99")
                store.migrate("98", "json")

        done = store.migrate_all("json", progress=change)
        assert (done.checked, done.converted + done.unchanged) == (600, 600) or done.checked < 600
        assert done.checked == done.converted + done.unchanged


def test_ctrl_c_while_python_converts_loses_nothing_and_another_run_goes_on(folder):
    values = {str(number): [number] for number in range(1500)}
    command = [sys.executable, "-m", "holdall", "--store", str(folder), "migrate", "--to", "json"]
    for _ in range(5):
        with sync.BlobManager(folder) as store:
            store.save_many(values, "pickle")
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
            # To the program alone: it tells Python.
            while not any(folder.glob("*.json")) and running.poll() is None:
                time.sleep(0.005)
            running.send_signal(signal.SIGINT)
            out, err = running.communicate()
        if running.returncode == 130:
            break
    assert running.returncode == 130, (out, err)
    assert b"interrupted" in out, (out, err)
    assert b"Traceback" not in err, err
    with sync.BlobManager(folder) as store:
        assert store.load_many(list(values)) == values
        assert store.verify().ok
    subprocess.run(command, check=True, capture_output=True)
    with sync.BlobManager(folder) as store:
        assert store.load_many(list(values)) == values
        assert {store.metadata(key).format for key in list(values)[::50]} == {"json"}


def test_what_lies_inline_stays_there_if_python_converts_it_for_a_manager_without_inline_values(
    tmp_path,
):
    with sync.BlobManager(tmp_path, inline_below=2_000) as store:
        store.save_many({f"key/{number}": [number] for number in range(5)}, "pickle")
    with sync.BlobManager(tmp_path) as store:
        assert store.migrate_all(to_format="json").converted == 5
        assert store.migrate("key/3", "pickle") is not None
        assert [store.load(f"key/{number}") for number in range(5)] == [[n] for n in range(5)]
    assert [path.name for path in tmp_path.iterdir()] == [".holdall"]
