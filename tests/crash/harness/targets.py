"""Example stores, which show that the harness finds what there is to find.

python -m crash.harness.targets write|verify STORE DIR [--workers N] [--keys N]

naive     open(path, "wb").write       rename  write a temporary file, rename, no fsync
nodirsync as atomic, without fsync of the folder        atomic  write, fsync, rename, fsync folder
amnesic   as atomic, with a memory that nobody tells of other processes
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import sys
import time

from .serve import say


def payload(key, seq, rng):
    body = rng.randbytes(rng.choice([0, 10, 300, 5_000, 40_000, 200_000, 900_000]))
    return f"{key} {seq} {hashlib.sha256(body).hexdigest()}\n".encode() + body


def parse(key, data):
    """(seq, sha of all bytes), or `None` when the bytes are not one whole value of this key."""
    head, _, body = bytes(data).partition(b"\n")
    parts = head.decode("utf-8", "replace").split()
    if len(parts) != 3 or parts[0] != key or parts[2] != hashlib.sha256(body).hexdigest():
        return None
    return parts[1], hashlib.sha256(data).hexdigest()


class Files:
    """One file for each key."""

    def __init__(self, folder, sync=False, dirsync=False, swap=True):
        self.folder, self.sync, self.dirsync, self.swap = folder, sync, dirsync, swap

    def save(self, key, data):
        path = os.path.join(self.folder, key)
        temporary = f"{path}.{os.getpid()}.tmp" if self.swap else path
        with open(temporary, "wb") as file:
            file.write(data)
            if self.sync:
                file.flush()
                os.fsync(file.fileno())
        if self.swap:
            os.replace(temporary, path)
        if self.dirsync:
            descriptor = os.open(self.folder, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)

    def load(self, key):
        try:
            with open(os.path.join(self.folder, key), "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None


class Amnesic(Files):
    """Serves yesterday's values once it has seen them."""

    def __init__(self, folder):
        super().__init__(folder, True, True)
        self.memory = {}

    def save(self, key, data):
        super().save(key, data)
        self.memory[key] = data

    def load(self, key):
        if key not in self.memory:
            self.memory[key] = super().load(key)
        return self.memory[key]


STORES = {
    "naive": lambda folder: Files(folder, swap=False),
    "rename": Files,
    "nodirsync": lambda folder: Files(folder, True),
    "atomic": lambda folder: Files(folder, True, True),
    "amnesic": Amnesic,
}


def work(args, worker):
    rng = random.Random(f"{os.environ.get('CRASH_SEED', '0')}.{worker}")
    store = STORES[args.store](args.dir)
    until, n = time.monotonic() + float(os.environ.get("CRASH_SECONDS", "2")) * 2, 0
    while time.monotonic() < until:
        n += 1
        key = f"k{rng.randrange(args.keys)}"
        if rng.random() < args.read:
            say("GET", key, f"{worker}.{n}")
            data = store.load(key)
            found = ("-", "-") if data is None else parse(key, data) or ("torn", "torn")
            say("GOT", key, f"{worker}.{n}", *found)
            continue
        seq = f"{os.environ.get('CRASH_SEED', '0')}.{worker}.{n}"
        data = payload(key, seq, rng)
        sha = hashlib.sha256(data).hexdigest()
        say("TRY", key, seq, sha)
        try:
            store.save(key, data)
        except OSError as error:
            print("not saved:", error, file=sys.stderr)
            continue
        say("ACK", key, seq, sha)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["write", "verify"])
    parser.add_argument("store", choices=STORES)
    parser.add_argument("dir")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--keys", type=int, default=8)
    parser.add_argument("--read", type=float, default=0, help="share of reads")
    args = parser.parse_args()
    if args.what == "write":
        for worker in range(1, args.workers):
            if os.fork() == 0:
                work(args, worker)
                os._exit(0)
        work(args, 0)
        return
    store = STORES[args.store](args.dir)
    for key in (f"k{n}" for n in range(args.keys)):
        data = store.load(key)
        found = None if data is None else parse(key, data)
        word = "MISSING" if data is None else "TORN" if found is None else "HAS"
        say(word, key, *(found or ()))


if __name__ == "__main__":
    main()
