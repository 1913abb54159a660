"""Saves, deletes, renames, reads and lists in several processes until it is killed, and says so."""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import sys
import time

from crash import names, values
from crash.harness.serve import say, serve_writers
from holdall import StorageManager


def seed():
    return os.environ["CRASH_SEED"]


class Worker:
    """One process: two managers with memories of their own, and tasks that use them at once."""

    def __init__(self, args, number, life):
        self.args, self.count = args, 0
        self.number, self.name = number, f"{seed()}.{number}.{life}"
        self.rng = random.Random(self.name)
        self.keys = names.plain(args.keys, args.durability)
        self.home = None  # which of its pair has the value that it renames
        self.managers = [self._manager(which) for which in range(2)]

    def _manager(self, which):
        inline = {"none": 0, "some": which * 4_096, "all": 65_536}[self.args.inline]
        return StorageManager(
            self.args.dir,
            inline_below=inline,
            compression=self.rng.choice([None, None, "zstd", "lz4"]),
            external_check=3_600,
        )

    async def run(self):
        until = time.monotonic() + 2 * float(os.environ["CRASH_SECONDS"])
        await asyncio.gather(*(self._task(until, lane) for lane in range(self.args.tasks)))

    async def _task(self, until, lane):
        while time.monotonic() < until:
            try:
                await self._step(lane)
            except Exception as error:
                say("ERR", f"{type(error).__name__}: {error}".replace("\n", " "))
                print(repr(error), file=sys.stderr)

    def _next(self):
        self.count += 1
        return f"{self.name}.{self.count}"

    async def _step(self, lane):
        storage = self.rng.choice(self.managers)
        chance = self.rng.random()
        if chance < self.args.read:
            await self._read(storage)
            return
        chance = (chance - self.args.read) / (1 - self.args.read)
        if chance < 0.15:
            await self._delete(storage)
        elif chance < 0.25 and lane == 0:
            await self._rename(storage)
        elif chance < 0.25 + self.args.close and lane == 0:
            await self._reopen()
        else:
            await self._save(storage)

    # -- writes ---------------------------------------------------------------------------------

    def _value(self, key, format):
        size = (
            values.LARGEST if self.rng.random() < self.args.large else self.rng.choice(values.SIZES)
        )
        seq = self._next()
        value, sha = values.make(names.family(key), seq, format, size, self.rng)
        return seq, value, sha

    async def _save(self, storage):
        keys = self.rng.sample(self.keys, self.rng.choice([1, 1, 2, 5]))
        if len(keys) > 1 and self.rng.random() < 0.5:
            await self._save_many(storage, keys)
        else:
            await asyncio.gather(*(self._save_one(storage, key) for key in keys))

    async def _save_one(self, storage, key):
        format = self.rng.choice(values.FORMATS)
        seq, value, sha = self._value(key, format)
        encoder = {"custom_encoder": str} if format == "custom_json" else {}
        say("TRY", key, seq, sha)
        await storage.set(key, value, format=format, durability=names.durability(key), **encoder)
        say("ACK", key, seq, sha)

    async def _save_many(self, storage, keys):
        durability = names.durability(keys[0])
        keys = [key for key in keys if names.durability(key) == durability]
        format = self.rng.choice(values.FORMATS[:-1])
        made = {key: self._value(key, format) for key in keys}
        for key, (seq, _, sha) in made.items():
            say("TRY", key, seq, sha)
        items = {key: value for key, (_, value, _) in made.items()}
        await storage.set_many(items, format=format, durability=durability)
        for key, (seq, _, sha) in made.items():
            say("ACK", key, seq, sha)

    async def _delete(self, storage):
        key, seq = self.rng.choice(self.keys), self._next()
        # A delete is as durable as its manager.
        durable = self._durable(storage, key)
        say("TRY", key, seq, "-")
        await durable.delete(key)
        say("ACK", key, seq, "-")

    async def _rename(self, storage):
        source, target = names.pair(self.number, self.args.durability)
        if self.home is None:
            self.home = source if await storage.blobs.exists(source) else target
            await self._save_one(storage, self.home)
        if self.home == target:
            source, target = target, source
        value = await storage.get(source)
        seq, sha = values.read(names.family(source), value) or ("torn", "torn")
        gone = self._next()
        say("TRY", source, gone, "-")
        say("TRY", target, seq, sha)
        say("MOV", source, target, seq)
        await self._durable(storage, source).blobs.rename(source, target, overwrite=True)
        say("ACK", target, seq, sha)
        say("ACK", source, gone, "-")
        self.home = target
        await self._save_one(storage, target)

    def _durable(self, storage, key):
        """A manager with the durability of the key, for what has no argument for it."""
        which = self.managers.index(storage)
        inline = {"none": 0, "some": which * 4_096, "all": 65_536}[self.args.inline]
        return StorageManager(self.args.dir, inline_below=inline, durability=names.durability(key))

    async def _reopen(self):
        which = self.rng.randrange(2)
        old, self.managers[which] = self.managers[which], self._manager(which)
        if self.args.tasks == 1:  # else others are using it
            await old.close()

    # -- reads ----------------------------------------------------------------------------------

    async def _read(self, storage):
        chance = self.rng.random()
        if chance < 0.1:
            name = self._next()
            say("LST", name)
            listed = [key async for key in storage.blobs.keys()]
            say("LSD", name, ",".join(listed) or "-")
        elif chance < 0.3:
            keys = self.rng.sample(self.keys, 3)
            names_ = {key: self._asked(key) for key in keys}
            found = await storage.get_many(keys)
            for key in keys:
                self._got(key, names_[key], found.get(key))
        else:
            key = self.rng.choice(self.keys)
            name = self._asked(key)
            if chance < 0.4:
                is_there = await storage.exists(key)
                say("GOT", key, name, *(("*", "*") if is_there else ("-", "-")))
            elif chance < 0.6:
                self._got(key, name, await storage.blobs.load(key, default=None))
            else:
                self._got(key, name, await storage.get(key))

    def _asked(self, key):
        name = self._next()
        say("GET", key, name)
        return name

    def _got(self, key, name, value):
        found = ("-", "-") if value is None else values.read(names.family(key), value)
        say("GOT", key, name, *(found or ("torn", "torn")))


def work(args, number, life):
    asyncio.run(Worker(args, number, life).run())


def start(args, number, life):
    pid = os.fork()
    if pid == 0:
        try:
            work(args, number, life)
        finally:
            os._exit(0)
    return pid


def run(args, folder):
    """Lets the workers work until this process is killed."""
    args.dir = folder
    if args.workers == 1 and not args.murders:
        work(args, 0, 0)
        return
    workers = {number: start(args, number, 0) for number in range(args.workers)}
    rng, life = random.Random(seed()), 0
    while True:
        time.sleep(args.murders or 3_600)
        life += 1
        number = rng.randrange(args.workers)
        os.kill(workers[number], signal.SIGKILL)
        os.waitpid(workers[number], 0)
        workers[number] = start(args, number, life)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--tasks", type=int, default=2, help="at once in each worker")
    parser.add_argument("--keys", type=int, default=12)
    parser.add_argument("--durability", choices=["disk", "process", "both"], default="disk")
    parser.add_argument("--inline", choices=["none", "some", "all"], default="some")
    parser.add_argument("--read", type=float, default=0, help="share of reads")
    parser.add_argument("--large", type=float, default=0.02, help="share of values of 4 MB")
    parser.add_argument("--close", type=float, default=0.03, help="share of managers that go")
    parser.add_argument("--murders", type=float, default=0, help="seconds between them")
    args = parser.parse_args()
    serve_writers(lambda folder: run(args, names.place(folder)))


if __name__ == "__main__":
    main()
