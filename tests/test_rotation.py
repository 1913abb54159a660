"""Signing keys that change, are lost, or were never right; `rotate_signing_key`."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import holdall
from holdall import BlobManager, StorageManager, sync

OLD, NEW = "1" * 32, "2" * 32
BOTH = f"{NEW},{OLD}"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "store"


def own_key() -> Path:
    """The file of this user's key: each test has a home of its own."""
    return Path.home() / ".local/share/holdall/signing.key"


async def test_a_rotation_in_three_steps_loses_nothing_and_locks_nobody_out(folder):
    values = {"file": {1}, "a/b": [2], "k" * 500: 3, "large": ["x" * 100] * 20_000}
    async with BlobManager(folder, signing_key=OLD) as old:
        await old.save_many(values, "pickle")
        await old.save("lib", {4}, "joblib")
    async with (
        BlobManager(folder, signing_key=OLD, inline_below=4_096) as inline,
        BlobManager(folder, signing_key=OLD, compression="zstd") as packed,
    ):
        await inline.save("inline", {5}, "pickle", tags=["t"], metadata={"n": 1}, ttl=3_600)
        await packed.save("packed", ["the same"] * 1_000, "pickle")
    values |= {"lib": {4}, "inline": {5}, "packed": ["the same"] * 1_000}
    # First every process learns the new key, ...
    async with BlobManager(folder, signing_key=f"{OLD},{NEW}") as learning:
        assert await learning.load_many(values) == values
    # ... then all sign with it, ...
    told: list[tuple[int, int]] = []
    async with BlobManager(folder, signing_key=BOTH) as both:
        before = await both.metadata("inline")
        done = await both.rotate_signing_key(progress=lambda *so_far: told.append(so_far))
        assert (done.checked, done.resigned, dict(done.refused)) == (7, 7, {})
        assert told[-1] == (7, 7)
        after = await both.metadata("inline")
        assert (after.tags, after.metadata) == (before.tags, before.metadata)
        assert (after.created_at, after.expires_at) == (before.created_at, before.expires_at)
        assert after.etag != before.etag
        assert await both.rotate_signing_key() == (done.fingerprint, 7, 0, {})
    # ... and then nobody needs the old one.
    async with BlobManager(folder, signing_key=NEW) as new:
        assert await new.load_many(values) == values
        await new.save("file", {"after"}, "pickle")
    async with BlobManager(folder, signing_key=OLD) as late:
        for call in (late.load("file"), late.save("file", {1}, "pickle")):
            with pytest.raises(holdall.UntrustedPayloadError, match="rotate_signing_key"):
                await call


def test_the_same_without_await_and_by_the_storage_manager(folder):
    with sync.StorageManager(folder, signing_key=OLD) as storage:
        storage.set("k", {1}, format="pickle")
    with sync.StorageManager(folder, signing_key=BOTH) as storage:
        assert storage.get("k") == {1}
        assert storage.blobs.rotate_signing_key().resigned == 1
        assert storage.get("k") == {1}
    with sync.BlobManager(folder, signing_key=NEW) as blobs:
        assert blobs.load("k") == {1}


async def test_memory_in_other_managers_goes_on_across_a_rotation(folder):
    async with (
        StorageManager(folder, signing_key=BOTH) as storage,
        BlobManager(folder, signing_key=OLD) as old,
        BlobManager(folder, signing_key=BOTH) as both,
    ):
        await old.save("k", {1}, "pickle")
        assert await storage.get("k") == {1}
        await both.rotate_signing_key()
        assert await storage.get("k") == {1}
        await both.save("k", {2}, "pickle")
        assert await storage.get("k") == {2}


async def test_a_lost_key_costs_a_look_at_each_value_and_nothing_else(folder):
    async with BlobManager(folder, signing_key=OLD) as old:
        await old.save("pickle", {1}, "pickle", tags=["kept"], ttl=3_600)
        await old.save("joblib", {2}, "joblib")
    async with BlobManager(folder, signing_key=NEW) as new:
        with pytest.raises(holdall.UntrustedPayloadError, match="old_key_is_lost=True"):
            await new.save("more", {3}, "pickle")
        with pytest.raises(holdall.UntrustedPayloadError, match="old_key_is_lost=True"):
            await new.rotate_signing_key()
    async with BlobManager(folder, signing_key=NEW, trust="any", allow_classes=()) as looking:
        done = await looking.rotate_signing_key(old_key_is_lost=True)
        assert (done.resigned, sorted(done.refused)) == (0, ["joblib", "pickle"])
        for error in done.refused.values():
            assert isinstance(error, holdall.UntrustedPayloadError)
            assert 'load it with trust="any"' in str(error)
        for key in done.refused:
            value, record = await looking.load(key), await looking.metadata(key)
            await looking.save(
                key, value, record.format, tags=record.tags, metadata=record.metadata
            )
    async with BlobManager(folder, signing_key=NEW) as new:
        assert await new.load_many(["pickle", "joblib"]) == {"pickle": {1}, "joblib": {2}}
        assert (await new.metadata("pickle")).tags == ("kept",)
        assert not (await new.rotate_signing_key()).refused


async def test_what_could_not_be_signed_keeps_the_old_key_and_is_an_error(folder):
    async with BlobManager(folder, signing_key=OLD) as old:
        await old.save("large", "x" * 10_000, "pickle")
        await old.save("small", 1, "pickle")
    async with BlobManager(folder, signing_key=BOTH, max_value_bytes=1_000) as both:
        with pytest.raises(holdall.BatchError, match="keep the old key") as failed:
            await both.rotate_signing_key()
        assert list(failed.value.errors) == ["large"]
    async with BlobManager(folder, signing_key=OLD) as old:
        await old.save("more", 1, "pickle")
    async with BlobManager(folder, signing_key=BOTH) as both:
        assert (await both.rotate_signing_key()).resigned == 2


async def test_a_cancelled_rotation_is_called_again_and_goes_on(folder):
    async with (
        BlobManager(folder, signing_key=OLD) as old,
        BlobManager(folder, signing_key=BOTH) as both,
    ):
        await old.save_many({f"{n:03}": n for n in range(200)}, "pickle")
        noted = (folder / ".holdall/signer").read_text()
        seen: list[int] = []
        rotating: asyncio.Task[object]

        def stop(_: int, resigned: int) -> None:
            seen.append(resigned)
            if resigned:
                rotating.cancel()

        rotating = asyncio.create_task(both.rotate_signing_key(progress=stop))
        with pytest.raises(asyncio.CancelledError):
            await rotating
        assert 0 < seen[-1] < 200
        assert (folder / ".holdall/signer").read_text() == noted
        done = await both.rotate_signing_key()
        assert done.checked == 200 and done.resigned <= 200 - seen[-1]
    async with BlobManager(folder, signing_key=NEW) as new:
        assert await new.load("199") == 199


ROTATE = """
import sys
from holdall import sync
with sync.BlobManager(sys.argv[1], signing_key=sys.argv[2]) as blobs:
    blobs.rotate_signing_key(progress=lambda checked, resigned: print(resigned, flush=True))
"""


def test_a_rotation_that_was_killed_is_run_again_and_nothing_is_lost(folder):
    with sync.BlobManager(folder, signing_key=OLD) as blobs:
        blobs.save_many({f"{n:03}": n for n in range(300)}, "pickle")
    run = [sys.executable, "-c", ROTATE, str(folder), BOTH]
    with subprocess.Popen(run, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= 64:
                process.kill()
                break
    with sync.BlobManager(folder, signing_key=BOTH) as blobs:
        assert blobs.load_many([f"{n:03}" for n in range(300)]) == {
            f"{n:03}": n for n in range(300)
        }
        done = blobs.rotate_signing_key()
        assert done.checked == 300 and 0 < done.resigned < 300
    with sync.BlobManager(folder, signing_key=NEW) as blobs:
        assert blobs.load_many([f"{n:03}" for n in range(300)]) == {
            f"{n:03}": n for n in range(300)
        }


@pytest.mark.parametrize(
    "arguments", [{"old_key_is_lost": 1}, {"progress": 1}, {"old_key_is_lost": None}]
)
async def test_arguments_that_are_none_are_refused_before_anything_is_done(folder, arguments):
    async with BlobManager(folder) as blobs:
        with pytest.raises(holdall.InvalidArgumentError):
            await blobs.rotate_signing_key(**arguments)
    assert not folder.exists()


# -- where keys come from -------------------------------------------------------------------------


async def test_a_new_home_is_an_error_and_never_a_new_key(folder, tmp_path, monkeypatch):
    async with BlobManager(folder) as blobs:
        await blobs.save("k", {1}, "pickle")
    kept = own_key().read_text().strip()
    monkeypatch.setenv("HOME", str(tmp_path / "container"))
    async with BlobManager(folder) as blobs:
        for call in (
            lambda: blobs.load("k"),
            lambda: blobs.save("k", {2}, "pickle"),
            lambda: blobs.rotate_signing_key(),
        ):
            with pytest.raises(holdall.UntrustedPayloadError, match="HOLDALL_SIGNING_KEY"):
                await call()
    assert not own_key().exists()
    monkeypatch.setenv("HOLDALL_SIGNING_KEY", kept)
    async with BlobManager(folder) as blobs:
        assert await blobs.load("k") == {1}


@pytest.mark.parametrize("where", ["environment", ".env"])
@pytest.mark.parametrize("secret", ["short", "", f"{OLD},"])
async def test_a_bad_signing_key_variable_is_an_error_of_the_first_call(
    folder, where, secret, monkeypatch
):
    if where == ".env":
        Path(".env").write_text(f"HOLDALL_SIGNING_KEY={secret}\n")
    else:
        monkeypatch.setenv("HOLDALL_SIGNING_KEY", secret)
    for manager in (BlobManager(folder), StorageManager(folder)):
        with pytest.raises(holdall.ConfigurationError, match="HOLDALL_SIGNING_KEY") as caught:
            await manager.exists("k")
        assert "short" not in str(caught.value).replace("too short", "")
    assert not folder.exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
async def test_a_key_file_that_others_can_read_is_refused_with_a_way_out(folder, mode):
    async with BlobManager(folder) as blobs:
        await blobs.save("k", {1}, "pickle")
    own_key().chmod(mode)
    async with BlobManager(folder) as blobs:
        with pytest.raises(holdall.UntrustedPayloadError, match="chmod 600") as caught:
            await blobs.load("k")
        assert caught.value.path == str(own_key())
        assert await blobs.save("json", 1)
    own_key().chmod(0o600)
    async with BlobManager(folder) as blobs:
        assert await blobs.load("k") == {1}


RACE = """
import sys
from holdall import sync
with sync.BlobManager(sys.argv[1]) as blobs:
    print("ready", flush=True)
    sys.stdin.readline()
    blobs.save(sys.argv[2], {1}, "pickle")
"""


def test_processes_that_make_the_key_file_at_once_agree_on_one(tmp_path):
    stores = [tmp_path / f"store{n}" for n in range(4)]
    run = [sys.executable, "-c", RACE]
    processes = [
        subprocess.Popen(
            [*run, str(store), "k"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for store in stores
    ]
    for process in processes:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in processes:
        process.communicate("go\n")
        assert process.returncode == 0
    assert stat.S_IMODE(own_key().stat().st_mode) == 0o600
    assert os.listdir(own_key().parent) == ["signing.key"]
    assert len({(store / ".holdall/signer").read_text() for store in stores}) == 1
    for store in stores:
        with sync.BlobManager(store) as blobs:
            assert blobs.load("k") == {1}
