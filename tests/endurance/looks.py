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

KIB, MIB = 1 << 10, 1 << 20
FIXED = 768 * KIB
"""`store.json`, `clock`, `locks`, `signer`, `writers.lock`, `reserve`, `-shm` files and folders."""
DATABASE = 64 * KIB
"""Of each database, whatever it holds."""
INDEX_LOG = 16 * MIB
INLINE_LOG = 64 * MIB


def index_bound(keys: list[str], files: int) -> float:
    """The bytes that the index may use for so many of these keys."""
    return 1.5 * (2 * lengths(keys) / max(len(keys), 1) + 256) * files + DATABASE


def inline_bound(keys: list[str], rows: int, content: int) -> float:
    """The bytes that the database of inline values may use."""
    return 1.5 * ((3 * lengths(keys) / max(len(keys), 1) + 512) * rows + content) + DATABASE


def lengths(keys: list[str]) -> int:
    """The bytes of the keys themselves."""
    return sum(len(key.encode()) for key in keys)


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
    taken = disk_use(folder)["all"]
    files_live = sum(map(room, values(folder)))
    bound = files_live + FIXED + 4_096 * len(long_keys(own))
    bound += index_bound(keys, len(files)) + inline_bound(keys, rows, content)
    # What was held once and is free now is used again before a database grows. There are no logs:
    # they were folded in when the store was closed here, and nobody has written since.
    bound += sum(found["free"] for found in databases.values())
    if taken > bound:
        wrong.append(f"{taken} bytes are taken, {bound:.0f} are allowed: {databases}")
    return {
        "wrong": wrong,
        "keys": len(keys),
        "inline": rows,
        "expired": expired,
        "live": files_live + content,
        "taken": taken,
        "bound": int(bound),
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
    allowed = {"values.sqlite", "writers.lock", "reserve"}
    allowed |= {f"values.sqlite-{end}" for end in ("wal", "notes", "shm")}
    inline = own / "inline"
    left += [
        f"inline/{name}"
        for name in (os.listdir(inline) if inline.exists() else ())
        if name not in allowed
    ]
    known = {"store.json", "clock", "locks", "signer", "uses", "index", "inline", "tmp", "keys"}
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


def disk_use(folder: Path) -> dict[str, int]:
    """The bytes that a folder takes, and parts of it that have bounds, while others change it."""
    parts = {"all": 0, "log of the index": 0, "log of the inline values": 0, "being written": 0}
    for here, folders, files in os.walk(folder):
        for name in (*folders, *files):
            taken = room(Path(here) / name)
            parts["all"] += taken
            if name == "index.sqlite-wal":
                parts["log of the index"] += taken
            elif name == "values.sqlite-wal":
                parts["log of the inline values"] += taken
            elif here.endswith("/.holdall/tmp"):
                parts["being written"] += taken
    return parts


def room(path: Path) -> int:
    """The bytes that a file takes on the disk; none if it is gone."""
    try:
        return os.lstat(path).st_blocks * 512
    except FileNotFoundError:
        return 0


if __name__ == "__main__":
    print(json.dumps(look(Path(sys.argv[1]))))
