"""Starts workers, makes them pause, kills them, and measures those that live."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from endurance.held import EXACT

PATIENCE = 120.0
"""Seconds until a worker that does not answer hangs."""
STEPS = 400
"""After which each task of a worker opens its managers anew."""


class Worker:
    """One process under load."""

    def __init__(self, folder: Path, seed: int, *, exact: bool = False) -> None:
        self.seed = seed
        self.held: tuple[int, int] | None = None
        """Steps, and the bytes of memory that were held after them, at the last pause."""
        # Not a pipe: nobody reads while it is full. Closed when the process is gone.
        self._stderr = tempfile.TemporaryFile("w+")  # noqa: SIM115
        # One that counts exactly has its managers open for long, and closed when it counts.
        arguments = (str(folder), str(seed), str(0 if exact else STEPS))
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "endurance.load", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
            env={**os.environ, **EXACT} if exact else None,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self._lines.put(line.strip())
        self._lines.put("ended")

    def wrong(self) -> str | None:
        """What it has complained of, or why it is gone."""
        while True:
            try:
                line = self._lines.get_nowait()
            except queue.Empty:
                return None
            if line.startswith("wrong") or line == "ended":
                return self._said(line)

    def _said(self, line: str) -> str:
        self._stderr.seek(0)
        return f"worker of seed {self.seed}: {line}\n{self._stderr.read()[-4_000:]}"

    def expect(self, wanted: str) -> None:
        """Waits until it has said a word."""
        try:
            while (line := self._lines.get(timeout=PATIENCE)) != wanted:
                match line.split():
                    case ["held", steps, held]:
                        self.held = int(steps), int(held)
                if line.startswith("wrong") or line == "ended":
                    raise AssertionError(self._said(line))
        except queue.Empty:
            raise AssertionError(self._said(f"no {wanted!r} in {PATIENCE} s: it hangs")) from None

    def tell(self, word: str) -> None:
        """Gives it a word."""
        assert self.process.stdin is not None
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        """Ends it where it stands."""
        self.process.kill()
        self.process.wait(PATIENCE)
        self._release()

    def finish(self) -> None:
        """Ends it in order; it has to take that well."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        code = self.process.wait(PATIENCE)
        wrong = self._said("the end") if code else None
        self._release()
        assert wrong is None, wrong

    def _release(self) -> None:
        self._reader.join(PATIENCE)
        for file in (self.process.stdin, self.process.stdout, self._stderr):
            if file is not None:
                file.close()

    def measure(self, folder: Path) -> dict[str, float]:
        """Memory in KiB, descriptors, threads, and mappings of the store's files."""
        at = Path("/proc") / str(self.process.pid)
        status = dict(line.split(":", 1) for line in (at / "status").read_text().splitlines())
        own = str(folder)
        return {
            "memory": float(status["RssAnon"].split()[0]),
            "descriptors": float(len(os.listdir(at / "fd"))),
            "threads": float(status["Threads"]),
            "mapped": float((at / "maps").read_text().count(own)),
        }
