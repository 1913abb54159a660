"""The main job on real data: save it all at once, load it, compare, and again in another process.

`make demo` runs it. Everything stays in `demo-store/`, to be looked at.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import demo_data as data
import numpy

import holdall
from holdall.types import Format

STORE = Path("demo-store")


class Row(NamedTuple):
    """A line of the table at the end."""

    what: str
    format: str
    values: int
    size: int
    save: float
    load: float


def must(condition: bool, promise: str) -> None:
    """Ends the demonstration if a promise is broken."""
    if not condition:
        sys.exit(f"BROKEN: {promise}")


async def round_trip(
    blobs: holdall.BlobManager,
    what: str,
    values: Mapping[str, Any],
    format: Format,
    model_class: Any = None,
    same: Callable[[Any, Any], bool] = lambda a, b: type(a) is type(b) and bool(a == b),
) -> Row:
    """Saves all values concurrently, loads them concurrently, compares each."""
    begin = time.perf_counter()
    saved = await asyncio.gather(*(blobs.save(k, v, format) for k, v in values.items()))
    middle = time.perf_counter()
    loaded = await asyncio.gather(*(blobs.load(k, model_class=model_class) for k in values))
    end = time.perf_counter()
    for before, after in zip(values.values(), loaded, strict=True):
        must(same(before, after), f"what was saved as {format} is loaded")
    size = sum(record.size for record in saved)
    return Row(what, format, len(values), size, middle - begin, end - middle)


def same_array(before: Any, after: Any) -> bool:
    """Whether two arrays agree in type, shape and every number."""
    return before.dtype == after.dtype and numpy.array_equal(before, after)


def same_model(before: Any, after: Any) -> bool:
    """Whether two models are right equally often."""
    return data.accuracy(before) == data.accuracy(after)


async def save_and_load() -> list[Row]:
    """The work of this process."""
    images, _, text = data.digits()
    model = data.train()
    async with holdall.BlobManager(STORE) as blobs:
        await blobs.clear()  # what an earlier run left; nothing else in that folder is touched
        rows = [
            await round_trip(blobs, "airports", data.airports(), "json", data.Airport),
            await round_trip(blobs, "cars", data.cars(), "json", data.Car),
            await round_trip(blobs, "digits", {"digits/npy": images}, "npy", None, same_array),
            await round_trip(
                blobs, "digits", {"digits/joblib": images}, "joblib", None, same_array
            ),
            await round_trip(blobs, "model", {"model/joblib": model}, "joblib", None, same_model),
            await round_trip(blobs, "model", {"model/pickle": model}, "pickle", None, same_model),
            await round_trip(blobs, "text", {"digits/about": text}, "string"),
        ]
    print(f"accuracy of the model, before and after: {data.accuracy(model):.4f}")
    return rows


async def look_twice() -> holdall.StorageStats:
    """Reads every airport and car twice through the memory over the same folder."""
    async with holdall.StorageManager(STORE, max_size=10_000) as storage:
        for _ in range(2):
            for values, kind in ((data.airports(), data.Airport), (data.cars(), data.Car)):
                for key, value in values.items():
                    must(await storage.get(key, model_class=kind) == value, "memory and disk agree")
        return await storage.get_stats()


async def check() -> None:
    """The work of the second process: it has the folder only, and reads the sources again."""
    images, _, text = data.digits()
    expected: dict[str, Any] = {**data.airports(), **data.cars()}
    async with holdall.BlobManager(STORE) as blobs:
        found = [key async for key in blobs.keys("")]
        loaded = await blobs.load_many(data.airports(), model_class=data.Airport)
        loaded.update(await blobs.load_many(data.cars(), model_class=data.Car))
        must(loaded == expected, "another process loads equal models")
        for key in ("digits/npy", "digits/joblib"):
            must(same_array(images, await blobs.load(key)), "another process loads equal arrays")
        rates = {data.accuracy(await blobs.load(key)) for key in ("model/joblib", "model/pickle")}
        must(len(rates) == 1, "both copies of the model are equally good")
        must(await blobs.load("digits/about") == text, "another process loads equal text")
    must(len(found) == len(expected) + 5, "every key is listed")
    print(f"a second process read {len(found):,} values and found them equal; ", end="")
    print(f"its models' accuracy: {rates.pop():.4f}")


def show(rows: list[Row], stats: holdall.StorageStats) -> None:
    """Prints the table."""
    print(f"\n{'what':<10}{'format':<8}{'values':>8}{'bytes':>12}{'save/s':>10}{'load/s':>10}")
    for row in rows:
        per_second = (f"{row.values / seconds:>10,.0f}" for seconds in (row.save, row.load))
        print(f"{row.what:<10}{row.format:<8}{row.values:>8,}{row.size:>12,}", *per_second, sep="")
    print(f"{'all':<18}{stats['entries']:>8,}{stats['total_size']:>12,}")
    cache = stats["cache"]
    print(
        f"\nread twice through memory: {cache['entries']:,} entries, {cache['hits']:,} hits and "
        f"{cache['misses']:,} misses: hit rate {cache['hit_rate']:.2%}"
    )


def main() -> None:
    """Runs everything, or with the argument `check` what the second process does."""
    if sys.argv[1:] == ["check"]:
        asyncio.run(check())
        return
    rows = asyncio.run(save_and_load())
    sys.stdout.flush()
    subprocess.run([sys.executable, __file__, "check"], check=True)
    show(rows, asyncio.run(look_twice()))
    print(f"\nThe files are in {STORE.resolve()}, for example:")
    for name in ("airports/SFO.json", "cars/000.json", "digits/npy.npy", "model/pickle.pkl"):
        must((STORE / name).is_file(), f"{name} is a plain file")
        print(f"  {STORE / name}")


if __name__ == "__main__":
    main()
