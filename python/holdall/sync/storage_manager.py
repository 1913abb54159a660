"""`StorageManager` without `await`; see `holdall.storage_manager` for the whole text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, TypeAlias, TypeVar, overload

from holdall import storage_manager as _awaited
from holdall._core import BlobMetadata
from holdall._driver import BlockingDriver, Driver, run
from holdall._messages import not_copied
from holdall._sentinels import DEFAULT
from holdall.blob_manager import BlobManager
from holdall.sync.blob_manager import BlobManager as _BlobFace
from holdall.sync.blob_manager import Blocking as BlockingBlobs
from holdall.types import Format, StorageStats, StrPath, Ttl

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from holdall.types import SaveOneOptions, SaveOptions, StorageOptions

__all__ = ["StorageManager"]

D = TypeVar("D")
T = TypeVar("T")
Upgrade: TypeAlias = Callable[[Any], Any]


class Blocking(_awaited.StorageManager):
    """The manager whose coroutines never wait."""

    _driver: ClassVar[Driver] = BlockingDriver()
    _blob_class: ClassVar[type[BlobManager]] = BlockingBlobs


class StorageManager:
    """Keeps objects on disk with a memory over it; `with` closes it."""

    def __init__(self, base_path: StrPath | None = None, **options: Unpack[StorageOptions]) -> None:
        """Remembers its arguments, those of `holdall.StorageManager`, and touches nothing."""
        self._manager = Blocking(base_path, **options)

    @property
    def base_path(self) -> Path:
        """The folder of the store, as given or configured."""
        return self._manager.base_path

    @property
    def blobs(self) -> _BlobFace:
        """The disk below, see `holdall.StorageManager.blobs`."""
        return _BlobFace._over(self._manager.blobs)

    def __reduce__(self) -> NoReturn:
        """Managers stay where they are."""
        raise not_copied(self)

    def __repr__(self) -> str:
        """The class and the folder, if it is known without reading settings."""
        return repr(self._manager).replace("Blocking", "StorageManager", 1)

    def __enter__(self) -> StorageManager:
        """The manager itself; nothing is opened yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the manager."""
        self.close()

    @overload
    def get(
        self,
        key: str,
        default: None = None,
        *,
        model_class: type[T],
        copy: bool | None = None,
        upgrade: Upgrade | None = None,
        write_back: bool = False,
    ) -> T | None: ...
    @overload
    def get(
        self,
        key: str,
        default: D,
        *,
        model_class: type[T],
        copy: bool | None = None,
        upgrade: Upgrade | None = None,
        write_back: bool = False,
    ) -> T | D: ...
    @overload
    def get(
        self,
        key: str,
        default: Any = None,
        *,
        model_class: Any = None,
        copy: bool | None = None,
        upgrade: Upgrade | None = None,
        write_back: bool = False,
    ) -> Any: ...
    def get(
        self,
        key: str,
        default: Any = None,
        *,
        model_class: Any = None,
        copy: bool | None = None,
        upgrade: Upgrade | None = None,
        write_back: bool = False,
    ) -> Any:
        """The value, or `default` if there is none."""
        return run(
            self._manager.get(
                key,
                default,
                model_class=model_class,
                copy=copy,
                upgrade=upgrade,
                write_back=write_back,
            )
        )

    def set(
        self,
        key: str,
        value: Any,
        *,
        format: Format | None = None,
        copy: bool | None = None,
        **options: Unpack[SaveOneOptions],
    ) -> BlobMetadata | None:
        """Writes a value to the disk, then to memory; what the disk refused is not in memory."""
        return run(self._manager.set(key, value, format=format, copy=copy, **options))

    def get_many(
        self,
        keys: Iterable[str],
        *,
        model_class: Any = None,
        copy: bool | None = None,
        upgrade: Upgrade | None = None,
        write_back: bool = False,
    ) -> dict[str, Any]:
        """What was found, in the order asked."""
        return run(
            self._manager.get_many(
                keys, model_class=model_class, copy=copy, upgrade=upgrade, write_back=write_back
            )
        )

    def set_many(
        self,
        items: Mapping[str, Any],
        *,
        format: Format | None = None,
        copy: bool | None = None,
        **options: Unpack[SaveOptions],
    ) -> dict[str, BlobMetadata]:
        """Writes several values; the record of each key."""
        return run(self._manager.set_many(items, format=format, copy=copy, **options))

    def get_or_set(
        self,
        key: str,
        loader: Callable[[], T],
        *,
        ttl: Ttl = DEFAULT,
        format: Format | None = None,
        model_class: Any = None,
        copy: bool | None = None,
        upgrade: Upgrade | None = None,
        write_back: bool = False,
    ) -> T:
        """The value; a missing one is loaded once for all threads that ask, and set."""
        return run(
            self._manager.get_or_set(
                key,
                loader,
                ttl=ttl,
                format=format,
                model_class=model_class,
                copy=copy,
                upgrade=upgrade,
                write_back=write_back,
            )
        )

    def delete(self, key: str) -> bool:
        """Removes a value from the disk, then from memory; whether there was one."""
        return run(self._manager.delete(key))

    def exists(self, key: str) -> bool:
        """Whether there is a value in memory or on the disk."""
        return run(self._manager.exists(key))

    def cache_get(self, key: str, default: Any = None, *, copy: bool | None = None) -> Any:
        """What memory holds, or `default`; the disk is not asked."""
        return run(self._manager.cache_get(key, default, copy=copy))

    def cache_set(
        self, key: str, value: Any, ttl: Ttl = DEFAULT, *, copy: bool | None = None
    ) -> None:
        """Keeps a value in this process's memory alone, for `ttl` seconds or a `timedelta`."""
        run(self._manager.cache_set(key, value, ttl, copy=copy))

    def cache_delete(self, key: str) -> bool:
        """Removes an entry from memory; the disk keeps its value."""
        return run(self._manager.cache_delete(key))

    def get_stats(self) -> StorageStats:
        """The statistics of the store, and `cache` with those of the memory."""
        return run(self._manager.get_stats())

    def clear(self) -> int:
        """Removes every value that holdall placed, then all of memory; how many values."""
        return run(self._manager.clear())

    def close(self) -> None:
        """Empties memory and ends the use of the store; every later call is an error."""
        run(self._manager.close())
