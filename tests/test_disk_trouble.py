"""Folders that cannot be written, disks that are full: a clear error, and the old value stands."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path

import pytest

import holdall
import programs
from holdall import BlobManager, StorageManager, sync

NOBODY = 65_534

AS_NOBODY = f"""
    import os, sys, tempfile
    from holdall import errors, sync

    def shown(call):
        try:
            return call()
        except errors.HoldallError as error:
            assert isinstance(error, OSError), error
            assert error.path and error.path in str(error), error
            return error

    # Whatever is imported later may lie where only the first user can read.
    with tempfile.TemporaryDirectory() as folder, sync.StorageManager(folder) as warm:
        warm.set("k", {{}})
        assert sync.BlobManager(folder).load("k") == {{}}

    store = sync.BlobManager(sys.argv[1])
    storage = sync.StorageManager(sys.argv[1])
    os.chdir("/")
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid({NOBODY})
        os.setuid({NOBODY})
    """
"""The beginning of a program that permissions bind; `store` is not opened yet."""


@pytest.fixture
def shared():
    """A folder that every user can get to, which the folders of pytest are not."""
    folder = Path(tempfile.mkdtemp(prefix="holdall-test-"))
    folder.chmod(0o755)
    yield folder
    for path, _, _ in os.walk(folder):
        os.chmod(path, 0o755)
    shutil.rmtree(folder)


def as_nobody(code: str, *args: object) -> str:
    return programs.run(programs.joined(AS_NOBODY, code), *args)


# -- base paths -----------------------------------------------------------------------------------


@pytest.mark.parametrize("below", ["", "sub", "sub/sub"])
async def test_a_base_path_that_is_a_file_is_an_error_with_path_and_remedy(tmp_path, below):
    (tmp_path / "file").write_text("mine")
    path = tmp_path / "file" / below
    async with BlobManager(path) as blobs, StorageManager(path) as storage:
        for call in (
            lambda: blobs.save("k", 1),
            lambda: blobs.load("k"),
            lambda: blobs.load("k", default=1),
            lambda: blobs.get_stats(),
            lambda: storage.set("k", 1),
            lambda: storage.get("k"),
        ):
            with pytest.raises(holdall.StorageIOError, match="choose another base_path") as caught:
                await call()
            assert caught.value.errno == errno.ENOTDIR
            assert caught.value.path in str(caught.value)
            assert str(tmp_path / "file") in caught.value.path
        assert await storage.cache_get("k") is None
    assert (tmp_path / "file").read_text() == "mine"


async def test_a_base_path_that_cannot_be_made_is_an_error_with_path_and_remedy():
    if not Path("/proc/self").exists():
        pytest.skip("there is no /proc, where nobody can make a folder")
    async with BlobManager("/proc/holdall") as blobs:
        with pytest.raises(holdall.StorageIOError, match=r"save \"k\".*base_path") as caught:
            await blobs.save("k", 1)
    assert caught.value.path == "/proc/holdall"
    assert isinstance(caught.value, OSError)


async def test_when_the_path_is_mended_the_same_manager_goes_on(tmp_path):
    (tmp_path / "store").write_text("in the way")
    async with BlobManager(tmp_path / "store") as blobs:
        with pytest.raises(holdall.StorageIOError):
            await blobs.save("k", 1)
        (tmp_path / "store").unlink()
        await blobs.save("k", 1)
        assert await blobs.load("k") == 1


# -- permissions ----------------------------------------------------------------------------------


def test_a_folder_in_which_nobody_may_write_cannot_hold_a_store(shared):
    out = as_nobody(
        """
        for call in (lambda: store.save("k", 1), lambda: storage.set("k", 1)):
            print(shown(call))
        assert storage.cache_get("k") is None
        """,
        shared / "store",
    )
    for line in out.splitlines():
        assert line.startswith('could not save "k": permission denied')
        assert str(shared) in line
        assert "give this user the right to read and write there" in line
    assert len(out.splitlines()) == 2


def test_a_store_that_cannot_be_written_is_read_and_every_write_is_an_error(shared):
    folder = shared / "store"
    with sync.BlobManager(folder) as blobs:
        blobs.save_many({"k": {"old": 1}, "users/1": "one"})
    give_away(folder)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    out = as_nobody(
        """
        assert store.load("k") == storage.get("k") == {"old": 1}
        assert store.load("users/1") == "one"
        assert store.exists("k") and not store.exists("none")
        for call in (
            lambda: store.save("k", {"new": 2}),
            lambda: store.save("new", 1),
            lambda: store.save("users/2", 1),
            lambda: storage.set("k", {"new": 2}),
            lambda: store.delete("k"),
            lambda: store.touch("k", 5),
            lambda: store.rename("k", "k2"),
            lambda: store.clear(),
        ):
            print(shown(call))
        assert store.load("k") == storage.get("k") == {"old": 1}
        """,
        folder,
    )
    assert len(out.splitlines()) == 8
    for line in out.splitlines():
        assert line.startswith("could not ")
        assert "base_path" in line
        assert str(folder) in line


def test_a_folder_of_keys_that_cannot_be_written_leaves_the_others_alone(shared):
    folder = shared / "store"
    with sync.BlobManager(folder) as blobs:
        blobs.save_many({"locked/k": "old", "open/k": "old"})
    give_away(folder)
    (folder / "locked").chmod(0o555)
    out = as_nobody(
        """
        error = shown(lambda: store.save("locked/k", "new"))
        assert store.load("locked/k") == "old"
        store.save("open/k", "new")
        assert store.load("open/k") == "new"
        assert sorted(store.keys()) == ["locked/k", "open/k"]
        assert not os.listdir(sys.argv[1] + "/.holdall/tmp")
        print(error)
        """,
        folder,
    )
    assert 'could not save "locked/k": permission denied' in out
    assert str(folder / "locked") in out


def give_away(folder: Path) -> None:
    """To the user that the program will be, if it will be another."""
    if os.getuid() == 0:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, NOBODY, NOBODY)


# -- full disks -----------------------------------------------------------------------------------


@pytest.mark.parametrize("face", ["sync", "awaited"])
def test_a_file_that_may_not_grow_is_an_error_and_the_old_value_stands(tmp_path, face):
    out = programs.run(
        """
        import asyncio, os, resource, signal, sys
        import holdall
        from holdall import sync

        store = sync.BlobManager(sys.argv[1])
        awaited = holdall.StorageManager(sys.argv[1])
        store.save("k", "old")
        store.save("p", {"old"}, "pickle")
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))

        def save(key, value, format):
            if sys.argv[2] == "sync":
                return store.save(key, value, format)
            return asyncio.run(awaited.set(key, value, format=format))

        for key, value, format in (
            ("k", "x" * (2 << 20), "string"),
            ("p", list(range(1_000_000)), "pickle"),
            ("new", bytes(2 << 20), "bytes"),
        ):
            try:
                save(key, value, format)
            except OSError as error:
                assert isinstance(error, holdall.StorageIOError)
                assert error.path and error.path in str(error) and error.key == key
                print(error.errno, error)
        assert store.load_many(["k", "p", "new"]) == {"k": "old", "p": {"old"}}
        assert asyncio.run(awaited.get("new")) is None
        assert asyncio.run(awaited.get("k")) == "old"
        assert not os.listdir(sys.argv[1] + "/.holdall/tmp")
        store.save("k", "small")
        assert store.load("k") == "small"
        """,
        tmp_path / "store",
        face,
    )
    assert len(out.splitlines()) == 3
    for line in out.splitlines():
        assert line.startswith(f"{errno.EFBIG} could not save ")
        assert "ulimit -f" in line


def test_on_a_full_disk_a_save_is_an_error_and_the_old_value_stands(tmp_path):
    """With a disk of 4 MB, in a mount namespace of its own that ends with the program."""
    program = programs.command(
        """
        import os, sys
        import holdall
        from holdall import sync

        store = sync.BlobManager(sys.argv[1] + "/store")
        store.save("k", "old")
        full = []
        for n in range(100):
            try:
                store.save(str(n), os.urandom(100_000))
            except OSError as error:
                full.append(error)
        assert full and {type(error) for error in full} == {holdall.StorageIOError}
        print(full[0].errno, full[0])
        try:
            store.save("k", "x" * 1_000_000)
        except OSError as error:
            print(error.errno, error)
        assert store.load("k") == "old"
        there = [n for n in range(100) if store.exists(str(n))]
        assert len(there) == 100 - len(full)
        assert all(len(store.load(str(n))) == 100_000 for n in there)
        for n in there[:5]:
            store.delete(str(n))
        store.save("k", "x" * 100_000)
        assert store.load("k") == "x" * 100_000
        assert len(list(store.keys())) == store.get_stats()["entries"] == len(there) - 5 + 1
        """,
        tmp_path,
    )
    done = programs.on_a_small_disk(program, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stdout.splitlines()) == 2
    for line in done.stdout.splitlines():
        assert line.startswith(f"{errno.ENOSPC} could not save ")
        assert "free some space" in line
        assert str(tmp_path) in line


@pytest.mark.parametrize("face", ["sync", "awaited"])
def test_on_a_full_disk_a_migration_stops_says_what_is_left_and_goes_on_later(tmp_path, face):
    code = programs.joined(
        programs.FILLING,
        """
        import asyncio, errno, os, sys
        import holdall
        from holdall import sync
        from pydantic import BaseModel

        class Model(BaseModel):
            text: str
            more: int = 0

        disk, face = sys.argv[1:]
        store = sync.BlobManager(disk + "/store")
        store.save_many({f"p/{n:03}": {"text": "x" * 3000} for n in range(150)}, "pickle")
        store.save_many({f"m/{n:03}": {"text": "x" * 3000} for n in range(150)}, "json")
        store.close()

        async def awaited(asked):
            async with holdall.BlobManager(disk + "/store") as store:
                return await store.migrate_all(**asked)

        def migrate(asked):
            if face == "awaited":
                return asyncio.run(awaited(asked))
            with sync.BlobManager(disk + "/store") as store:
                return store.migrate_all(**asked)

        for asked in (
            {"to_format": "json", "prefix": "p/"},
            {"model_class": Model, "prefix": "m/"},
            {"to_format": "custom_json", "prefix": "p/"},
        ):
            fill(disk)
            try:
                migrate(asked)
            except holdall.MigrationStoppedError as error:
                assert isinstance(error, OSError) and error.errno == errno.ENOSPC
                assert not error.report.failed, error.report
                assert error.report.converted + error.left == 150, (error, error.report)
                print(error)
                converted = error.report.converted
            else:
                raise AssertionError("there was room")
            os.remove(disk + "/ballast")
            done = migrate(asked)
            assert (done.converted, done.failed) == (150 - converted, {}), done
        with sync.BlobManager(disk + "/store") as store:
            assert store.verify().ok
            assert store.load("p/149") == {"text": "x" * 3000}
            assert store.load("m/149") == {"text": "x" * 3000, "more": 0}
        """,
    )
    program = programs.command(code, tmp_path, face)
    done = programs.on_a_small_disk(program, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stdout.splitlines()) == 3
    for line in done.stdout.splitlines():
        assert line.startswith("could not migrate the store: the disk is full"), line
        assert "values were converted" in line and "are left; make room there" in line
