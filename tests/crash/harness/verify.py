"""Asking a verifier what a store holds."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress

from .judge import Held

WORDS = ("HAS", "MISSING", "CORRUPT", "TORN", "FAILED")


def parse(lines, opened, note=""):
    """What a verifier's lines say."""
    held = Held(opened, note=note)
    for line in lines:
        word, *rest = line.split() or [""]
        if word in WORDS and rest:
            seq, sha, *_ = *rest[1:], "-", "-"
            held.values[rest[0]] = (word, seq, sha)
        elif word == "LISTED":
            held.listed = (held.listed or set()) | set(rest)
    return held


@contextmanager
def make_verifier(options, reboot):
    """A function from a directory to what is held there."""
    if not options.serves:
        yield lambda store: _run(options, store)
        return
    server = Server(options, reboot)
    try:
        yield server.ask
    finally:
        server.stop()
        server.errors.close()


def _run(options, store):
    command = [word.replace("{dir}", store) for word in options.verify]
    environment = {**os.environ, **options.environment}
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=options.verify_timeout,
            env=environment,
        )
    except subprocess.TimeoutExpired:
        return Held(False, note="the verifier hung")
    return parse(done.stdout.splitlines(), done.returncode == 0, done.stderr[-300:])


class Server:
    """A verifier that serves (see `serve`); started anew if it hangs or dies."""

    def __init__(self, options, reboot):
        self.options, self.reboot, self.process = options, reboot, None
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115

    def ask(self, store):
        if self.process is None:
            self.process = subprocess.Popen(
                self.options.verify,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.errors,
                env={**os.environ, **self.options.environment},
                start_new_session=True,
            )
        said = self.errors.seek(0, os.SEEK_END)
        question = json.dumps({"dir": store, "reboot": self.reboot}) + "\n"
        self.process.stdin.write(question.encode())
        self.process.stdin.flush()
        lines, code = self._answer(time.monotonic() + self.options.verify_timeout)
        self.errors.seek(said)
        note = self.errors.read()[-300:].decode("utf-8", "replace")
        if code is None:
            note = f"the verifier hung: {note} {lines[-1]}"
        return parse(lines, code == 0, note)

    def _answer(self, deadline):
        rest, lines = b"", []
        while select.select([self.process.stdout], [], [], max(0, deadline - time.monotonic()))[0]:
            chunk = os.read(self.process.stdout.fileno(), 1 << 16)
            if not chunk:
                break
            *found, rest = (rest + chunk).decode("utf-8", "replace").split("\n")
            rest = rest.encode()
            lines += found
            if lines and lines[-1].startswith("END "):
                return lines[:-1], int(lines[-1].split()[1])
        lines.append(f"STUCK {self._stacks()}")
        self.stop()
        return lines, None

    def _stacks(self):
        """Where the threads of a verifier that hangs are waiting."""
        script = "for t in $(pgrep -s %d); do grep -s . /proc/$t/task/*/wchan; done"
        command = ["sh", "-c", script % self.process.pid]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout

    def stop(self):
        if self.process is None:
            return
        with suppress(ProcessLookupError):  # it has ended
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()
        self.process = None
