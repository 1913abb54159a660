"""Runs programs beside a test: one to its end, or one that answers line by line."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def command(code: str, *args: object) -> list[str]:
    return [sys.executable, "-W", "error", "-c", textwrap.dedent(code), *map(str, args)]


FILLING = """
    def fill(disk):
        with open(disk + "/ballast", "wb", buffering=0) as ballast:
            try:
                while ballast.write(bytes(512)):
                    pass
            except OSError:
                pass
    """
"""The beginning of a program that calls `fill` to leave no byte of a disk."""


def joined(*parts: str) -> str:
    """One program from parts that are indented each in their own way."""
    return "\n".join(map(textwrap.dedent, parts))


def run(code: str, *args: object, seconds: float = 60, **options: object) -> str:
    """What a program prints; the test fails if the program does."""
    done = subprocess.run(
        command(code, *args), capture_output=True, text=True, timeout=seconds, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Program:
    """A program that reads a line, does something, and answers with a line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def line(self) -> str:
        """The next line that it prints."""
        found = self.process.stdout.readline()
        if not found:
            self.process.wait(60)
            raise AssertionError(f"the program has ended: {self.process.stderr.read()}")
        return found.rstrip("\n")

    def ask(self, line: str) -> str:
        """Gives it a line and waits for its answer."""
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.line()

    def kill(self) -> None:
        """Ends it where it stands, with SIGKILL."""
        self.process.kill()
        self.process.wait(60)


@contextmanager
def running(code: str, *args: object) -> Iterator[Program]:
    """A program that runs beside the test and is killed at the end, if it still runs."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command(code, *args), stdin=pipe, stdout=pipe, stderr=pipe, text=True
    ) as process:
        try:
            yield Program(process)
        finally:
            process.kill()


def on_a_small_disk(program: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs it with a disk of 4 MB in that place, which nobody else sees."""
    mount = 'mount -t tmpfs -o size=4m,mode=700 none "$0" 2> /dev/null || exit 99; exec "$@"'
    try:
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", mount, folder, *program],
            capture_output=True,
            text=True,
            timeout=60,
        )
    except FileNotFoundError:
        pytest.skip("there is no unshare here")
    if done.returncode == 99 or "unshare:" in done.stderr:
        pytest.skip("this user may not mount a small disk")
    return done
