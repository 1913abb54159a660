"""The programs' side: a process that has imported all it needs, and a fork of it for each state.

verifier: {"dir", "reboot"} on stdin -> what it found, then `END` and the exit code
writer: {"dir", "pipe", "errors", "environment"} on stdin -> its process, which leads a group
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback

from . import reboot


def say(*words):
    """One whole line on a pipe that others share; how all programs of the harness speak."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def serve(verify):
    """Answers each line of stdin with what `verify(directory)` prints, in a process of its own."""
    for line in sys.stdin:
        asked = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _child(verify, asked)
        say("END", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def _child(verify, asked):
    code = 1
    try:
        if asked["reboot"]:
            reboot.prepare()
            pid = os.fork()  # only a child lives in the new time
            if pid:
                os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) & 0xFF)
        verify(asked["dir"])
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def serve_writers(work):
    """Has `work(directory)` done by a process of its own for each line of stdin."""
    for line in sys.stdin:
        asked = json.loads(line)
        # Nobody waits for them here.
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _write(work, asked)
        say(pid)


def _write(work, asked):
    try:
        os.setsid()
        flags = os.O_WRONLY | os.O_CREAT
        for target, name in ((1, "pipe"), (2, "errors")):
            os.dup2(os.open(asked[name], flags, 0o600), target)
        os.environ.update(asked["environment"])
        work(asked["dir"])
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(0)
