"""What of a log of changes a power cut leaves.

strict   only what POSIX promises: data, times and attributes after fsync(file), a name after
         fsync(its folder)
inode    as strict, but a name that survives brings the times and attributes along that the file
         had when it got it, not its data: every file system of Linux keeps those in the inode
journal  what ext4 and XFS do: names, times and attributes survive in order up to some point,
         unsynced data is lost or partial
"""

from __future__ import annotations

import os
import stat

NAMES = {"link", "unlink", "rename"}
IN_JOURNAL = {"mtime", "xattr"}


def kept(log, policy, rng):
    """Which entries of the log survive."""
    keep, synced = [False] * len(log), set()
    last = next((at for at in range(len(log) - 1, -1, -1) if log[at][0] == "fsync"), 0)
    journaled = rng.randrange(last, len(log) + 1) if policy == "journal" else 0
    fate = {}  # unsynced data of a file: nothing, half of it scattered, or all
    named = set()  # files with a name that survives further on
    for at in range(len(log) - 1, -1, -1):
        kind, ino = log[at][:2]
        if kind == "fsync":
            synced.add(ino)
        elif kind in NAMES:
            keep[at] = at < journaled or ino in synced
            keep[at] |= kind == "rename" and log[at][3] in synced
            if keep[at] and kind != "unlink" and policy == "inode":
                named.add(log[at][-1])
        elif ino in synced or (kind in IN_JOURNAL and (at < journaled or ino in named)):
            keep[at] = True
        elif policy == "journal" and kind not in IN_JOURNAL:
            keep[at] = rng.random() < fate.setdefault(ino, rng.choice([0, 0.5, 1]))
    return keep


def build(log, modes, policy, rng, into):
    """Writes the tree that a power cut after `log` leaves below the directory `into`."""
    tree, files = {1: {}}, {}
    for entry, stays in zip(log, kept(log, policy, rng), strict=True):
        kind, ino, *rest = entry
        if kind in NAMES:
            if stays:
                _name(tree, kind, ino, rest)
            continue
        if kind == "fsync":
            continue
        data, about = files.setdefault(ino, (bytearray(), {}))
        if kind == "write":
            offset, new, mtime = rest
            # A lost write may still have grown the file: zeros.
            if stays or (policy == "journal" and rng.random() < 0.5):
                data.extend(bytes(max(0, offset + len(new) - len(data))))
            if stays:
                data[offset : offset + len(new)] = new
                about["mtime"] = mtime
        elif stays and kind == "size":
            size, about["mtime"] = rest
            del data[size:]
            data.extend(bytes(size - len(data)))
        elif stays and kind == "mtime":
            about["mtime"] = rest[0]
        elif stays:
            about[rest[0]] = rest[1]
    _place(tree, files, modes, 1, os.fsencode(into))


def _name(tree, kind, ino, rest):
    names = tree.setdefault(ino, {})
    if kind == "link":
        names[rest[0]] = rest[1]
    elif kind == "unlink":
        names.pop(rest[0], None)
    else:
        old, newdir, new, moved = rest
        names.pop(old, None)
        tree.setdefault(newdir, {})[new] = moved


def _place(tree, files, modes, ino, path):
    for name, child in tree.get(ino, {}).items():
        at = os.path.join(path, name)
        mode, target = modes.get(child, (stat.S_IFREG | 0o600, b""))
        if stat.S_ISDIR(mode):
            os.mkdir(at, stat.S_IMODE(mode))
            _place(tree, files, modes, child, at)
        elif stat.S_ISLNK(mode):
            os.symlink(target, at)
        else:
            data, about = files.get(child, (b"", {}))
            with open(at, "wb") as file:
                file.write(data)
            os.chmod(at, stat.S_IMODE(mode))
            for key, value in about.items():
                if key != "mtime":
                    os.setxattr(at, key, value)
            if "mtime" in about:
                os.utime(at, ns=(about["mtime"], about["mtime"]))
