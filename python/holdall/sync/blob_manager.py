"""`BlobManager` without `await`; see `holdall.blob_manager` for the whole text of each method."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NoReturn, TypeVar, overload

from holdall import blob_manager as _awaited
from holdall._core import BlobMetadata
from holdall._driver import BlockingDriver, Driver, run
from holdall._messages import not_copied
from holdall._sentinels import DEFAULT, MISSING
from holdall.sync.streams import BlobReader, BlobWriter
from holdall.types import (
    BlobStats,
    CleaningReport,
    Durability,
    Format,
    KeyRotation,
    MigrationReport,
    StrPath,
    Ttl,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from holdall.health import OnProgress, RepairReport, VerifyReport
    from holdall.types import (
        BlobOptions,
        MigrateAllOptions,
        MigrationOptions,
        SaveOneOptions,
        SaveOptions,
    )

__all__ = ["BlobManager"]

D = TypeVar("D")
T = TypeVar("T")
Decoder = Callable[[dict[str, Any]], Any]


class Blocking(_awaited.BlobManager):
    """The manager whose coroutines never wait."""

    _driver: ClassVar[Driver] = BlockingDriver()


class BlobManager:
    """Keeps objects on disk, one plain file for each key; `with` closes it."""

    def __init__(self, base_path: StrPath | None = None, **options: Unpack[BlobOptions]) -> None:
        """Remembers its arguments, those of `holdall.BlobManager`, and touches nothing."""
        self._manager: _awaited.BlobManager = Blocking(base_path, **options)

    @classmethod
    def _over(cls, manager: _awaited.BlobManager) -> BlobManager:
        """The face of a manager that is there already."""
        face = cls.__new__(cls)
        face._manager = manager
        return face

    @property
    def base_path(self) -> Path:
        """The folder of the store, as given or configured."""
        return self._manager.base_path

    def __reduce__(self) -> NoReturn:
        """Managers stay where they are."""
        raise not_copied(self)

    def __repr__(self) -> str:
        """The class and the folder, if it is known without reading settings."""
        return repr(self._manager).replace("Blocking", "BlobManager", 1)

    def __enter__(self) -> BlobManager:
        """The manager itself; nothing is opened yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the manager."""
        self.close()

    def save(
        self,
        key: str,
        value: Any,
        format: Format | None = None,
        **options: Unpack[SaveOneOptions],
    ) -> BlobMetadata:
        """Writes a value, in place of the one that is there in whatever format."""
        return run(self._manager.save(key, value, format, **options))

    def save_pydantic_as_json(self, value: Any, key: str) -> BlobMetadata:
        """Writes a pydantic model, or whatever `json` takes, as JSON."""
        return run(self._manager.save_pydantic_as_json(value, key))

    def save_with_pickle(self, value: Any, key: str) -> BlobMetadata:
        """Writes an object as a signed pickle."""
        return run(self._manager.save_with_pickle(value, key))

    def save_with_joblib(self, value: Any, key: str) -> BlobMetadata:
        """Writes arrays, models and what holds them with joblib, signed."""
        return run(self._manager.save_with_joblib(value, key))

    def save_as_string(self, text: str, key: str) -> BlobMetadata:
        """Writes a text as UTF-8."""
        return run(self._manager.save_as_string(text, key))

    def save_many(
        self,
        items: Mapping[str, Any],
        format: Format | None = None,
        **options: Unpack[SaveOptions],
    ) -> dict[str, BlobMetadata]:
        """Writes several values with few commits; the record of each key."""
        return run(self._manager.save_many(items, format, **options))

    @overload
    def load(
        self,
        key: str,
        format: Format | None = None,
        *,
        model_class: type[T],
        custom_decoder: Decoder | None = None,
        mmap: bool = False,
        upgrade: Callable[[Any], Any] | None = None,
        write_back: bool = False,
    ) -> T: ...
    @overload
    def load(
        self,
        key: str,
        format: Format | None = None,
        *,
        model_class: type[T],
        default: D,
        custom_decoder: Decoder | None = None,
        mmap: bool = False,
        upgrade: Callable[[Any], Any] | None = None,
        write_back: bool = False,
    ) -> T | D: ...
    @overload
    def load(
        self,
        key: str,
        format: Format | None = None,
        *,
        model_class: Any = None,
        default: Any = ...,
        custom_decoder: Decoder | None = None,
        mmap: bool = False,
        upgrade: Callable[[Any], Any] | None = None,
        write_back: bool = False,
    ) -> Any: ...
    def load(
        self,
        key: str,
        format: Format | None = None,
        *,
        model_class: Any = None,
        default: Any = MISSING,
        custom_decoder: Decoder | None = None,
        mmap: bool = False,
        upgrade: Callable[[Any], Any] | None = None,
        write_back: bool = False,
    ) -> Any:
        """Reads a value, checked; `BlobNotFoundError` if there is none and no `default`."""
        return run(
            self._manager.load(
                key,
                format,
                model_class=model_class,
                default=default,
                custom_decoder=custom_decoder,
                mmap=mmap,
                upgrade=upgrade,
                write_back=write_back,
            )
        )

    def load_many(
        self,
        keys: Iterable[str],
        format: Format | None = None,
        *,
        model_class: Any = None,
        custom_decoder: Decoder | None = None,
        upgrade: Callable[[Any], Any] | None = None,
        write_back: bool = False,
    ) -> dict[str, Any]:
        """Reads several values; what was found, in the order asked."""
        return run(
            self._manager.load_many(
                keys,
                format,
                model_class=model_class,
                custom_decoder=custom_decoder,
                upgrade=upgrade,
                write_back=write_back,
            )
        )

    def exists(self, key: str) -> bool:
        """Whether there is a value under the key that has not expired."""
        return run(self._manager.exists(key))

    def metadata(self, key: str) -> BlobMetadata:
        """What the store knows of a value."""
        return run(self._manager.metadata(key))

    def keys(
        self,
        prefix: str = "",
        *,
        after: str | None = None,
        limit: int | None = None,
        page_size: int = 5_000,
    ) -> Iterator[str]:
        """The keys in order, read page by page."""
        pages = self._manager._key_pages(prefix, after, limit, page_size)
        while True:
            try:
                page = run(pages.__anext__())
            except StopAsyncIteration:
                return
            yield from page

    @overload
    def open(self, key: str, mode: Literal["rb"] = "rb") -> BlobReader: ...
    @overload
    def open(
        self,
        key: str,
        mode: Literal["wb"],
        format: Format = "bytes",
        *,
        ttl: Ttl = DEFAULT,
        tags: Iterable[str] = (),
        metadata: Mapping[str, Any] | None = None,
        if_absent: bool = False,
        if_match: str | None = None,
        durability: Durability | None = None,
    ) -> BlobWriter: ...
    def open(
        self,
        key: str,
        mode: Literal["rb", "wb"] = "rb",
        format: Format = "bytes",
        *,
        ttl: Ttl = DEFAULT,
        tags: Iterable[str] = (),
        metadata: Mapping[str, Any] | None = None,
        if_absent: bool = False,
        if_match: str | None = None,
        durability: Durability | None = None,
    ) -> BlobReader | BlobWriter:
        """Opens a value to be read (`"rb"`) or written (`"wb"`) piece by piece, as a file."""
        if mode == "rb":
            return BlobReader(run(self._manager.open(key)))
        opening = self._manager.open(
            key,
            mode,
            format,
            ttl=ttl,
            tags=tags,
            metadata=metadata,
            if_absent=if_absent,
            if_match=if_match,
            durability=durability,
        )
        return BlobWriter(run(opening))

    def read_range(self, key: str, start: int, length: int) -> bytes:
        """Up to `length` bytes of a value from `start` on, fewer at its end; not checked."""
        return run(self._manager.read_range(key, start, length))

    def get_stats(self) -> BlobStats:
        """`entries`, `total_size` in bytes, `folder` and more, in constant time."""
        return run(self._manager.get_stats())

    def delete(self, key: str, *, if_match: str | None = None) -> bool:
        """Removes a value; whether there was one."""
        return run(self._manager.delete(key, if_match=if_match))

    def delete_many(self, keys: Iterable[str]) -> int:
        """Removes several values; how many there were."""
        return run(self._manager.delete_many(keys))

    def touch(self, key: str, ttl: Ttl = DEFAULT) -> BlobMetadata:
        """Lets a value live for `ttl` from now; left out, for ever."""
        return run(self._manager.touch(key, ttl))

    def rename(self, source: str, target: str, *, overwrite: bool = False) -> BlobMetadata:
        """Moves a value to another key, in one step."""
        return run(self._manager.rename(source, target, overwrite=overwrite))

    def copy(self, source: str, target: str, *, overwrite: bool = False) -> BlobMetadata:
        """Writes the value of one key under another as well."""
        return run(self._manager.copy(source, target, overwrite=overwrite))

    def migrate(
        self, key: str, to_format: Format | None = None, **options: Unpack[MigrationOptions]
    ) -> BlobMetadata:
        """Brings one value to another format, compression or model."""
        return run(self._manager.migrate(key, to_format, **options))

    def migrate_all(
        self, to_format: Format | None = None, **options: Unpack[MigrateAllOptions]
    ) -> MigrationReport:
        """Brings all or some values to another format, compression or model."""
        return run(self._manager.migrate_all(to_format, **options))

    def evict(self, tag: str) -> int:
        """Removes the values that have a tag; how many."""
        return run(self._manager.evict(tag))

    def expire(self) -> int:
        """Removes the files of values that have expired, now; how many."""
        return run(self._manager.expire())

    def clean_up(self) -> CleaningReport:
        """Removes what has expired and what is over the limits, now."""
        return run(self._manager.clean_up())

    def clear(self) -> int:
        """Removes every value that holdall placed, and no other file; how many."""
        return run(self._manager.clear())

    def rotate_signing_key(
        self,
        *,
        old_key_is_lost: bool = False,
        progress: Callable[[int, int], object] | None = None,
    ) -> KeyRotation:
        """Has the first key of `signing_key` sign this store, after which the others may go."""
        rotating = self._manager.rotate_signing_key(
            old_key_is_lost=old_key_is_lost, progress=progress
        )
        return run(rotating)

    def verify(self, *, progress: OnProgress | None = None) -> VerifyReport:
        """Reads everything and says what is damaged; changes nothing."""
        return run(self._manager.verify(progress=progress))

    def repair(self, *, dry_run: bool = False, progress: OnProgress | None = None) -> RepairReport:
        """Verifies the store and sets right what is damaged; deletes no value."""
        return run(self._manager.repair(dry_run=dry_run, progress=progress))

    def close(self) -> None:
        """Ends the use of the store by this manager; every later call is an error."""
        run(self._manager.close())
