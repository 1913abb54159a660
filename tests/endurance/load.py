"""What a worker does: `python -m endurance.load FOLDER SEED STEPS`, paused by what is on its input.

Its managers are opened anew after so many steps of each task. Where that is 0, they stay open until
the next pause, and are closed for the time of it.

It prints "ready", "paused" after each line `pause`, and a line that begins with "wrong" for all
that must not happen. Before it pauses it says what memory it holds: "held", steps, bytes. It ends
when its input does.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import queue
import random
import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

from endurance.held import held
from endurance.values import FORMATS, fault, make, some_length
from holdall import BlobManager, ConflictError, StorageManager, sync

TASKS = 3
KEYS = 250
TAGS = tuple(f"tag-{n}" for n in range(12))
# One that fits neither a name nor a stamp.
LONG = "long/" + "x" * 1_500

Step = Callable[[random.Random], Awaitable[object]]


class Wrong(Exception):
    """Something that must not happen."""


class Load:
    """The managers of one worker, and the steps that it takes with them."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.taken = 0
        self.steps: list[tuple[int, Step]] = [
            (14, self.save),
            (3, self.save_many),
            (16, self.load),
            (8, self.set),
            (16, self.get),
            (2, self.read_many),
            (6, self.delete),
            (1, self.delete_many),
            (1, self.list),
            (2, self.look),
            (2, self.touch),
            (2, self.rename),
            (2, self.copy),
            (1, self.migrate),
            (1, self.evict),
            (1, self.expire),
            (2, self.write_stream),
            (2, self.read_stream),
            (2, self.read_range),
            (2, self.get_or_set),
        ]

    async def open(self, stack: AsyncExitStack) -> None:
        """New managers, which the stack closes."""
        self.storage = await stack.enter_async_context(
            StorageManager(self.folder, max_bytes=4 << 20, inline_below=2_048)
        )
        self.plain = await stack.enter_async_context(BlobManager(self.folder))
        self.small = await stack.enter_async_context(
            BlobManager(self.folder, inline_below=8_192, compression="lz4")
        )
        self.durable = await stack.enter_async_context(
            BlobManager(self.folder, durability="disk", compression="zstd")
        )
        self.blobs = (self.plain, self.small, self.durable, self.small)

    async def step(self, dice: random.Random) -> None:
        """One step; a value that is missing, or was changed by another, is no wonder here."""
        weights = [weight for weight, _ in self.steps]
        (_, step) = dice.choices(self.steps, weights)[0]
        self.taken += 1
        try:
            await step(dice)
        except (FileNotFoundError, ConflictError):
            pass
        except Exception as error:
            raise Wrong(f"{step.__name__}: {type(error).__name__}: {error}") from error

    # -- steps ----------------------------------------------------------------------------------

    def key(self, dice: random.Random) -> str:
        """Any key, some of them in folders that come and go."""
        n = dice.randrange(KEYS)
        return (f"flat-{n}", f"folder/{n % 7}/{n}", f"deep/{n % 3}/{n % 5}/{n}", f"{LONG}{n % 20}")[
            dice.choices((0, 1, 2, 3), (5, 3, 2, 1))[0]
        ]

    def options(self, dice: random.Random) -> dict[str, Any]:
        """Some values live shortly, and some have tags."""
        return {
            "ttl": dice.choice((0.1, 0.5, 1.5)) if dice.random() < 0.2 else None,
            "tags": dice.sample(TAGS, 2) if dice.random() < 0.3 else (),
            "metadata": {"n": dice.randrange(100)} if dice.random() < 0.2 else None,
        }

    def value(self, dice: random.Random) -> tuple[Any, Any]:
        format = dice.choice(FORMATS)
        return make(dice.getrandbits(48), format, some_length(dice)), format

    def check(self, value: Any, key: str) -> None:
        if (wrong := fault(value)) is not None:
            raise Wrong(f"under {key[:80]!r} is {wrong}")

    async def save(self, dice: random.Random) -> None:
        value, format = self.value(dice)
        await dice.choice(self.blobs).save(self.key(dice), value, format, **self.options(dice))

    async def save_many(self, dice: random.Random) -> None:
        many = {
            self.key(dice): make(dice.getrandbits(48), "json", dice.randrange(3_000))
            for _ in range(dice.randrange(2, 40))
        }
        options = {**self.options(dice)}
        del options["metadata"]
        await dice.choice(self.blobs).save_many(many, **options)

    async def load(self, dice: random.Random) -> None:
        key = self.key(dice)
        self.check(await dice.choice(self.blobs).load(key), key)

    async def set(self, dice: random.Random) -> None:
        value, format = self.value(dice)
        await self.storage.set(self.key(dice), value, format=format, **self.options(dice))

    async def get(self, dice: random.Random) -> None:
        key = self.key(dice)
        self.check(await self.storage.get(key, ""), key)

    async def read_many(self, dice: random.Random) -> None:
        keys = [self.key(dice) for _ in range(10)]
        read = dice.choice((self.storage.get_many, self.small.load_many))
        for key, value in (await read(keys)).items():
            self.check(value, key)

    async def delete(self, dice: random.Random) -> None:
        await dice.choice((self.storage, *self.blobs)).delete(self.key(dice))

    async def delete_many(self, dice: random.Random) -> None:
        keys = {self.key(dice) for _ in range(dice.randrange(2, 30))}
        await dice.choice(self.blobs).delete_many(keys)

    async def list(self, dice: random.Random) -> None:
        prefix = dice.choice(("", "flat-", "folder/", "deep/1/", "long/"))
        found = [key async for key in self.plain.keys(prefix, page_size=100)]
        # A key that moves behind the page is given out once all the same.
        if found != sorted(set(found)):
            raise Wrong(f"keys({prefix!r}) are not in order")
        await self.small.get_stats()

    async def look(self, dice: random.Random) -> None:
        key = self.key(dice)
        await self.storage.exists(key)
        await self.plain.metadata(key)

    async def touch(self, dice: random.Random) -> None:
        await self.plain.touch(self.key(dice), dice.choice((0.2, 1, None)))

    async def rename(self, dice: random.Random) -> None:
        one, other = self.key(dice), self.key(dice)
        await dice.choice(self.blobs).rename(one, other, overwrite=dice.random() < 0.7)

    async def copy(self, dice: random.Random) -> None:
        one, other = self.key(dice), self.key(dice)
        await dice.choice(self.blobs).copy(one, other, overwrite=dice.random() < 0.7)

    async def migrate(self, dice: random.Random) -> None:
        key = self.key(dice)
        record = await self.plain.metadata(key)
        if record.format in ("json", "pickle"):
            await self.plain.migrate(key, "joblib" if record.format == "pickle" else "pickle")

    async def evict(self, dice: random.Random) -> None:
        await self.plain.evict(dice.choice(TAGS))

    async def expire(self, dice: random.Random) -> None:
        await dice.choice(self.blobs).expire()

    async def write_stream(self, dice: random.Random) -> None:
        value = make(dice.getrandbits(48), "bytes", some_length(dice))
        async with dice.choice(self.blobs).open(
            self.key(dice), "wb", **self.options(dice)
        ) as writer:
            for at in range(0, len(value), 50_000):
                await writer.write(value[at : at + 50_000])
            if dice.random() < 0.2:
                raise FileNotFoundError("given up in the middle")

    async def read_stream(self, dice: random.Random) -> None:
        key = self.key(dice)
        async with dice.choice(self.blobs).open(key) as reader:
            while await reader.read(100_000):
                pass

    async def read_range(self, dice: random.Random) -> None:
        blobs = dice.choice(self.blobs)
        await blobs.read_range(self.key(dice), dice.randrange(1_000), dice.randrange(50_000))

    async def get_or_set(self, dice: random.Random) -> None:
        key = self.key(dice)
        value = make(dice.getrandbits(48), "json", dice.randrange(5_000))
        self.check(await self.storage.get_or_set(key, lambda: value), key)


def forked(folder: str) -> None:
    """A child that uses the store, and ends without a word to its parent."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            store = sync.BlobManager(folder)
            store.save("child", make(os.getpid(), "string", 1_000))
            code = 0 if fault(store.load("child", default="")) is None else 2
            list(store.keys("folder/"))
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if status != 0:
        raise Wrong(f"a forked child ended with {status}")


async def main(folder: str, seed: int, steps: int) -> None:
    pausing, done = threading.Event(), threading.Event()
    going: queue.SimpleQueue[None] = queue.SimpleQueue()

    def listen() -> None:
        for line in sys.stdin:
            if line == "pause\n":
                pausing.set()
            else:
                going.put(None)
        done.set()
        going.put(None)

    threading.Thread(target=listen, daemon=True).start()
    dice = random.Random(seed)
    load = Load(folder)

    async def work(dice: random.Random) -> None:
        for _ in range(steps) if steps else itertools.count():
            if pausing.is_set() or done.is_set():
                return
            await load.step(dice)
            await asyncio.sleep(dice.random() * 0.02)

    said = False
    while not done.is_set():
        async with AsyncExitStack() as stack:
            await load.open(stack)
            # Opened anew now and then: nothing may be left of the managers before.
            tasks = (work(random.Random(dice.getrandbits(32))) for _ in range(TASKS))
            await asyncio.gather(*tasks)
            if not said:
                print("ready", flush=True)
                said = True
            if pausing.is_set():
                if not steps:
                    await stack.aclose()
                if (bytes_held := held()) is not None:
                    print("held", load.taken, bytes_held)
                print("paused", flush=True)
                pausing.clear()
                going.get()
        forked(folder)


if __name__ == "__main__":
    try:
        asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
    except Exception as error:
        print(f"wrong: {type(error).__name__}: {error}".replace("\n", " "), flush=True)
        raise
