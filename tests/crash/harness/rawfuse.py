"""A FUSE server on the kernel's protocol itself; needs root and `/dev/fuse`.

Subclass `Fuse` and define methods `op_NAME(node, body) -> bytes`; raise `OSError` to fail.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import subprocess
import threading
import traceback
from contextlib import suppress
from pathlib import Path

OPS = {
    1: "lookup",
    3: "getattr",
    4: "setattr",
    5: "readlink",
    6: "symlink",
    8: "mknod",
    9: "mkdir",
    10: "unlink",
    11: "rmdir",
    12: "rename",
    13: "link",
    14: "open",
    15: "read",
    16: "write",
    17: "statfs",
    18: "release",
    20: "fsync",
    21: "setxattr",
    22: "getxattr",
    25: "flush",
    26: "init",
    27: "opendir",
    28: "readdir",
    29: "releasedir",
    30: "fsyncdir",
    35: "create",
    43: "fallocate",
    45: "rename2",
}
SILENT = {2, 36, 42}  # forget, interrupt, batch_forget: no reply is expected
MAX_WRITE = 1 << 20
FOREVER = 1 << 30
BIG_WRITES, MAX_PAGES, ATOMIC_TRUNC = 1 << 5, 1 << 22, 1 << 3
libc = ctypes.CDLL(None, use_errno=True)


def attr(ino, mode, size, nlink=1, mtime=0):
    seconds, nanos = divmod(mtime, 10**9)
    times = (seconds, seconds, seconds, nanos, nanos, nanos)
    return struct.pack(
        "<6Q10I", ino, size, (size + 511) // 512, *times, mode, nlink, 0, 0, 0, 4096, 0
    )


def entry(ino, attributes):
    return struct.pack("<4Q2I", ino, 0, FOREVER, FOREVER, 0, 0) + attributes


def attr_out(attributes):
    return struct.pack("<Q2I", FOREVER, 0, 0) + attributes


def open_out():
    return struct.pack("<Q2I", 0, 0, 0)


def name_of(body, skip=0):
    return bytes(body[skip:]).split(b"\0")[0]


def fail(code):
    raise OSError(code, os.strerror(code))


class Fuse:
    """A mounted file system, served by a thread of this process."""

    def __init__(self, mountpoint):
        self.mountpoint = os.fspath(mountpoint)
        self.fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        options = f"fd={self.fd},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
        place = os.fsencode(mountpoint)
        if libc.mount(b"crashfs", place, b"fuse.crashfs", 6, options):
            code = ctypes.get_errno()
            os.close(self.fd)
            raise OSError(code, "mount fuse: " + os.strerror(code))
        self.server = threading.Thread(target=self._serve, daemon=True)
        self.server.start()

    def close(self):
        """Takes the file system away, also from those who still use it."""
        device = os.stat(self.mountpoint).st_dev
        subprocess.run(["umount", "-l", self.mountpoint], check=False)
        with suppress(FileNotFoundError):  # nobody used it any more
            Path(f"/sys/fs/fuse/connections/{os.minor(device)}/abort").write_text("1")
        # Before its descriptor becomes another file's.
        self.server.join()
        os.close(self.fd)

    def op_init(self, node, body):
        readahead = struct.unpack_from("<3I", body)[2]
        flags = BIG_WRITES | MAX_PAGES | ATOMIC_TRUNC
        pages, rest = MAX_WRITE // 4096, [0] * 6
        head = (7, 31, readahead, flags, 16, 12, MAX_WRITE, 1, pages, 0, 0, 0)
        return struct.pack("<4I2H2I2H2I6I", *head, *rest)

    def op_open(self, node, body):
        return open_out()

    op_opendir = op_open

    def op_release(self, node, body):
        return b""

    op_releasedir = op_flush = op_release

    def op_statfs(self, node, body):
        blocks = (1 << 20, 1 << 19, 1 << 19, 1 << 20, 1 << 20)
        return struct.pack("<5Q10I", *blocks, 4096, 255, 4096, 0, *[0] * 6)

    def _serve(self):
        buffer = bytearray(MAX_WRITE + 8192)
        view = memoryview(buffer)
        while True:
            try:
                length = os.readv(self.fd, [buffer])
            except OSError as error:
                if error.errno in (errno.EINTR, errno.ENOENT, errno.EAGAIN):
                    continue
                return  # unmounted, or aborted
            _, code, unique, node = struct.unpack_from("<2I2Q", buffer)
            if code in SILENT:
                continue
            out, failed = b"", 0
            handler = getattr(self, f"op_{OPS.get(code)}", None)
            try:
                out = handler(node, view[40:length]) if handler else fail(errno.ENOSYS)
            except OSError as error:
                failed = error.errno
            except Exception:
                traceback.print_exc()
                failed = errno.EIO
            head = struct.pack("<IiQ", 16 + len(out), -failed, unique)
            with suppress(OSError):  # the request was interrupted
                os.writev(self.fd, [head, out])
