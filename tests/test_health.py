"""`verify` and `repair`: damage is found and named, and set right without a loss."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

import holdall
import holdall.sync
from holdall import health
from holdall.health import Progress
from pages import seal

DOCS = Path(__file__).resolve().parents[1] / "docs"


def damage(path: Path) -> None:
    """Flips a bit as a failing disk would: the time of change stays."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.fixture
async def filled(blobs):
    for n in range(20):
        await blobs.save(f"k/{n:02}", {"n": n})
    await blobs.save("text", "some text", tags=["t"])
    await blobs.save("secret", {1, 2}, "pickle")
    return blobs


async def test_a_healthy_store_is_ok_and_all_of_it_was_read(filled):
    report = await filled.verify()
    assert report.ok and report.problems == () and report.notices == ()
    assert report.checked == 22 and report.foreign == 0
    stats = await filled.get_stats()
    assert report.bytes == stats["total_size"]
    assert report.seconds >= 0


async def test_damage_is_named_with_key_path_and_remedy(filled):
    damage(filled.base_path / "k/03.json")
    report = await filled.verify()
    assert not report.ok
    (problem,) = report.problems
    assert (problem.kind, problem.key) == ("content_damaged", "k/03")
    assert problem.path == (filled.base_path / "k/03.json").resolve()
    assert "repair" in problem.remedy and "k/03" in str(problem)


async def test_a_pickle_whose_signature_does_not_hold_is_told_and_never_unpickled(filled, tmp_path):
    path = filled.base_path / "secret.pkl"
    other = holdall.BlobManager(tmp_path / "other", signing_key="another key of sixteen bytes")
    await other.save("secret", {1, 2}, "pickle")
    report = await holdall.BlobManager(filled.base_path, signing_key="x" * 16).verify()
    assert [one.kind for one in report.problems] == ["signer_unknown"]
    # The record of another save of the same content, under a key that nobody here has.
    assert (await filled.verify()).ok
    path.write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
    report = await filled.verify()
    assert report.ok and report.foreign == 1
    assert not Path("ran").exists()


async def test_progress_is_told_on_the_way_and_its_error_ends_the_call(filled):
    seen: list[Progress] = []
    await filled.verify(progress=seen.append)
    assert seen[-1].checked == 22 and seen[-1].bytes > 0
    assert [one.checked for one in seen] == sorted(one.checked for one in seen)

    def refuse(_: Progress) -> None:
        raise LookupError("enough")

    with pytest.raises(LookupError):
        await filled.verify(progress=refuse)
    with pytest.raises(holdall.InvalidArgumentError):
        await filled.verify(progress=3)


async def test_a_verification_that_is_cancelled_ends(filled):
    task = asyncio.ensure_future(filled.verify(progress=lambda _: task.cancel()))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await filled.verify()).ok


async def test_files_of_others_are_listed_after_a_verification(filled):
    (filled.base_path / "theirs.json").write_text("no json")
    (filled.base_path / "readme").write_text("no value")
    assert "theirs" not in [key async for key in filled.keys()]
    report = await filled.verify()
    assert report.ok and report.foreign == 2
    assert "theirs" in [key async for key in filled.keys()]


async def test_inline_values_are_read_too(tmp_path):
    async with holdall.BlobManager(tmp_path / "store", inline_below=1_000) as blobs:
        for n in range(200):
            await blobs.save(f"k/{n}", n)
        report = await blobs.verify()
        assert report.ok and report.checked == 200


def test_the_sync_face_verifies_too(tmp_path):
    with holdall.sync.StorageManager(tmp_path / "store") as storage:
        storage.set("a", [1])
        assert storage.blobs.verify().checked == 1


def test_every_kind_is_known_to_type_checkers_and_documented():
    page = (DOCS / "repair.md").read_text().split("## What a repair does")[0]
    documented = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert documented == list(get_args(health.ProblemKind))


WRITER = """
import sys, holdall.sync
with holdall.sync.BlobManager(sys.argv[1], inline_below=40) as blobs:
    print("go", flush=True)
    n = 0
    while True:
        key = f"w/{n % 11}"
        if n % 7 == 3:
            blobs.delete(key)
        else:
            blobs.save(key, ["x" * (n % 90), "y", 7][n % 3])
        n += 1
"""


@pytest.fixture
def writer(tmp_path):
    """A process that writes into the store until the test is over."""
    command = [sys.executable, "-c", WRITER, str(tmp_path / "store")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "go\n"
        yield process
        process.kill()


def test_a_writer_in_another_process_is_no_damage(tmp_path, writer):
    with holdall.sync.BlobManager(tmp_path / "store") as blobs:
        for _ in range(30):
            report = blobs.verify()
            assert report.problems == ()
    assert writer.poll() is None


async def test_a_repair_keeps_the_damaged_aside_and_everything_else(filled):
    damage(filled.base_path / "k/03.json")
    damage(filled.base_path / "secret.pkl")
    plan = await filled.repair(dry_run=True)
    assert plan.dry_run and len(plan.quarantined) == 2
    assert not (filled.base_path / ".holdall/quarantine").exists()
    done = await filled.repair()
    assert {one.problem.key for one in done.quarantined} == {"k/03", "secret"}
    for one in done.quarantined:
        note = json.loads((one.folder / "note.json").read_text())
        assert note["key"] == one.problem.key and (one.folder / note["file"]).exists()
        assert note["when"].endswith("Z")
    assert (await filled.verify()).ok
    assert (await filled.repair()).unchanged
    assert await filled.load("k/03", default="gone") == "gone"
    assert await filled.load("k/04") == {"n": 4}
    assert len([key async for key in filled.keys()]) == 20
    with pytest.raises(holdall.InvalidArgumentError):
        await filled.repair(dry_run=1)


async def test_memory_does_not_answer_with_what_was_taken_away(storage):
    await storage.set("a", [1])
    assert await storage.get("a") == [1]
    damage(storage.base_path / "a.json")
    assert len((await storage.blobs.repair()).quarantined) == 1
    assert await storage.get("a", "gone") == "gone"


def test_a_repair_goes_on_beside_a_writer_in_another_process(tmp_path, writer):
    with holdall.sync.BlobManager(tmp_path / "store") as blobs:
        for n in range(8):
            key = f"mine/{n}"
            blobs.save(key, {"n": n})
            damage(blobs.base_path / f"{key}.json")
            index = next((blobs.base_path / ".holdall/index").iterdir())
            (blobs.base_path / f".holdall/tmp/dead{n}").write_text("x")
            (blobs.base_path / f".holdall/index/4{n}000000").mkdir(0o700)
            done = blobs.repair()
            assert [one.problem.key for one in done.quarantined] == [key], done
            assert len(done.swept) >= 1 and done.kept == ()
            assert index.parent.exists()
        assert blobs.verify().problems == ()
    assert writer.poll() is None


def test_a_writer_in_another_process_goes_on_in_a_database_that_is_made_anew(tmp_path):
    """The other process has the old database open, and must not write into it any more."""
    folder = tmp_path / "store"
    program = """
import sys, holdall.sync
blobs = holdall.sync.BlobManager(sys.argv[1], inline_below=1_000)
for line in sys.stdin:
    key, value = line.split()
    blobs.save(key, value)
    print(blobs.load(key), flush=True)
"""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", program, str(folder)], stdin=pipe, stdout=pipe, text=True
    ) as other:
        assert other.stdin is not None and other.stdout is not None

        def save(key: str, value: str) -> str:
            print(key, value, file=other.stdin, flush=True)
            return other.stdout.readline().strip()

        assert save("before", "1") == "1"
        with holdall.sync.BlobManager(folder, inline_below=1_000) as blobs:
            assert blobs.load("before") == "1"
            # A table that is no table of ours, which no process has looked at yet.
            spoil = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("CREATE TABLE intruder(x)")
connection.commit()
"""
            database = folder / ".holdall/inline/values.sqlite"
            subprocess.run([sys.executable, "-c", spoil, str(database)], check=True)
        with holdall.sync.BlobManager(folder, inline_below=1_000) as blobs:
            assert not blobs.verify().ok
            done = blobs.repair()
            assert [one.problem.kind for one in done.quarantined] == ["inline_database_damaged"]
            assert blobs.load("before") == "1"
            assert save("after", "2") == "2"
            assert save("before", "3") == "3"
            assert blobs.load("after") == "2" and blobs.load("before") == "3"
            assert blobs.verify().ok
        other.stdin.close()


REPAIR = """
import sys, holdall.sync
with holdall.sync.BlobManager(sys.argv[1]) as blobs:
    blobs.repair()
"""
CALLS = "mkdirat,renameat,renameat2,unlinkat,fsetxattr,fchmod,utimensat,fsync,fdatasync,pwrite64"


SPOILT = b'{"n"-0}'


def damaged_store(folder: Path) -> None:
    """Files and inline values, with damage of several sorts."""
    with (
        holdall.sync.BlobManager(folder) as plain,
        holdall.sync.BlobManager(folder, inline_below=1_000) as inline,
    ):
        for n in range(6):
            plain.save(f"file/{n}", {"n": n})
            inline.save(f"inline/{n}", {"n": n})
        plain.get_stats()
    damage(folder / "file/0.json")
    os.removexattr(folder / "file/1.json", "user.holdall")
    (folder / "file/2.json").chmod(0o644)
    (folder / ".holdall/index/4000000").mkdir(0o700)
    database = folder / ".holdall/inline/values.sqlite"
    whole = database.read_bytes()
    assert b'{"n":0}' in whole
    database.write_bytes(whole.replace(b'{"n":0}', SPOILT))
    seal(database)


def killed_at(folder: Path, call: int) -> bool:
    """Repairs in a process that is killed at the system call with this number, if it gets there."""
    inject = f"inject={CALLS}:signal=SIGKILL:when={call}"
    strace = ["strace", "-f", "-qq", "-o", os.devnull, "-e", f"trace={CALLS}", "-e", inject]
    command = [*strace, sys.executable, "-c", REPAIR, str(folder)]
    return subprocess.run(command, check=False).returncode != 0


@pytest.mark.timeout(600)
def test_a_repair_that_is_killed_at_a_system_call_loses_nothing_and_is_run_again(tmp_path):
    if shutil.which("strace") is None:
        pytest.skip("strace is not here, which kills at a system call")
    stride = int(os.environ.get("HOLDALL_TEST_STRIDE", "9"))
    kills = 0
    for call in itertools.count(1, stride):
        folder = tmp_path / f"store{call}"
        damaged_store(folder)
        was_killed = killed_at(folder, call)
        with holdall.sync.BlobManager(folder) as blobs:
            blobs.repair()
            report = blobs.verify()
            assert report.ok, (call, report.problems)
            assert blobs.repair().unchanged, call
            for n in range(1, 6):
                assert blobs.load(f"file/{n}") == blobs.load(f"inline/{n}") == {"n": n}, call
            kept = [file.read_bytes() for file in folder.glob(".holdall/quarantine/*/value*")]
            assert SPOILT in kept and len(kept) >= 2, call
            assert blobs.load_many(["file/0", "inline/0"]) == {}, call
        kills += was_killed
        shutil.rmtree(folder)
        if not was_killed:
            break
    assert kills > 2
