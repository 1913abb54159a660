"""What this machine lacks for a run."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from crash.harness import reboot
from crash.harness.strictfs import StrictFS


def missing(run):
    """In words, or `None` if nothing is missing."""
    is_model = run.mode in ("strict", "inode", "journal")
    if run.mode in ("sweep", "fault") or (is_model and run.store == "holdall"):
        if not shutil.which("strace"):
            return "strace is not installed"
        if not _traces():
            return "strace may not trace here"
    if run.mode != "power" and not is_model:
        return None
    return _mounts() or (_power(run.fs) if run.mode == "power" else None)


@functools.cache
def _traces():
    command = ["strace", "-f", "-q", "--seccomp-bpf", "-o", "/dev/null", "true"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@functools.cache
def _mounts():
    if os.geteuid() != 0:
        return "only root may mount"
    if not os.path.exists("/dev/fuse"):
        return "there is no /dev/fuse"
    with tempfile.TemporaryDirectory() as folder:
        try:
            StrictFS(folder).close()
        except OSError as error:
            return f"FUSE cannot be mounted: {error}"
    return reboot.missing()


@functools.cache
def _power(fs):
    for tool in (f"mkfs.{fs}", "losetup", "mount"):
        if not shutil.which(tool):
            return f"{tool} is not installed"
    if subprocess.run(["losetup", "-f"], capture_output=True, check=False).returncode:
        return "there are no loop devices"
    known = Path("/proc/filesystems").read_text().split()
    if (
        fs not in known
        and subprocess.run(["modprobe", fs], check=False, capture_output=True).returncode
    ):
        return f"the kernel has no {fs}"
    return None
