"""Starting writers and listening to them until they are killed."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress

# How long one may take until it says something.
PATIENCE = 90


def run_writer(options, store, seed, history, seconds, position=lambda: 0, prefix=()):
    """Runs the writer until it has lived for `seconds` since its first word, then kills its group.

    Answers with the end of what it said on stderr.
    """
    environment = _environment(options, seed)
    command = [*prefix, *(word.replace("{dir}", store) for word in options.writer)]
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, **environment},
            start_new_session=True,
        )
        _listen(process.stdout.fileno(), process.pid, history, seconds, position)
        if prefix:
            # A tracer notes the last call, and the death, after the writer is gone.
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=10)
        kill_group(process.pid)
        process.stdout.close()
        process.wait()
        errors.seek(0)
        return errors.read()[-400:].decode("utf-8", "replace")


@contextmanager
def make_writer(options):
    """As `run_writer`; one that serves is started once, and is forked for each run."""
    if not options.serves:
        yield run_writer
        return
    # It does not get a directory, but asks for it.
    command = [word for word in options.writer if word != "{dir}"]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **options.environment},
        start_new_session=True,
        text=True,
    )

    def run(options, store, seed, history, seconds, position=lambda: 0):
        with tempfile.TemporaryDirectory() as folder:
            pipe, errors = os.path.join(folder, "pipe"), os.path.join(folder, "errors")
            os.mkfifo(pipe)
            source = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
            asked = {"dir": store, "pipe": pipe, "errors": errors}
            asked["environment"] = _environment(options, seed)
            process.stdin.write(json.dumps(asked) + "\n")
            process.stdin.flush()
            leader = int(process.stdout.readline())
            _listen(source, leader, history, seconds, position)
            kill_group(leader)
            os.close(source)
            with open(errors, errors="replace") as file:
                return file.read()[-400:]

    try:
        yield run
    finally:
        kill_group(process.pid)
        process.stdin.close()
        process.stdout.close()
        process.wait()


def _environment(options, seed):
    seconds = str(options.seconds)
    return {**options.environment, "CRASH_SEED": str(seed), "CRASH_SECONDS": seconds}


def _listen(source, leader, history, seconds, position):
    """Until the end of what the writer says, or of its life."""
    rest, killed, deadline = b"", False, time.monotonic() + PATIENCE
    spoken = False
    while True:
        left = deadline - time.monotonic()
        if left <= 0 and not killed:
            killed = True
            kill_group(leader)
        if select.select([source], [], [], 5 if killed else max(0, left))[0]:
            chunk = os.read(source, 1 << 16)
            if not chunk:
                if spoken or killed or not _is_alive(leader):
                    return
                time.sleep(0.01)  # a pipe that nobody has opened yet
                continue
            if not spoken:
                spoken, deadline = True, min(deadline, time.monotonic() + seconds)
            *lines, rest = (rest + chunk).split(b"\n")
            at = position()
            for line in lines:
                history.line(line.decode("utf-8", "replace"), at)
        elif killed:
            return


def _is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def kill_group(leader):
    with suppress(ProcessLookupError):  # all of it has gone
        os.killpg(leader, signal.SIGKILL)
