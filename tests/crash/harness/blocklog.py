"""A disk that remembers every write and flush: loop device -> FUSE file -> log.

A crash state is everything before the last flush, and any part of what came after it: what a drive
with a volatile write cache may leave behind. The real file system then replays its journal over it.
"""

from __future__ import annotations

import errno
import os
import shutil
import struct
import subprocess

from . import rawfuse as rf

SECTOR = 512
# Megabytes, and how it is made.
MKFS = {
    "ext4": (
        256,
        [
            *["mkfs.ext4", "-qF", "-b", "4096", "-J", "size=4"],
            *["-E", "lazy_itable_init=0,lazy_journal_init=0"],
        ],
    ),
    "xfs": (300, ["mkfs.xfs", "-qf"]),
}


def sh(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


class Recorder(rf.Fuse):
    """One file, `disk`, backed by `image`; `log` holds (offset, bytes), or `None` for a flush."""

    def __init__(self, mountpoint, image):
        self.image = os.open(image, os.O_RDWR)
        self.size = os.fstat(self.image).st_size
        self.log = []
        super().__init__(mountpoint)

    def _attr(self, node):
        return rf.attr(1, 0o40755, 0) if node == 1 else rf.attr(2, 0o100600, self.size)

    def op_lookup(self, node, body):
        return rf.entry(2, self._attr(2)) if rf.name_of(body) == b"disk" else rf.fail(errno.ENOENT)

    def op_getattr(self, node, body):
        return rf.attr_out(self._attr(node))

    op_setattr = op_getattr

    def op_read(self, node, body):
        _, offset, size = struct.unpack_from("<2QI", body)
        return os.pread(self.image, size, offset)

    def op_write(self, node, body):
        _, offset, size = struct.unpack_from("<2QI", body)
        data = bytes(body[40 : 40 + size])
        os.pwrite(self.image, data, offset)
        self.log.append((offset, data))
        return struct.pack("<2I", size, 0)

    def op_fsync(self, node, body):
        self.log.append(None)
        return b""

    def op_fallocate(self, node, body):
        rf.fail(errno.EOPNOTSUPP)


class PowerDisk:
    """A recorded file system: write below `root`, `stop`, then `crash` as often as you like."""

    def __init__(self, folder, fs):
        self.folder, self.fs = folder, fs
        megabytes, mkfs = MKFS[fs]
        self.base, live = os.path.join(folder, "base.img"), os.path.join(folder, "live.img")
        with open(self.base, "wb") as file:
            file.truncate(megabytes << 20)
        sh(*mkfs, self.base)
        sh("cp", "--sparse=always", self.base, live)
        names = ("fuse", "live", "after")
        self.fuse, self.root, self.after = (os.path.join(folder, name) for name in names)
        for place in (self.fuse, self.root, self.after):
            os.mkdir(place)
        self.recorder = Recorder(self.fuse, live)
        self.log = self.recorder.log
        self.crashes = 0
        self.loop = sh("losetup", "-f", "--show", os.path.join(self.fuse, "disk"))
        sh("mount", "-t", fs, "-o", "noatime", self.loop, self.root)

    def position(self):
        return len(self.log)

    def stop(self):
        """Freezes the log, then takes the live file system away."""
        self.log = self.log[: len(self.log)]
        for command in (["umount", "-l", self.root], ["losetup", "-d", self.loop]):
            subprocess.run(command, check=False, capture_output=True)
        self.recorder.close()

    def _image(self, cut, keep, rng):
        """The disk after log entry `cut`; unflushed writes survive with probability `keep`."""
        # A file of its own: the file system on the last one may not have let go of it yet, and
        # would write into this one.
        self.crashes += 1
        image = os.path.join(self.folder, f"crash-{self.crashes}.img")
        sh("cp", "--sparse=always", self.base, image)
        flushed = max((at for at in range(cut) if self.log[at] is None), default=0)
        with open(image, "r+b", buffering=0) as file:
            for at, item in enumerate(self.log[:cut]):
                if item is None or (at >= flushed and rng.random() >= keep):
                    continue
                offset, data = item
                if at == cut - 1 and at >= flushed:  # the last write may be cut at a sector
                    data = data[: rng.randrange(len(data) // SECTOR + 1) * SECTOR]
                os.pwrite(file.fileno(), data, offset)
        return image

    def crash(self, cut, keep, rng):
        """Mounts what the cut leaves, which replays the journal; answers with its directory."""
        image = self._image(cut, keep, rng)
        options = "loop,noatime" + (",nouuid" if self.fs == "xfs" else "")
        sh("mount", "-t", self.fs, "-o", options, image, self.after)
        os.unlink(image)
        return self.after

    def release(self):
        sh("umount", self.after)

    def close(self):
        shutil.rmtree(self.folder, ignore_errors=True)
