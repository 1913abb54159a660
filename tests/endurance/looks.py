"""What lies in a store at a quiet moment, and what may: `python -m endurance.looks FOLDER`.

It opens the store, which sweeps what dead writers have left, removes what has expired, and
compares. The answer is one line of JSON. The bound is the one of docs/disk-layout.md.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from endurance.values import fault
from holdall import sync

MIB = 1 << 20
FIXED = MIB
"""`store.json`, `clock`, `locks`, `signer`, `reserve`, folders and `-shm` files."""
INDEX_LOG = 16 * MIB
INLINE_LOG = 64 * MIB
RECORD = 2_048
"""For each value, in whichever database, with two tags and a little metadata."""


def look(folder: Path) -> dict[str, Any]:
    """Everything that is wrong, and how much room is taken for what."""
    wrong: list[str] = []
    with sync.BlobManager(folder) as store:
        expired = 0
        keys: list[str] | None = None
        # Values live for a second or two here: what is compared must not go meanwhile.
        while (gone := store.expire()) or keys is None or any(ends(store, key) for key in keys):
            expired += gone
            time.sleep(0.2)
            keys = list(store.keys())
        for key in keys:
            if (found := fault(store.load(key))) is not None:
                wrong.append(f"{key[:80]!r}: {found}")
        stats = store.get_stats()
    own = folder / ".holdall"
    files = [path for path in values(folder) if path.is_file()]
    databases = {}
    for path in (*(own / "index").glob("*/index.sqlite"), *(own / "inline").glob("*.sqlite")):
        databases[path.parent.name] = database(path)
    rows, content = databases.get("inline", {}).get("values", (0, 0))
    size = sum(path.stat().st_size for path in files) + content
    if len(files) + rows != len(keys) or stats["entries"] != len(keys):
        wrong.append(
            f"{len(keys)} keys, {stats['entries']} entries: {len(files)} files, {rows} inline"
        )
    if stats["total_size"] != size:
        wrong.append(f"statistics say {stats['total_size']} bytes, and there are {size}")
    wrong += leftovers(own, keys)
    live = sum(map(room, values(folder))) + content
    taken = disk_use(folder)
    bound = live + FIXED + INDEX_LOG + INLINE_LOG + RECORD * len(keys)
    # What was held once and is free now is used again before a database grows.
    bound += sum(found["free"] for found in databases.values()) + content // 2
    bound += 4_096 * len(long_keys(own))
    if taken > bound:
        wrong.append(f"{taken} bytes are taken, {bound} are allowed: {databases}")
    return {
        "wrong": wrong,
        "keys": len(keys),
        "inline": rows,
        "expired": expired,
        "live": live,
        "taken": taken,
        "bound": bound,
        "databases": databases,
    }


def ends(store: sync.BlobManager, key: str) -> bool:
    """Whether a value will expire, or just has."""
    try:
        return store.metadata(key).expires_at is not None
    except FileNotFoundError:
        return True


def leftovers(own: Path, keys: list[str]) -> list[str]:
    """What no living writer needs."""
    indexes = os.listdir(own / "index")
    left = [f"tmp/{name}" for name in os.listdir(own / "tmp")]
    left += [f"index/{name}" for name in indexes if len(indexes) > 1]
    allowed = {"values.sqlite", "values.sqlite-wal", "values.sqlite-shm", "writers.lock", "reserve"}
    inline = own / "inline"
    left += [
        f"inline/{name}"
        for name in (os.listdir(inline) if inline.exists() else ())
        if name not in allowed
    ]
    known = {"store.json", "clock", "locks", "signer", "index", "inline", "tmp", "keys"}
    left += [name for name in os.listdir(own) if name not in known]
    most = sum(len(key.encode()) > 1_000 for key in keys)
    if len(long_keys(own)) > most:
        left.append(f"keys/: {len(long_keys(own))} texts of {most} long keys")
    return [f"left behind: .holdall/{name}" for name in left]


def long_keys(own: Path) -> list[str]:
    """The texts of keys that fit neither a name nor a stamp."""
    return os.listdir(own / "keys") if (own / "keys").exists() else []


def database(path: Path) -> dict[str, Any]:
    """Bytes used, free and in the log, and the values, of a copy: nobody else may open it."""
    with tempfile.TemporaryDirectory(prefix="holdall-look-") as copy:
        for end in ("", "-wal"):
            if os.path.exists(f"{path}{end}"):
                shutil.copy(f"{path}{end}", copy)
        with closing(sqlite3.connect(Path(copy) / path.name)) as opened:
            pages, free, size = (
                opened.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("page_count", "freelist_count", "page_size")
            )
            found: dict[str, Any] = {"used": (pages - free) * size, "free": free * size}
            found["log"] = room(Path(f"{path}-wal"))
            if path.name == "values.sqlite":
                sql = "SELECT count(*), coalesce(sum(length(content)), 0) FROM entry"
                found["values"] = opened.execute(sql).fetchone()
    return found


def values(folder: Path) -> list[Path]:
    """The files and folders of values."""
    found = []
    for here, folders, files in os.walk(folder):
        if here == str(folder):
            folders.remove(".holdall")
        found += [Path(here) / name for name in (*folders, *files)]
    return found


def disk_use(folder: Path) -> int:
    """The bytes that a folder takes, while others may change it."""
    return sum(
        room(Path(here) / name)
        for here, folders, files in os.walk(folder)
        for name in (*folders, *files)
    )


def room(path: Path) -> int:
    """The bytes that a file takes on the disk; none if it is gone."""
    try:
        return os.lstat(path).st_blocks * 512
    except FileNotFoundError:
        return 0


if __name__ == "__main__":
    print(json.dumps(look(Path(sys.argv[1]))))
