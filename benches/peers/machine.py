"""What the figures were taken on: machine, file system, versions. No path, no name of a host."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path

import holdall

PEERS = (
    "aiocache", "aiofiles", "cachebox", "cachetools", "cashews", "diskcache", "joblib", "lmdb",
    "moka-py", "numpy", "obstore", "pydantic", "rocksdict", "sqlitedict", "theine", "zarr",
)  # fmt: skip


def describe(folder: Path) -> dict[str, str]:
    """The machine, and the file system that holds `folder`."""
    return {
        "cpu": _cpu(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": _memory(),
        "kernel": f"{platform.system()} {platform.release().split('-')[0]}",
        "file system": file_system(folder),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "load when it began": f"{os.getloadavg()[0]:.1f}",
    }


def versions() -> dict[str, str]:
    """Of holdall and of every peer; `missing` for those that are not installed."""
    found = {"holdall": holdall.__version__}
    for name in PEERS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "missing"
    return found


def file_system(folder: Path) -> str:
    """The type of the file system, as the kernel names it."""
    best, kind = "", "unknown"
    try:
        mounts = Path("/proc/self/mounts").read_text().splitlines()
    except OSError:
        return kind
    where = str(folder.resolve())
    for line in mounts:
        _, point, name, *_ = line.split(" ")
        inside = where == point or where.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, name
    return kind


def _cpu() -> str:
    return _field("/proc/cpuinfo", "model name") or platform.machine()


def _memory() -> str:
    kilobytes = _field("/proc/meminfo", "MemTotal").split(" ")[0]
    return f"{int(kilobytes) / 2**20:.0f} GiB" if kilobytes else "unknown"


def _field(file: str, name: str) -> str:
    """The first value under a name in a file of the kernel."""
    try:
        for line in Path(file).read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == name:
                return value.strip()
    except OSError:
        pass
    return ""
