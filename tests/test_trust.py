"""Whose files are read, and what a damaged one is: `trust`, `signing_key`, `on_corrupt`."""

from __future__ import annotations

import asyncio
import os
import pickle
import shutil
from pathlib import Path

import joblib
import pytest

import holdall
from holdall import BlobManager, StorageManager, sync

ONE, OTHER = "1" * 32, "2" * 32


class Payload:
    """What runs when it is unpickled: a file appears."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.fixture
def ran(tmp_path):
    return tmp_path / "it-ran"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "store"


@pytest.fixture(params=["pickle", "joblib"])
def planted(request, folder, ran):
    """The key of a file that a stranger put there, which leaves a trace if it is read."""
    sync.BlobManager(folder).save("mine", 1)
    if request.param == "pickle":
        (folder / "k.pkl").write_bytes(pickle.dumps(Payload(ran)))
    else:
        joblib.dump(Payload(ran), folder / "k.joblib")
    return "k"


def edit(path: Path, *, at: int, hidden: bool) -> None:
    """Flips a bit; `hidden` as a failing disk would, with the time of change unchanged."""
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    with path.open("r+b") as file:
        file.write(data)
    if hidden:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


# -- pickles --------------------------------------------------------------------------------------


async def test_a_strangers_pickle_is_never_executed(planted, folder, ran):
    async with BlobManager(folder) as blobs, StorageManager(folder) as storage:
        for call in (
            lambda: blobs.load(planted),
            lambda: blobs.load(planted, default="default"),
            lambda: blobs.migrate(planted, "json"),
            lambda: blobs.copy(planted, "other"),
            lambda: storage.get(planted),
            lambda: storage.get_or_set(planted, lambda: 1),
        ):
            with pytest.raises(holdall.UntrustedPayloadError, match="trust") as caught:
                await call()
            assert isinstance(caught.value, PermissionError)
            assert caught.value.key == planted
        for many in (
            lambda: blobs.load_many(["mine", planted]),
            lambda: storage.get_many([planted]),
        ):
            with pytest.raises(holdall.BatchError) as failed:
                await many()
            assert list(failed.value.errors) == [planted]
        assert not await blobs.exists("other")
    assert not ran.exists()


async def test_with_trust_any_a_strangers_pickle_is_read_and_does_run(planted, folder, ran):
    async with BlobManager(folder, trust="any") as blobs:
        await blobs.load(planted)
    assert ran.exists()


async def test_other_formats_of_strangers_are_read(folder):
    async with BlobManager(folder) as blobs:
        await blobs.save("mine", 1)
        (folder / "j.json").write_text('{"a": 1}')
        (folder / "t.txt").write_text("text")
        assert await blobs.load_many(["j", "t"]) == {"j": {"a": 1}, "t": "text"}
        assert (await blobs.metadata("j")).foreign


@pytest.mark.parametrize("format", ["pickle", "joblib"])
@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("at", [0, 1, 20, -1, -20, -50, -64])
async def test_a_pickle_with_one_flipped_bit_is_not_deserialized(
    folder, format, hidden, at, monkeypatch
):
    async with BlobManager(folder) as blobs:
        await blobs.save("k", {"some": {"set"}, "of": "objects"}, format)
        edit(folder / ("k.pkl" if format == "pickle" else "k.joblib"), at=at, hidden=hidden)

        def never(*_: object) -> object:
            raise AssertionError("it was unpickled")

        monkeypatch.setattr(type(holdall.formats.FORMATS[format]), "decode", never)
        with pytest.raises((holdall.BlobCorruptError, holdall.UntrustedPayloadError)):
            await blobs.load("k")


async def test_a_signature_holds_for_one_key_one_format_and_one_store(folder, tmp_path):
    async with BlobManager(folder) as blobs, BlobManager(tmp_path / "other") as other:
        await blobs.save("k", {1}, "pickle")
        await other.save("mine", 1)
        for target in (folder / "moved.pkl", folder / "as.joblib", tmp_path / "other/k.pkl"):
            shutil.copyfile(folder / "k.pkl", target)
        for manager, key in ((blobs, "moved"), (blobs, "as"), (other, "k")):
            with pytest.raises(holdall.UntrustedPayloadError):
                await manager.load(key)
        await blobs.rename("k", "renamed")
        await blobs.copy("renamed", "copied")
        assert await blobs.load_many(["renamed", "copied"]) == {"renamed": {1}, "copied": {1}}


# -- keys for signatures --------------------------------------------------------------------------


async def test_a_pickle_of_another_signing_key_is_refused_and_a_ring_reads_both(folder):
    async with BlobManager(folder, signing_key=ONE) as blobs:
        await blobs.save("k", {1}, "pickle")
    async with BlobManager(folder, signing_key=OTHER) as blobs:
        with pytest.raises(holdall.UntrustedPayloadError, match="HOLDALL_SIGNING_KEY"):
            await blobs.load("k")
        with pytest.raises(holdall.UntrustedPayloadError):
            await blobs.save("new", {2}, "pickle")
        await blobs.save("json", 1)
    async with BlobManager(folder, signing_key=f"{OTHER},{ONE}") as blobs:
        assert await blobs.load("k") == {1}
        await blobs.save("new", {2}, "pickle")
        assert await blobs.load("new") == {2}
    async with BlobManager(folder, signing_key=ONE, trust="any") as blobs:
        assert await blobs.load("new") == {2}


async def test_the_signing_key_comes_from_argument_then_environment_then_home(folder, monkeypatch):
    own = Path.home() / ".local/share/holdall/signing.key"
    async with BlobManager(folder, signing_key=ONE.encode()) as blobs:
        await blobs.save("k", {1}, "pickle")
    monkeypatch.setenv("HOLDALL_SIGNING_KEY", ONE)
    async with BlobManager(folder) as blobs:
        assert await blobs.load("k") == {1}
    assert not own.exists()
    monkeypatch.delenv("HOLDALL_SIGNING_KEY")
    async with BlobManager(folder.with_name("another")) as blobs:
        await blobs.save("k", {1}, "pickle")
    assert own.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("key", ["", "short", b"fifteen bytes.."])
async def test_a_signing_key_that_is_none_is_refused_and_not_shown(folder, key):
    async with BlobManager(folder, signing_key=key) as blobs:
        with pytest.raises(holdall.InvalidArgumentError, match="signing") as caught:
            await blobs.save("k", {1}, "pickle")
    assert "short" not in str(caught.value).replace("too short", "")
    assert "fifteen" not in str(caught.value)


# -- damage ---------------------------------------------------------------------------------------


async def test_a_damaged_value_is_an_error_with_path_and_remedy_and_stops_no_other(folder):
    async with BlobManager(folder) as blobs:
        await blobs.save_many({"k": {"a": 1}, "good": 2})
        edit(folder / "k.json", at=2, hidden=True)
        with pytest.raises(holdall.BlobCorruptError, match="restore the file") as caught:
            await blobs.load("k", default="default")
        assert caught.value.path == str(folder / "k.json")
        with pytest.raises(holdall.BatchError) as failed:
            await blobs.load_many(["k", "good"])
        assert failed.value.succeeded == {"good": 2}
        await blobs.save("k", "anew")
        assert await blobs.load("k") == "anew"


async def test_with_on_corrupt_miss_a_damaged_value_is_as_if_it_were_not_there(folder, caplog):
    async with (
        BlobManager(folder, on_corrupt="miss") as blobs,
        StorageManager(folder, on_corrupt="miss") as storage,
    ):
        await blobs.save("k", ["secret"])
        edit(folder / "k.json", at=3, hidden=True)
        assert await blobs.load("k", default="default") == "default"
        with pytest.raises(FileNotFoundError):
            await blobs.load("k")
        assert await blobs.load_many(["k"]) == {}
        assert await storage.get("k") is None
        assert "taken for a miss" in caplog.text
        assert "secret" not in caplog.text
        assert await storage.get_or_set("k", lambda: "made anew") == "made anew"
        assert await blobs.load("k") == "made anew"


async def test_on_corrupt_miss_does_not_hide_what_is_no_damage(planted, folder):
    async with BlobManager(folder, on_corrupt="miss") as blobs:
        with pytest.raises(holdall.UntrustedPayloadError):
            await blobs.load(planted)
        (folder / "bad.json").write_text("{")
        with pytest.raises(holdall.InvalidJSONError):
            await blobs.load("bad")


async def test_an_edit_by_another_program_is_read_and_is_no_damage(folder):
    async with BlobManager(folder) as blobs:
        await blobs.save("k", {"a": 1})
        (folder / "k.json").write_text('{"a": 22}')
        assert await blobs.load("k") == {"a": 22}
        assert (await blobs.metadata("k")).foreign


@pytest.mark.parametrize("kind", ["link", "folder", "pipe"])
async def test_what_is_no_file_is_never_followed_or_waited_for(folder, tmp_path, kind):
    async with BlobManager(folder) as blobs:
        await blobs.save("mine", 1)
        (tmp_path / "outside.txt").write_text("outside")
        way = folder / "k.txt"
        match kind:
            case "link":
                way.symlink_to(tmp_path / "outside.txt")
            case "folder":
                way.mkdir()
            case "pipe":
                os.mkfifo(way)
        with pytest.raises(holdall.BlobCorruptError, match="remove it") as caught:
            await blobs.load("k")
        assert caught.value.path == str(way)
        assert (tmp_path / "outside.txt").read_text() == "outside"


# -- external_check -------------------------------------------------------------------------------


async def hit_until_it_differs(storage, key, old):
    """What memory answers after it has looked at the file; bounded by the test's timeout."""
    for _ in range(20_000):
        found = await storage.get(key)
        if found != old:
            return found
        await asyncio.sleep(0.001)
    return old


async def test_hits_notice_an_edit_after_external_check_and_not_before(folder, clock):
    async with StorageManager(folder, external_check=10, clock=clock) as storage:
        await storage.set("k", "old")
        (folder / "k.txt").write_text("edited by hand")
        clock.advance(9)
        for _ in range(50):
            assert await storage.get("k") == "old"
        clock.advance(2)
        assert await hit_until_it_differs(storage, "k", "old") == "edited by hand"


async def test_with_external_check_zero_every_hit_has_the_file_looked_at(folder, clock):
    async with StorageManager(folder, external_check=0, clock=clock) as storage:
        await storage.set("k", "old")
        assert await storage.get("k") == "old"
        (folder / "k.txt").unlink()
        assert await hit_until_it_differs(storage, "k", "old") is None


@pytest.mark.parametrize("seconds", [-1, float("nan"), "1"])
async def test_an_external_check_that_is_no_time_is_refused(folder, seconds):
    with pytest.raises((holdall.InvalidArgumentError, TypeError)):
        await StorageManager(folder, external_check=seconds).get("k")


# -- size -----------------------------------------------------------------------------------------


async def test_max_value_bytes_holds_for_saves_and_for_loads(folder):
    async with BlobManager(folder, max_value_bytes=10) as small, BlobManager(folder) as blobs:
        await small.save("k", "x" * 10)
        with pytest.raises(
            holdall.InvalidArgumentError, match="11 bytes, max_value_bytes allows 10"
        ):
            await small.save("k", "x" * 11)
        assert await small.load("k") == "x" * 10
        await blobs.save("large", "x" * 11)
        with pytest.raises(holdall.InvalidArgumentError, match="raise max_value_bytes"):
            await small.load("large")
