"""Files that are mapped and cut short, or truncated in place, while processes use them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import programs

PROGRAM = """
    import glob, os, sys
    from holdall import sync

    folder, which, length = sys.argv[1], sys.argv[2], int(sys.argv[3])
    storage = sync.StorageManager(folder)
    storage.set("k", "one")
    storage.set("j", "one", tags=("t",))
    assert list(storage.blobs.keys()) == ["j", "k"]
    (path,) = glob.glob(f"{folder}/.holdall/{which}")

    print("ready", path, flush=True)
    sys.stdin.readline()

    for round in range(3):
        assert storage.get("k") == ("one" if round == 0 else "two")
        storage.set("k", "two")
        assert storage.get("k") == storage.blobs.load("k") == "two"
        assert list(storage.blobs.keys()) == ["j", "k"]
        assert storage.blobs.get_stats()["entries"] == 2
    assert storage.blobs.evict("t") == 1
    storage.close()
    print("done", flush=True)
    """
FILES = ["clock", "index/*/index.sqlite-shm", "index/*/index.sqlite", "index/*/index.sqlite-wal"]
LENGTHS = [0, 1, 100, 4_096, 8_192]


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("which", FILES)
def test_a_file_that_is_cut_short_while_it_is_in_use_ends_no_process(tmp_path, which, length):
    with programs.running(PROGRAM, tmp_path, which, length) as program:
        path = Path(program.line().split()[1])
        if path.stat().st_size > length:
            os.truncate(path, length)
        assert program.ask("go on") == "done"


@pytest.mark.parametrize("length", [0, 4_096])
def test_two_processes_agree_after_their_clock_was_cut_short(tmp_path, length):
    code = """
        import sys
        from holdall import sync
        storage = sync.StorageManager(sys.argv[1])
        for line in sys.stdin:
            word, *value = line.split()
            if value:
                storage.set(word, value[0])
            print(storage.get(word), flush=True)
        """
    with programs.running(code, tmp_path) as one, programs.running(code, tmp_path) as other:
        for number in range(20):
            assert one.ask(f"k{number} first") == other.ask(f"k{number}") == "first"
        os.truncate(tmp_path / ".holdall/clock", length)
        for number in range(20):
            writer, reader = (one, other) if number % 2 else (other, one)
            assert writer.ask(f"k{number} second") == "second"
            assert reader.ask(f"k{number}") == "second"
            assert writer.ask(f"k{number} third") == "third"
            assert reader.ask(f"k{number}") == "third"


CUT_BY_OTHERS = """
import mmap, os, sys
from holdall import sync
sync.BlobManager(sys.argv[1]).save("k", 1)
with open(sys.argv[1] + "/mine", "w+b") as file:
    file.truncate(8_192)
    mapping = mmap.mmap(file.fileno(), 8_192)
    os.truncate(file.name, 0)
    mapping[5_000]
"""


def test_a_bus_error_that_is_not_ours_still_ends_the_process(tmp_path):
    done = subprocess.run(
        programs.command(CUT_BY_OTHERS, tmp_path), capture_output=True, timeout=60
    )
    assert done.returncode == -signal.SIGBUS


def test_a_handler_that_was_there_before_is_still_asked(tmp_path):
    code = "import faulthandler; faulthandler.enable()" + CUT_BY_OTHERS
    done = subprocess.run(
        programs.command(code, tmp_path), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == -signal.SIGBUS
    assert "Bus error" in done.stderr
    assert sys.platform == "linux"
