"""The program `holdall` on a terminal, and where Python does a part of its work."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest

import programs
from holdall import sync

LOST = 30


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "store"


def on_a_terminal(folder, *words, columns=80):
    """What a terminal of that width is sent, and the exit code."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    command = [sys.executable, "-m", "holdall", "--store", str(folder), *words]
    environment = {**os.environ, "TERM": "xterm"}
    sent = bytearray()
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    ) as run:
        os.close(theirs)
        while True:
            try:
                sent += os.read(ours, 65_536)
            except OSError:
                break
    os.close(ours)
    return re.sub(r"\x1b\[[0-9;]*m", "", sent.decode()).replace("\r\n", "\n"), run.returncode


def test_damage_fills_no_more_than_a_screen_or_two_and_json_has_all(folder):
    with sync.BlobManager(folder) as store:
        store.save_many({f"k/{number:02}": "x" * 100 for number in range(LOST)})
    for file in (folder / "k").glob("*.txt"):
        before = file.stat()
        file.write_bytes(b"y" * 100)
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    for words, first in (
        (["verify"], "damage  k/00"),
        (["repair", "-n"], "would be set aside  k/00"),
    ):
        shown, code = on_a_terminal(folder, *words)
        assert code == (1 if words == ["verify"] else 0), shown
        assert first in shown
        assert shown.count("content_damaged") == 20
        assert "and 10 more (--json lists all)" in shown
    command = [sys.executable, "-m", "holdall", "--store", str(folder), "verify"]
    piped = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    assert piped.count("content_damaged") == LOST
    assert "more (--json" not in piped


def test_a_bar_leaves_room_for_what_ctrl_c_shows_in_its_line(folder):
    with sync.BlobManager(folder) as store:
        store.save_many({f"k/{number:04}": "x" * 1_000 for number in range(3_000)})
    bars = []
    for compression in ("zstd", "none") * 4:
        shown, code = on_a_terminal(folder, "migrate", "--compression", compression)
        assert code == 0, shown
        bars += re.findall(r"migrating \[.*? left *", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown))
        if bars:
            break
    else:
        pytest.skip("this machine is too fast for a bar")
    assert max(map(len, bars)) <= 78, bars


@pytest.mark.parametrize("target", ["json", "string"])
def test_on_a_full_disk_the_program_stops_with_one_sentence_and_goes_on_later(tmp_path, target):
    """In Python, for what are pickles, and in Rust for what are none."""
    code = programs.joined(
        programs.FILLING,
        """
        import json, os, subprocess, sys
        from holdall import sync

        disk, target = sys.argv[1:]
        store = sync.BlobManager(disk + "/store")
        origin = "pickle" if target == "json" else "json"
        store.save_many({f"{n:03}": "x" * 3000 for n in range(150)}, origin)
        store.close()
        fill(disk)
        command = [sys.executable, "-m", "holdall", "--store", disk + "/store"]

        def run(*words):
            return subprocess.run([*command, *words], capture_output=True, text=True, check=False)

        stopped = run("migrate", "--to", target)
        assert stopped.returncode == 7, stopped
        assert len(stopped.stderr.splitlines()) == 1, stopped
        assert "the disk is full" in stopped.stderr, stopped
        assert "could not be converted" not in stopped.stdout, stopped
        assert "left: make room and run it again, which goes on" in stopped.stdout, stopped
        told = json.loads(run("migrate", "--to", target, "--json").stdout)
        assert told["failed"] == [] and told["left"] > 0 and "full" in told["stopped"], told
        for words in (["verify"], ["repair", "-n"]):
            found = run(*words)
            assert found.returncode == 0 and "damage" not in found.stdout, found
        os.remove(disk + "/ballast")
        again = run("migrate", "--to", target)
        assert again.returncode == 0, again
        assert run("verify").returncode == 0
        assert set(run("ls", "-l").stdout.split()) >= {target}
        """,
    )
    program = programs.command(code, tmp_path, target)
    done = programs.on_a_small_disk(program, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
