"""What others put into the folder is an error of its own key, quickly, and runs nothing."""

from __future__ import annotations

import os
import pickle
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import holdall
from holdall import sync
from hostile import pickles
from hostile.stores import STAMP

SUFFIXES = [
    *(".json", ".txt", ".bin", ".npy", ".pkl", ".joblib"),
    *(".json.zst", ".bin.lz4", ".pkl.zst", ".npy.lz4"),
]
SECONDS = 5.0
"""Far more than any look takes, on a machine that does other things too."""
SECRET = "nobody is to see this in a message"


@contextmanager
def soon() -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < SECONDS


def fifo(path: Path) -> None:
    os.mkfifo(path)


def socket(path: Path) -> None:
    os.mknod(path, 0o600 | 0o140000)


def device(path: Path) -> None:
    os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5))


def folder(path: Path) -> None:
    path.mkdir()
    (path / "inside").write_text("x")


def link_out(path: Path) -> None:
    outside = path.parent.parent / "outside"
    outside.write_text('"' + SECRET + '"')
    path.symlink_to(outside)


def link_nowhere(path: Path) -> None:
    path.symlink_to("nowhere")


def link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


def holes(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 42)


def zeros(path: Path) -> None:
    path.write_bytes(bytes(10_000))


def ones(path: Path) -> None:
    path.write_bytes(b"\xff" * 10_000)


def nothing(path: Path) -> None:
    path.write_bytes(b"")


def unreadable(path: Path) -> None:
    path.write_bytes(b"1")
    path.chmod(0)


def anothers(path: Path) -> None:
    path.write_bytes(b"1")
    os.chown(path, 65_534, 65_534)


THINGS: list[Callable[[Path], None]] = [
    *(fifo, socket, device, folder, link_out, link_nowhere, link_to_itself),
    *(holes, zeros, ones, nothing, unreadable, anothers),
]


@pytest.fixture
def store(tmp_path):
    """A store with three values, one of each kind of trust, closed."""
    base = tmp_path / "store"
    with sync.BlobManager(base, compression="zstd") as blobs:
        blobs.save("json", {"a": [1]})
        blobs.save("pickle", {1, 2}, "pickle")
        blobs.save("packed", SECRET * 100)
    with sync.BlobManager(base, compression="lz4") as blobs:
        blobs.save("packed too", SECRET * 100)
    return base


def others_are_fine(blobs: sync.BlobManager) -> None:
    assert blobs.load("json") == {"a": [1]}
    assert blobs.load("pickle") == {1, 2}
    assert blobs.load("packed") == SECRET * 100
    blobs.save("new", 1)
    assert blobs.load("new") == 1
    blobs.delete("new")
    assert {"json", "pickle", "packed"} <= set(blobs.keys())


def looked_at(call: Callable[[], object]) -> str:
    """`ok`, or the kind of the error, which is one of ours and shows no value."""
    with soon():
        try:
            call()
        except holdall.HoldallError as error:
            assert SECRET not in str(error)
            return type(error).__name__
    return "ok"


@pytest.mark.parametrize("thing", THINGS, ids=lambda thing: thing.__name__)
def test_whatever_has_the_name_of_a_value_concerns_that_key_alone(store, thing):
    keys = {f"k{number}": suffix for number, suffix in enumerate(SUFFIXES)}
    try:
        for key, suffix in keys.items():
            thing(store / f"{key}{suffix}")
    except PermissionError:
        pytest.skip("this user cannot make one")
    with sync.BlobManager(store) as blobs:
        for key in keys:
            for call in (
                lambda key=key: blobs.load(key),
                lambda key=key: blobs.load(key, default=None),
                lambda key=key: blobs.metadata(key),
                lambda key=key: blobs.exists(key),
                lambda key=key: blobs.read_range(key, 0, 10),
                lambda key=key: blobs.copy(key, "copied"),
                lambda: list(blobs.keys()),
                blobs.get_stats,
            ):
                looked_at(call)
        others_are_fine(blobs)
        for key in keys:
            looked_at(lambda key=key: blobs.save(key, 1))
            looked_at(lambda key=key: blobs.delete(key))
        others_are_fine(blobs)
        looked_at(blobs.clear)
    outside = store.parent / "outside"
    assert not outside.exists() or outside.read_text() == f'"{SECRET}"'


@pytest.mark.parametrize("content", [b"", b"garbage", bytes(64), b"\xff" * 200, b"\x01" * 4_000])
@pytest.mark.parametrize("name", ["json.json", "pickle.pkl", "packed.txt.zst"])
def test_a_stamp_that_cannot_be_understood_is_damage(store, name, content):
    try:
        os.setxattr(store / name, STAMP, content)
    except OSError:
        pytest.skip("there are no such attributes here")
    with sync.BlobManager(store) as blobs:
        key = name.split(".")[0]
        for read in (blobs.load, blobs.exists, blobs.metadata, blobs.load):
            assert looked_at(lambda read=read: read(key)) == "BlobCorruptError"
        assert {"json", "pickle", "packed"} - {key} <= set(blobs.keys())
        blobs.repair()
        assert looked_at(lambda: blobs.load(key)) == "ok"


@pytest.mark.parametrize("source", ["json.json", "pickle.pkl", "packed.txt.zst"])
@pytest.mark.parametrize("suffix", [".json", ".npy", ".pkl", ".joblib", ".pkl.zst"])
def test_a_stamp_of_another_file_vouches_for_nothing(store, tmp_path, source, suffix):
    with sync.BlobManager(tmp_path / "other") as other:
        other.save("k", {"k"}, "pickle")
        other.save("json", "theirs")
    try:
        stamps = [
            os.getxattr(store / source, STAMP),
            os.getxattr(tmp_path / "other/k.pkl", STAMP),
        ]
    except OSError:
        pytest.skip("there are no such attributes here")
    ran = tmp_path / "ran"
    for stamp in stamps:
        for content in (pickles.touching(ran), (store / source).read_bytes(), b""):
            path = store / f"k{suffix}"
            path.write_bytes(content)
            os.setxattr(path, STAMP, stamp)
            with sync.BlobManager(store) as blobs:
                looked_at(lambda blobs=blobs: blobs.load("k"))
                looked_at(lambda blobs=blobs: blobs.metadata("k"))
                others_are_fine(blobs)
            path.unlink()
    assert not ran.exists()


def test_another_key_s_file_is_not_that_key_s_value(store):
    shutil.copy2(store / "pickle.pkl", store / "moved.pkl")
    shutil.copy2(store / "json.json", store / "moved too.json")
    with sync.BlobManager(store) as blobs:
        assert looked_at(lambda: blobs.load("moved")) == "UntrustedPayloadError"


FEW = [fifo, folder, link_out, holes, zeros, ones, nothing, unreadable]
OWN = ["store.json", "clock", "locks", "signer", "tmp", "keys", "index", "inline"]


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("thing", FEW, ids=lambda thing: thing.__name__)
def test_the_store_s_own_files_replaced_are_an_error_or_made_anew(store, thing, name):
    path = store / ".holdall" / name
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    try:
        thing(path)
    except PermissionError:
        pytest.skip("this user cannot make one")
    with sync.BlobManager(store, lock_timeout=1, inline_below=100) as blobs:
        for call in (
            lambda: blobs.load("json"),
            lambda: blobs.load("pickle"),
            lambda: blobs.save("new", 1),
            lambda: blobs.save("large", "x" * 1_000),
            lambda: blobs.save("new pickle", {1}, "pickle"),
            lambda: blobs.delete("json"),
            lambda: list(blobs.keys()),
            blobs.get_stats,
            blobs.expire,
        ):
            looked_at(call)
    outside = store.parent / "outside"
    assert not outside.exists() or outside.read_text() == f'"{SECRET}"'


INSIDE = [
    ("index/1", "index.sqlite"),
    ("index/1", "index.sqlite-wal"),
    ("index/1", "index.sqlite-shm"),
    ("index/1", "writers.lock"),
    ("inline", "values.sqlite"),
    ("inline", "values.sqlite-wal"),
    ("inline", "values.sqlite-notes"),
    ("inline", "values.sqlite-shm"),
    ("inline", "writers.lock"),
    ("inline", "reserve"),
]


@pytest.mark.parametrize(("below", "name"), INSIDE, ids=[name for _, name in INSIDE])
@pytest.mark.parametrize("thing", FEW, ids=lambda thing: thing.__name__)
def test_the_files_of_the_databases_replaced_cost_no_value_in_a_file(store, thing, below, name):
    with sync.BlobManager(store, inline_below=100) as blobs:
        blobs.save("inline", 1)
        list(blobs.keys())
    path = store / ".holdall" / below / name
    if not path.parent.is_dir():
        path = next((store / ".holdall/index").iterdir()) / name
    path.unlink(missing_ok=True)
    try:
        thing(path)
    except PermissionError:
        pytest.skip("this user cannot make one")
    blobs = sync.BlobManager(store, lock_timeout=1, inline_below=100)
    assert looked_at(lambda: blobs.load("json")) == "ok"
    assert looked_at(lambda: blobs.load("pickle")) == "ok"
    for call in (
        lambda: blobs.load("inline"),
        lambda: blobs.save("inline", 2),
        lambda: blobs.delete("inline"),
        lambda: list(blobs.keys()),
        blobs.get_stats,
    ):
        looked_at(call)
    # Where nobody can tell whether there is an older inline value, nothing new is saved.
    if looked_at(lambda: blobs.save("large", "x" * 1_000)) == "ok":
        assert blobs.load("large") == "x" * 1_000
    else:
        assert below == "inline"
        assert looked_at(lambda: blobs.load("large")) != "ok"
    assert looked_at(lambda: blobs.load("json")) == "ok"
    looked_at(blobs.close)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_no_pickle_of_a_stranger_runs_wherever_it_lies(store, tmp_path, suffix):
    with sync.StorageManager(store) as storage:
        for name, made in pickles.MALICIOUS.items():
            ran = tmp_path / "ran"
            (store / f"k{suffix}").write_bytes(made(ran))
            for call in (
                lambda: storage.get("k"),
                lambda: storage.blobs.load("k"),
                lambda: storage.blobs.load("k", "pickle"),
                lambda: storage.blobs.load("k", "joblib"),
                lambda: storage.blobs.load("k", "npy"),
                lambda: storage.blobs.load("k", mmap=True),
                lambda: storage.blobs.migrate("k", "json"),
                lambda: storage.blobs.copy("k", "other"),
            ):
                looked_at(call)
            assert not ran.exists(), name
            storage.delete("k")
        others_are_fine(storage.blobs)


@pytest.mark.filterwarnings("ignore:unclosed", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_canary_sings_when_it_is_read(tmp_path):
    for name, made in pickles.MALICIOUS.items():
        if name in pickles.OTHERWISE:
            continue
        ran = tmp_path / name
        try:
            pickle.loads(made(ran))
        except Exception:
            assert ran.exists(), f"{name} proves nothing"
        assert ran.exists(), f"{name} proves nothing"
