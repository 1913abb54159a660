"""The three classes without `await`, for programs without an event loop.

Each call does its work on the calling thread, with the interpreter lock released while it waits
for the disk. Calls may be made from any number of threads. Every method does what the method of
the same name in `holdall` does; the whole text is there.

>>> import tempfile
>>> from holdall.sync import StorageManager
>>> with tempfile.TemporaryDirectory() as folder, StorageManager(folder) as storage:
...     _ = storage.set("answer", 42)
...     storage.get("answer")
42
"""

from __future__ import annotations

from holdall.sync.blob_manager import BlobManager
from holdall.sync.cache_manager import CacheManager
from holdall.sync.storage_manager import StorageManager

__all__ = ["BlobManager", "CacheManager", "StorageManager"]
