"""Keys that come and go, each of them once: `python -m endurance.passing FOLDER ROUNDS [LEAK]`.

The managers stay open all the time. After each round nothing is there, in memory or on the disk; it
prints the bytes of memory that are held then, so that what is left of every key adds up. `LEAK`
bytes are kept on purpose for each name.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from contextlib import AsyncExitStack, suppress
from pathlib import Path

from endurance.growth import Series, Tolerance
from endurance.held import EXACT, held
from holdall import BlobManager, StorageManager

NAMES = 50
"""For each round: three keys each, and twenty-odd calls."""
AT_ONCE = 5


async def key_passes(storage: StorageManager, blobs: BlobManager, name: str) -> None:
    """All that can happen to a key, which is gone after that."""
    key, other = f"{name}one", f"{name}other"
    long = f"{name}{'x' * 1_500}"
    # The parser of JSON keeps shorter texts, up to a number, for the next value that has them.
    text = name.ljust(100)
    await storage.get(key)
    await blobs.exists(key)
    await storage.set(key, {"name": text}, ttl=3_600, tags=[name], metadata={"name": text})
    await storage.get(key)
    await storage.get_or_set(other, lambda: text)
    await storage.delete(other)
    await blobs.save(other, ("pickled", text), "pickle", tags=[name])
    await storage.get(other)
    await blobs.rename(other, f"{name}third")
    await blobs.copy(f"{name}third", other)
    await blobs.migrate(other, "joblib")
    await blobs.touch(key, 0.001)
    await storage.set(key, name * 1_000, format="string")
    await blobs.save(long, text)
    await blobs.load(long)
    async with blobs.open(long, "wb") as writer:
        await writer.write(name.encode())
    with suppress(FileNotFoundError):
        async with blobs.open(long, "wb") as writer:
            await writer.write(name.encode())
            raise FileNotFoundError("given up in the middle")
    with suppress(FileNotFoundError):
        await blobs.load(f"{name}missing")
    await storage.delete(key)
    await blobs.delete_many([f"{name}third", long])
    await blobs.evict(name)


async def main(folder: str, rounds: int, leak: int) -> None:
    kept = []
    async with AsyncExitStack() as stack:
        storage = await stack.enter_async_context(StorageManager(folder, inline_below=2_048))
        plain = await stack.enter_async_context(BlobManager(folder))
        small = await stack.enter_async_context(BlobManager(folder, inline_below=8_192))
        for round in range(rounds):
            for at in range(0, NAMES, AT_ONCE):
                # A folder of its own for each round: some bytes are kept of up to 65,536 folders.
                names = [f"passing-{round}/{at + n}-" for n in range(AT_ONCE)]
                kept += [bytes(leak) for _ in names if leak]
                await asyncio.gather(
                    *(
                        key_passes(storage, (plain, small)[n % 2], name)
                        for n, name in enumerate(names)
                    )
                )
            await plain.expire()
            left = [key async for key in plain.keys()]
            assert not left, left
            print(held(), flush=True)


def passing(folder: Path, rounds: int, allowed: float, leak: int = 0) -> Series:
    """Has keys come and go in a process of its own, which may add so many bytes once it is warm."""
    made = Series("keys that pass: held", "bytes", Tolerance(0, allowed), ("name", 1))
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "error",
            "-m",
            "endurance.passing",
            folder.absolute(),
            str(rounds),
            str(leak),
        ],
        env={"HOLDALL_SIGNING_KEY": "a key for the time of this run", **os.environ, **EXACT},
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=60 + 20 * rounds,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for round, line in enumerate(done.stdout.splitlines()):
        if line != "None":
            made.add(round * NAMES, float(line))
    return made


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
