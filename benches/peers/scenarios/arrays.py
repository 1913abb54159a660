"""Large values: arrays of float64, and bytes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

import holdall

from ..model import Absent, Contender, Context, Kind, Measure, Scenario, Target, peer
from ..native import floor
from .timing import running

MIB = 1 << 20


def prefault(folder: Path, size: int) -> None:
    """Writes and removes as much, so that nobody is the first to use the machine's memory."""
    path = folder / "prefault"
    with path.open("wb") as file:
        block = bytes(8 * MIB)
        for _ in range(0, size, len(block)):
            file.write(block)
    path.unlink()


def array(size: int) -> Any:
    """Numbers that do not compress."""
    return np.random.default_rng(5).random(size // 8)


class Way:
    """One way to keep an array: `save`, `load`, and `open_mapped` where it can."""

    def __init__(self, folder: Path) -> None:
        """Keeps it in an empty folder."""
        self.path = folder / "value"

    def save(self, value: Any) -> None:
        """Puts it there."""
        raise NotImplementedError

    def load(self) -> Any:
        """Brings it back, as an object of its own."""
        raise NotImplementedError

    def open_mapped(self) -> Any:
        """Brings it back as a mapping of the file."""
        raise NotImplementedError


class Holdall(Way):
    """`BlobManager` in a loop that is already running: the calls are driven from it."""

    format: Any = "npy"

    def __init__(self, folder: Path) -> None:
        """A new store."""
        super().__init__(folder)
        self.blobs = holdall.BlobManager(folder, max_value_bytes=2**32)

    async def asave(self, value: Any) -> None:
        """Saves."""
        await self.blobs.save("value", value, self.format)

    async def aload(self) -> Any:
        """Loads."""
        return await self.blobs.load("value")

    async def amapped(self) -> Any:
        """Maps."""
        return await self.blobs.load("value", mmap=True)


class HoldallJoblib(Holdall):
    """In joblib's format, signed."""

    format = "joblib"


class Numpy(Way):
    """np.save and np.load."""

    def __init__(self, folder: Path) -> None:
        """A file with its suffix."""
        super().__init__(folder)
        self.path = folder / "value.npy"

    def save(self, value: Any) -> None:
        """Puts it there."""
        np.save(self.path, value)

    def load(self) -> Any:
        """Reads it."""
        return np.load(self.path)

    def open_mapped(self) -> Any:
        """Maps it."""
        return np.load(self.path, mmap_mode="r")


class Joblib(Way):
    """joblib.dump and joblib.load."""

    def save(self, value: Any) -> None:
        """Puts it there."""
        peer("joblib").dump(value, self.path)

    def load(self) -> Any:
        """Reads it."""
        return peer("joblib").load(self.path)

    def open_mapped(self) -> Any:
        """Maps it."""
        return peer("joblib").load(self.path, mmap_mode="r")


class Zarr(Way):
    """zarr as it comes, compressing."""

    options: dict[str, Any] = {}  # noqa: RUF012

    def save(self, value: Any) -> None:
        """Puts it there."""
        chunks = (2 * MIB,)
        make = peer("zarr").create_array
        made = make(str(self.path), shape=value.shape, chunks=chunks, dtype="f8", **self.options)
        made[:] = value

    def load(self) -> Any:
        """Reads it."""
        return peer("zarr").open_array(str(self.path), mode="r")[:]


class ZarrPlain(Zarr):
    """zarr without compression, in chunks of 16 MiB that its threads write side by side."""

    options = {"compressors": None}  # noqa: RUF012


class SystemCalls(Way):
    """write(2) into a new file and a rename; reading into huge pages."""

    def save(self, value: Any) -> None:
        """Writes."""
        floor().write_file(f"{self.path}.draft", str(self.path), value, False)

    def load(self) -> Any:
        """Reads and gives the memory back."""
        return floor().read_huge(str(self.path))


def raw(size: int) -> bytes:
    """Bytes that do not compress."""
    return os.urandom(size)


class HoldallBytes(Holdall):
    """Bytes as they are."""

    format = "bytes"


class PathlibBytes(Way):
    """pathlib, in place, on the loop's thread."""

    def save(self, value: Any) -> None:
        """Writes."""
        self.path.write_bytes(value)

    def load(self) -> Any:
        """Reads."""
        return self.path.read_bytes()


WAYS: dict[str, tuple[Kind, type[Way]]] = {
    "holdall": ("holdall", Holdall),
    "holdall joblib": ("holdall", HoldallJoblib),
    "np.save": ("peer", Numpy),
    "joblib": ("peer", Joblib),
    "zarr": ("peer", Zarr),
    "zarr, no compression": ("peer", ZarrPlain),
    "system calls": ("floor", SystemCalls),
    "holdall bytes": ("holdall", HoldallBytes),
    "pathlib": ("peer", PathlibBytes),
}


def measured(way: type[Way], what: str, size: int, make: Callable[[int], Any]) -> Measure:
    """Seconds for `save`, `load` or `open_mapped` of one value."""

    def measure(context: Context) -> float:
        length = context.few(size, MIB) if size > 64 * MIB else size
        value = make(length)
        with context.folder(remove=True) as folder:
            prefault(folder, length)
            here = way(folder)

            def call(name: str, *arguments: Any) -> float:
                begin = perf_counter()
                getattr(here, name)(*arguments)
                return perf_counter() - begin

            async def whole() -> float:
                if not isinstance(here, Holdall):
                    _warm(way, folder / "first", value)
                    saved = call("save", value)
                    return saved if what == "save" else _best(lambda: call(what))
                await here.blobs.save("first", value[:1024], here.format)
                await here.blobs.load("first")
                begin = perf_counter()
                await here.asave(value)
                saved = perf_counter() - begin
                times = []
                for _ in range(0 if what == "save" else 3):
                    begin = perf_counter()
                    got = await (here.aload() if what == "load" else here.amapped())
                    times.append(perf_counter() - begin)
                    del got
                await here.blobs.close()
                return min(times, default=saved)

            return float(running(whole()))

    return measure


def _warm(way: type[Way], folder: Path, value: Any) -> None:
    """Imports and compiles what the first call would, with a small value."""
    folder.mkdir()
    first = way(folder)
    first.save(value[:1024])
    first.load()


def _best(call: Callable[[], float]) -> float:
    """The best of three: the second and third find their way warm, for everybody."""
    return min(call() for _ in range(3))


def _ways(
    what: str, size: int, names: tuple[str, ...], make: Callable[[int], Any] = array
) -> tuple[Contender, ...]:
    return tuple(
        Contender(name, WAYS[name][0], measured(WAYS[name][1], what, size, make)) for name in names
    )


ALL = tuple(WAYS)[:7]
MAPPING = ("holdall", "np.save", "joblib")


def _large(context: Context) -> None:
    """`Absent` unless asked for."""
    if not context.large:
        raise Absent("only with --large")


def of_size(size: int, label: str, large: bool) -> list[Scenario]:
    """The scenarios of one size of arrays."""
    needs = _large if large else None
    about = (
        f"A float64 array of {label}, in a fresh folder; a file of that size was written before, "
        "so that nobody is the first to use the machine's memory. "
    )
    return [
        Scenario(
            name=f"array/save-{label.replace(' ', '')}",
            title=f"Save of a float64 array of {label}",
            unit="s",
            measures=about + "New file, not flushed. zarr compresses as it comes.",
            leaves_out="Overwriting; the write-back that follows.",
            contenders=_ways("save", size, ALL),
            targets=(
                Target(
                    f"npy save, {label}: 0.9x np.save",
                    "faster", 0.9, ("np.save",), floor="system calls",
                ),
                Target(
                    f"joblib save, {label}: 0.9x np.save",
                    "faster", 0.9, ("np.save",), ours="holdall joblib", floor="system calls",
                ),
                Target(
                    f"joblib save, {label}: 0.95x joblib (as corrected)",
                    "faster", 0.95, ("joblib",), ours="holdall joblib", floor="system calls",
                ),
            ),
            needs=needs,
        ),
        Scenario(
            name=f"array/load-{label.replace(' ', '')}",
            title=f"Load of a float64 array of {label}",
            unit="s",
            measures=about + (
"From the page cache, best of three in each round. holdall checks the checksum "
"or the signature of the whole."
),
            leaves_out="Cold reads. The floor reads into huge pages and makes no array.",
            contenders=_ways("load", size, ALL),
            targets=(
                Target(
                    f"npy load, {label}: 0.9x np.load",
                    "faster", 0.9, ("np.save",), floor="system calls",
                ),
                Target(
                    f"joblib load, {label}: 0.9x np.load",
                    "faster", 0.9, ("np.save",), ours="holdall joblib", floor="system calls",
                ),
                Target(
                    f"joblib load, {label}: 0.95x joblib (as corrected)",
                    "faster", 0.95, ("joblib",), ours="holdall joblib", floor="system calls",
                ),
            ),
            needs=needs,
        ),
        Scenario(
            name=f"array/mmap-{label.replace(' ', '')}",
            title=f"Mapping an array of {label}",
            unit="s",
            measures=about + "The call alone, best of three a round; nothing is touched.",
            leaves_out="Reading through the mapping.",
            contenders=_ways("open_mapped", size, MAPPING),
            targets=(Target(f"mmap=True open, {label}: below 100 us", "below", 100e-6),),
            needs=needs,
        ),
    ]  # fmt: skip


BYTES = 64_000_000
BYTES_WAYS = ("holdall bytes", "pathlib", "joblib", "system calls")


def bytes_scenarios() -> list[Scenario]:
    """64 MB of bytes."""
    return [
        Scenario(
            name=f"array/bytes-{what}",
            title=f"{what.capitalize()} of 64 MB of bytes",
            unit="s",
            measures=f"`{what}` of 64,000,000 random bytes, in a fresh folder, not flushed; "
            "loads from the page cache, best of three in each round.",
            leaves_out=(
"Cold reads. A `bytes` object lies where Python's allocator puts it; the floor "
"reads into huge pages."
),
            contenders=_ways(what, BYTES, BYTES_WAYS, raw),
            targets=(
                Target(
                    f"64 MB bytes {what}: 0.8x of the system calls",
                    "faster", 0.8, ("system calls",), ours="holdall bytes", floor="system calls",
                ),
            ),
        )
        for what in ("save", "load")
    ]  # fmt: skip


INDEPENDENT = Scenario(
    name="array/mmap-sizes",
    title="Mapping arrays of 256 MiB and of 8 MiB",
    unit="s",
    measures="The call alone, best of three a round; nothing is touched.",
    leaves_out="Reading through the mapping.",
    contenders=(
        Contender("holdall", "holdall", measured(Holdall, "open_mapped", 256 * MIB, array)),
        Contender("holdall, 8 MiB", "holdall", measured(Holdall, "open_mapped", 8 * MIB, array)),
        Contender("np.save", "peer", measured(Numpy, "open_mapped", 256 * MIB, array)),
        Contender("np.save, 8 MiB", "peer", measured(Numpy, "open_mapped", 8 * MIB, array)),
    ),
    targets=(
        Target(
            "mmap=True open, independent of size: 256 MiB within 1.25x of 8 MiB",
            "at most",
            1.25,
            ("holdall, 8 MiB",),
        ),
    ),
)

SCENARIOS = [
    INDEPENDENT,
    *of_size(256 * MIB, "256 MiB", False),
    *of_size(1024 * MIB, "1 GiB", True),
    *bytes_scenarios(),
]
