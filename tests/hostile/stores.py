"""A small store with one value of every kind, and damage to each of its files, byte by byte."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STAMP = "user.holdall"
SECRET = "a key for tests of no use elsewhere"
LONG = "long/" + "k" * 300

BUILD = """
import os, sys
import numpy
from holdall import sync

folder, secret, long = sys.argv[1:4]
with sync.BlobManager(folder, signing_key=secret) as blobs:
    blobs.save("json", {"name": "Ann", "age": 42}, tags=("people",), metadata={"by": "test"})
    blobs.save("users/text", "plain text")
    blobs.save("bytes", bytes(range(40)), ttl=1e9)
    blobs.save("array", numpy.arange(6))
    blobs.save("pickle", {"a", "set"}, "pickle")
    blobs.save("joblib", [1, 2.5, None], "joblib")
    blobs.save(long, [1, 2, 3])
with sync.BlobManager(folder, signing_key=secret, compression="zstd") as blobs:
    blobs.save("packed", "the same line\\n" * 60)
blobs = sync.BlobManager(folder, signing_key=secret, inline_below=4_096)
for number in range(12):
    blobs.save(f"inline/{number}", {"number": number}, tags=("small",))
blobs.get_stats()
if sys.argv[4] == "closed":
    blobs.close()
else:
    # The databases stay as they are: with their logs, and nobody has said goodbye.
    os._exit(0)
"""


def expected() -> dict[str, Any]:
    """What the store holds; the array as a list."""
    values: dict[str, Any] = {
        "json": {"name": "Ann", "age": 42},
        "users/text": "plain text",
        "bytes": bytes(range(40)),
        "array": list(range(6)),
        "pickle": {"a", "set"},
        "joblib": [1, 2.5, None],
        LONG: [1, 2, 3],
        "packed": "the same line\n" * 60,
    }
    values.update({f"inline/{number}": {"number": number} for number in range(12)})
    return values


def build(folder: Path, *, closed: bool) -> None:
    """Makes the store, in a process of its own."""
    how = "closed" if closed else "killed"
    command = [sys.executable, "-c", BUILD, str(folder), SECRET, LONG, how]
    subprocess.run(command, check=True, timeout=60)


def has_stamps(folder: Path) -> bool:
    """Whether stamps are attributes of the files here."""
    return STAMP in os.listxattr(folder / "json.json")


@dataclass(frozen=True)
class Damage:
    """One change to one file of a store."""

    file: str
    kind: str
    """`flip` (with a mask), `cut` (to a length), `stamp` (a flip in the stamp), `stamp-cut`."""
    offset: int
    mask: int = 0

    def __str__(self) -> str:
        mask = f" ^ {self.mask:#04x}" if self.mask else ""
        return f"{self.kind} {self.file} at {self.offset}{mask}"

    def apply(self, folder: Path) -> None:
        """Damages the file as a failing disk would: its times stay."""
        path = folder / self.file
        before = path.stat()
        if self.kind.startswith("stamp"):
            stamp = bytearray(os.getxattr(path, STAMP))
            if self.kind == "stamp":
                stamp[self.offset] ^= self.mask
            else:
                del stamp[self.offset :]
            os.setxattr(path, STAMP, bytes(stamp))
        elif self.kind == "cut":
            os.truncate(path, self.offset)
        else:
            with path.open("r+b") as file:
                file.seek(self.offset)
                byte = file.read(1)[0]
                file.seek(self.offset)
                file.write(bytes([byte ^ self.mask]))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def key_of(file: str) -> str | None:
    """The key whose value lies in a file; `None` for the store's own files."""
    if file.startswith(".holdall"):
        return None
    if file.startswith("long/"):
        return LONG
    return file.split(".")[0]


MASKS = (0x01, 0x80, 0xFF)
SMALL = 2_000
"""Bytes of a file from which on its offsets are sampled."""
HEADER = 128
"""Bytes at the beginning of a large file that are all damaged."""


def damages(folder: Path, *, samples: int, seed: int) -> Iterator[Damage]:
    """Every byte and every length of each small file and stamp, `samples` of each large one."""
    chance = random.Random(seed)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        file, size = str(path.relative_to(folder)), path.stat().st_size
        if size <= SMALL:
            offsets = list(range(size))
        else:
            rest = chance.sample(range(HEADER, size), min(samples, size - HEADER))
            offsets = [*range(HEADER), *rest]
        for offset in offsets:
            for mask in MASKS:
                yield Damage(file, "flip", offset, mask)
            yield Damage(file, "cut", offset)
        if key_of(file) is not None and has_stamps(folder):
            stamp = os.getxattr(path, STAMP)
            for offset in range(len(stamp)):
                for mask in MASKS:
                    yield Damage(file, "stamp", offset, mask)
                yield Damage(file, "stamp-cut", offset)


def copy(folder: Path, target: Path) -> None:
    """With times and attributes, as `cp -a` does."""
    shutil.copytree(folder, target, copy_function=shutil.copy2)
