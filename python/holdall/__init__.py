"""Keeps objects: on disk as plain files, in memory as a bounded cache, in both at once.

`BlobManager` keeps them on disk, `CacheManager` in memory, `StorageManager` in both. Their methods
are awaited; `holdall.sync` has the same three without `await`. `holdall.errors` draws the tree of
exceptions, `holdall.health` says what `verify` and `repair` answer, `holdall.testing` has a clock
for tests.

>>> import asyncio, tempfile, holdall
>>> async def main(folder: str) -> None:
...     async with holdall.StorageManager(folder) as storage:
...         await storage.set("answer", 42)
...         print(await storage.get("answer"))
>>> with tempfile.TemporaryDirectory() as folder:
...     asyncio.run(main(folder))
42
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from holdall import health, sync, testing
    from holdall._core import BlobMetadata, __version__
    from holdall._sentinels import DEFAULT, MISSING
    from holdall.blob_manager import BlobManager
    from holdall.cache_manager import CacheManager
    from holdall.errors import (
        BatchError,
        BlobCorruptError,
        BlobNotFoundError,
        ConfigurationError,
        ConflictError,
        DeserializationError,
        FormatMismatchError,
        HoldallError,
        InvalidArgumentError,
        InvalidJSONError,
        InvalidKeyError,
        MigrationStoppedError,
        OptionError,
        PickleRefusedError,
        ReentrantLoadError,
        SerializationError,
        StorageDisabledError,
        StorageIOError,
        StoreBusyError,
        StoreClosedError,
        StoreVersionError,
        UnknownFormatError,
        UntrustedPayloadError,
    )
    from holdall.health import Problem, RepairReport, VerifyReport
    from holdall.storage_manager import StorageManager
    from holdall.types import (
        BlobStats,
        CacheStats,
        CleaningReport,
        KeyRotation,
        MigrationReport,
        StorageStats,
    )

__all__ = [
    "DEFAULT",
    "MISSING",
    "BatchError",
    "BlobCorruptError",
    "BlobManager",
    "BlobMetadata",
    "BlobNotFoundError",
    "BlobStats",
    "CacheManager",
    "CacheStats",
    "CleaningReport",
    "ConfigurationError",
    "ConflictError",
    "DeserializationError",
    "FormatMismatchError",
    "HoldallError",
    "InvalidArgumentError",
    "InvalidJSONError",
    "InvalidKeyError",
    "KeyRotation",
    "MigrationReport",
    "MigrationStoppedError",
    "OptionError",
    "PickleRefusedError",
    "Problem",
    "ReentrantLoadError",
    "RepairReport",
    "SerializationError",
    "StorageDisabledError",
    "StorageIOError",
    "StorageManager",
    "StorageStats",
    "StoreBusyError",
    "StoreClosedError",
    "StoreVersionError",
    "UnknownFormatError",
    "UntrustedPayloadError",
    "VerifyReport",
    "__version__",
    "health",
    "sync",
    "testing",
]

_MODULES = {
    "BlobManager": "holdall.blob_manager",
    "CacheManager": "holdall.cache_manager",
    "StorageManager": "holdall.storage_manager",
    "BlobMetadata": "holdall._core",
    "__version__": "holdall._core",
    "DEFAULT": "holdall._sentinels",
    "MISSING": "holdall._sentinels",
    "BlobStats": "holdall.types",
    "Problem": "holdall.health",
    "RepairReport": "holdall.health",
    "VerifyReport": "holdall.health",
    "CacheStats": "holdall.types",
    "CleaningReport": "holdall.types",
    "KeyRotation": "holdall.types",
    "MigrationReport": "holdall.types",
    "StorageStats": "holdall.types",
}
"""Where a public name lives; those that are not here are exceptions."""


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used, so that `import holdall` costs little."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in ("health", "sync", "testing"):
        return import_module(f"holdall.{name}")
    found = getattr(import_module(_MODULES.get(name, "holdall.errors")), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
