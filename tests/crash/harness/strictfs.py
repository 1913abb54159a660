"""A file system in memory that knows what was flushed; every change is logged.

What a power cut leaves is built from the log by `lasting`.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import struct
import time

from . import lasting
from . import rawfuse as rf

MTIME, MTIME_NOW = 1 << 5, 1 << 8


class Node:
    """A file or a folder, as it is at this moment."""

    def __init__(self, ino, mode, target=b""):
        self.ino, self.mode, self.target = ino, mode, target
        self.data, self.names, self.nlink, self.attributes = bytearray(), {}, 1, {}
        self.mtime = time.time_ns()

    def attr(self):
        size = len(self.target) if stat.S_ISLNK(self.mode) else len(self.data)
        return rf.attr(self.ino, self.mode, size, self.nlink, self.mtime)


class StrictFS(rf.Fuse):
    """The mounted file system."""

    def __init__(self, mountpoint):
        self.nodes, self.log, self.newest = {1: Node(1, 0o40755)}, [], 1
        super().__init__(mountpoint)

    def _child(self, node, name):
        names = self.nodes[node].names
        return self.nodes[names[name]] if name in names else rf.fail(errno.ENOENT)

    def _make(self, parent, name, mode, target=b""):
        if name in self.nodes[parent].names:
            rf.fail(errno.EEXIST)
        self.newest += 1
        node = self.nodes[self.newest] = Node(self.newest, mode, target)
        self.nodes[parent].names[name] = node.ino
        self.log.append(("link", parent, name, node.ino))
        return node

    def op_lookup(self, node, body):
        found = self._child(node, rf.name_of(body))
        return rf.entry(found.ino, found.attr())

    def op_getattr(self, node, body):
        return rf.attr_out(self.nodes[node].attr())

    def op_setattr(self, node, body):
        changed = self.nodes[node]
        valid = struct.unpack_from("<I", body)[0]
        size = struct.unpack_from("<Q", body, 16)[0]
        seconds, nanos = (
            struct.unpack_from("<Q", body, 40)[0],
            struct.unpack_from("<I", body, 60)[0],
        )
        mode = struct.unpack_from("<I", body, 68)[0]
        if valid & 1:
            changed.mode = stat.S_IFMT(changed.mode) | stat.S_IMODE(mode)
        if valid & 8:
            self._resize(changed, size)
            changed.mtime = time.time_ns()
            self.log.append(("size", node, size, changed.mtime))
        if valid & MTIME:
            now = valid & MTIME_NOW
            changed.mtime = time.time_ns() if now else seconds * 10**9 + nanos
            self.log.append(("mtime", node, changed.mtime))
        return rf.attr_out(changed.attr())

    def _resize(self, node, size):
        if size < len(node.data):
            del node.data[size:]
        else:
            node.data.extend(bytes(size - len(node.data)))

    def op_setxattr(self, node, body):
        size = struct.unpack_from("<I", body)[0]
        name, _, rest = bytes(body[8:]).partition(b"\0")
        self.nodes[node].attributes[name] = rest[:size]
        self.log.append(("xattr", node, name, rest[:size]))
        return b""

    def op_getxattr(self, node, body):
        room = struct.unpack_from("<I", body)[0]
        value = self.nodes[node].attributes.get(rf.name_of(body, 8))
        if value is None:
            rf.fail(errno.ENODATA)
        if room == 0:
            return struct.pack("<2I", len(value), 0)
        return value if len(value) <= room else rf.fail(errno.ERANGE)

    def op_mknod(self, node, body):
        made = self._make(node, rf.name_of(body, 16), struct.unpack_from("<I", body)[0])
        return rf.entry(made.ino, made.attr())

    def op_mkdir(self, node, body):
        mode = stat.S_IFDIR | struct.unpack_from("<I", body)[0]
        made = self._make(node, rf.name_of(body, 8), mode)
        return rf.entry(made.ino, made.attr())

    def op_create(self, node, body):
        made = self._make(node, rf.name_of(body, 16), struct.unpack_from("<2I", body)[1])
        return rf.entry(made.ino, made.attr()) + rf.open_out()

    def op_symlink(self, node, body):
        name, target = bytes(body).split(b"\0")[:2]
        made = self._make(node, name, stat.S_IFLNK | 0o777, target)
        return rf.entry(made.ino, made.attr())

    def op_readlink(self, node, body):
        return self.nodes[node].target

    def op_link(self, node, body):
        old, name = struct.unpack_from("<Q", body)[0], rf.name_of(body, 8)
        if name in self.nodes[node].names:
            rf.fail(errno.EEXIST)
        self.nodes[old].nlink += 1
        self.nodes[node].names[name] = old
        self.log.append(("link", node, name, old))
        return rf.entry(old, self.nodes[old].attr())

    def op_unlink(self, node, body):
        name = rf.name_of(body)
        gone = self._child(node, name)
        if gone.names:
            rf.fail(errno.ENOTEMPTY)
        del self.nodes[node].names[name]
        gone.nlink -= 1
        self.log.append(("unlink", node, name))
        return b""

    op_rmdir = op_unlink

    def _rename(self, node, newdir, body, flags=0):
        old, new = bytes(body).split(b"\0")[:2]
        moved, there = self._child(node, old), self.nodes[newdir].names.get(new)
        if flags & ~1:
            rf.fail(errno.EINVAL)  # no exchange: the slow way has to be as safe
        if flags & 1 and there:
            rf.fail(errno.EEXIST)
        if there and there != moved.ino:
            if self.nodes[there].names:
                rf.fail(errno.ENOTEMPTY)
            self.nodes[there].nlink -= 1
        del self.nodes[node].names[old]
        self.nodes[newdir].names[new] = moved.ino
        self.log.append(("rename", node, old, newdir, new, moved.ino))
        return b""

    def op_rename(self, node, body):
        return self._rename(node, struct.unpack_from("<Q", body)[0], body[8:])

    def op_rename2(self, node, body):
        newdir, flags = struct.unpack_from("<QI", body)
        return self._rename(node, newdir, body[16:], flags)

    def op_open(self, node, body):
        if struct.unpack_from("<I", body)[0] & os.O_TRUNC:
            opened = self.nodes[node]
            self._resize(opened, 0)
            opened.mtime = time.time_ns()
            self.log.append(("size", node, 0, opened.mtime))
        return rf.open_out()

    def op_read(self, node, body):
        _, offset, size = struct.unpack_from("<2QI", body)
        return bytes(self.nodes[node].data[offset : offset + size])

    def op_write(self, node, body):
        _, offset, size, _, _, flags = struct.unpack_from("<2Q2IQI", body)
        written, data = self.nodes[node], bytes(body[40 : 40 + size])
        if offset + size > len(written.data):
            self._resize(written, offset + size)
        written.data[offset : offset + size] = data
        written.mtime = time.time_ns()
        self.log.append(("write", node, offset, data, written.mtime))
        if flags & os.O_DSYNC:
            self.log.append(("fsync", node))
        return struct.pack("<2I", size, 0)

    def op_fsync(self, node, body):
        self.log.append(("fsync", node))
        return b""

    op_fsyncdir = op_fsync

    def op_readdir(self, node, body):
        _, offset, room = struct.unpack_from("<2QI", body)
        out = b""
        names = list(self.nodes[node].names.items())
        for at, (name, ino) in enumerate(names[offset:], offset + 1):
            item = struct.pack("<2Q2I", ino, at, len(name), self.nodes[ino].mode >> 12) + name
            item += bytes(-len(item) % 8)
            if len(out) + len(item) > room:
                break
            out += item
        return out


class StrictDisk:
    """The same face as `blocklog.PowerDisk`; `policy` is one of those of `lasting`."""

    def __init__(self, folder, policy):
        self.folder, self.policy = folder, policy
        self.root, self.after = os.path.join(folder, "live"), os.path.join(folder, "after")
        os.mkdir(self.root)
        self.fs = StrictFS(self.root)
        self.log, self.modes = self.fs.log, {}

    def position(self):
        return len(self.log)

    def stop(self):
        """Freezes the log, then takes the live file system away."""
        self.log = self.log[: len(self.log)]
        nodes = list(self.fs.nodes.items())
        self.modes = {ino: (node.mode, node.target) for ino, node in nodes}
        self.fs.close()

    def crash(self, cut, keep, rng):
        """Builds what the cut leaves; answers with its directory. `keep` is the policy's affair."""
        os.mkdir(self.after)
        lasting.build(self.log[:cut], self.modes, self.policy, rng, self.after)
        return self.after

    def release(self):
        shutil.rmtree(self.after)

    def close(self):
        shutil.rmtree(self.folder, ignore_errors=True)
