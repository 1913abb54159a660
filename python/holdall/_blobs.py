"""What every method of `BlobManager` stands on: the store, opened when first needed, and codecs."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, NoReturn, TypeVar

from holdall import formats
from holdall._arguments import (
    DURABILITIES,
    MOST,
    check_choice,
    check_clock,
    check_flag,
    check_inline_below,
    check_limits,
    check_path,
    check_seconds,
    check_secret,
    check_store_limits,
)
from holdall._config import load_settings
from holdall._core import (
    BlobCorruptError,
    BlobMetadata,
    BlobNotFoundError,
    FormatMismatchError,
    HoldallError,
    LargeValue,
    ManualClock,
    Settings,
    StorageDisabledError,
    Store,
    StoreClosedError,
    abandon,
)
from holdall._driver import AsyncDriver, Driver
from holdall._logging import forward
from holdall._messages import not_copied, told
from holdall._sentinels import MISSING
from holdall._size import MAX_BYTES, is_small
from holdall.errors import during
from holdall.formats import Parts
from holdall.types import Compression, Durability, Eviction, OnCorrupt, StrPath, Trust

T = TypeVar("T")


class BlobCore:
    """Settings, the native store and the way between values and bytes."""

    _driver: ClassVar[Driver] = AsyncDriver()

    def __init__(
        self,
        base_path: StrPath | None = None,
        *,
        durability: Durability = "process",
        compression: Compression | None = None,
        trust: Trust = "own",
        signing_key: str | bytes | None = None,
        allow_classes: Iterable[type | str] | None = None,
        max_value_bytes: int | None = None,
        inline_below: int = 0,
        on_corrupt: OnCorrupt = "raise",
        allow_network_fs: bool = False,
        lock_timeout: float = 30.0,
        max_entries: int | None = None,
        max_disk_bytes: int | None = None,
        eviction: Eviction = "least-recently-saved",
        clean_every: float | None = 60.0,
        clock: ManualClock | None = None,
    ) -> None:
        """Remembers its arguments and touches nothing.

        Args:
            base_path: The folder of the store; left out, `BLOB_STORAGE_BASE_PATH` of the
                environment or of `.env`, else `tmp/storage`.
            durability: What an acknowledged save survives: `"process"`, the death of the process;
                `"disk"`, a power cut too.
            compression: `"zstd"` (smaller) or `"lz4"` (faster): values of 512 bytes or more are
                compressed, if that makes them smaller, into files like `recipe.json.zst`, which
                the tools of that name read. Whatever this is, all values are read.
            trust: `"own"` reads pickle and joblib only if signed with this user's key; `"any"`
                reads everybody's, which runs whatever code they hold.
            signing_key: The key for signatures; left out, `HOLDALL_SIGNING_KEY`, else a file of
                this user that is made on first use. Several with commas between them are a ring:
                all are accepted, the one that the store names signs, in a new store the first.
            allow_classes: The classes that pickle and joblib may name besides plain values, as
                classes or as exact names like `"package.module.Class"`; `numpy.ndarray` stands for
                all that arrays name. Saves and loads of others are refused. Left out: all.
            max_value_bytes: The largest payload that is written, or read into memory, in bytes;
                8 GiB if left out. What another program put there is read up to 256 MiB, or to 100
                times the size of its file on the disk, if it is compressed or full of holes.
            inline_below: Values of fewer bytes are saved into a database of the store, which is
                several times faster than a file for each; at most 65,536. 0 keeps every value in a
                file that other programs can open. Whatever this is, all values are read.
            on_corrupt: A damaged value is an error (`"raise"`) or as if missing (`"miss"`).
            allow_network_fs: Accept a base path on NFS, SMB and the like.
            lock_timeout: Seconds that a write waits for another process which holds its key, and a
                listing for the writes that are under way, that one for a second at least.
            max_entries: The most values in the store; what is over it is evicted in the background,
                see `clean_up`. `None` is any number: nothing is ever evicted.
            max_disk_bytes: The most bytes of all values together, as `total_size` of `get_stats`
                has them; `None` is any number.
            eviction: Which values go first: `"least-recently-saved"`, or `"least-recently-used"`,
                for which each load is noted in a file of a megabyte.
            clean_every: Seconds after which the store is cleaned up in the background at the
                latest, while values in it expire; `None` is never, not even over a limit.
            clock: A `holdall.testing.ManualClock`, for tests.

        Raises:
            InvalidArgumentError: A limit or a word is not one of those allowed.
        """
        check_limits(max_value_bytes=max_value_bytes)
        check_inline_below(inline_below)
        check_path(base_path)
        check_choice("durability", durability, DURABILITIES)
        check_choice("compression", compression, (None, "zstd", "lz4"))
        check_choice("trust", trust, ("own", "any"))
        check_choice("on_corrupt", on_corrupt, ("raise", "miss"))
        check_flag("allow_network_fs", allow_network_fs)
        check_seconds("lock_timeout", lock_timeout)
        check_store_limits(max_entries, max_disk_bytes, eviction, clean_every)
        check_clock(clock)
        check_secret(signing_key)
        self._allowed = None if allow_classes is None else formats.Allowed(allow_classes)
        self._given_path = None if base_path is None else Path(base_path)
        self._clock = clock
        self._options: dict[str, Any] = {
            "durability": durability,
            "compression": compression,
            "trust": trust,
            "signing_key": signing_key,
            "max_value_bytes": _most(max_value_bytes),
            "inline_below": inline_below,
            "on_corrupt": on_corrupt,
            "allow_network_fs": allow_network_fs,
            "lock_timeout": lock_timeout,
            "limits": (_most(max_entries), _most(max_disk_bytes), eviction, clean_every),
        }
        self._settings: Settings | None = None
        self._made: dict[str, Store] = {}
        self._store: Store | None = None
        self._closed = False

    @property
    def base_path(self) -> Path:
        """The folder of the store, as given or configured; a relative one is not made absolute.

        Reads the settings if no operation has done so yet; does not touch the store.
        """
        if self._given_path is not None:
            return self._given_path
        return Path(self._configured().base_path)

    def __repr__(self) -> str:
        """The class and the folder, if it is known without reading settings."""
        known = self._given_path or (self._settings and Path(self._settings.base_path))
        return f"{type(self).__name__}({str(known) if known else ''!r})"

    def __reduce__(self) -> NoReturn:
        """Managers stay where they are."""
        raise not_copied(self)

    def _configured(self) -> Settings:
        if self._settings is None:
            self._settings = load_settings()
        return self._settings

    async def _ready(self, operation: str, key: str | None = None) -> Settings:
        """The settings, read while the event loop runs; an error if the manager was closed."""
        if self._closed:
            raise told(
                StoreClosedError,
                "the manager was closed",
                "make a new one",
                operation=operation,
                key=key,
            )
        if self._settings is not None:
            return self._settings
        return await self._driver.offload(self._configured)

    async def _open(self, operation: str, key: str | None = None) -> Store:
        """The store; the first call reads the settings, no call waits for a disk."""
        if self._store is not None:
            return self._store
        settings = await self._ready(operation, key)
        if self._closed:
            # While the settings were read.
            return await self._open(operation, key)
        if not settings.blob_storage_enabled:
            raise told(
                StorageDisabledError,
                "blob storage is switched off",
                "set BLOB_STORAGE_ENABLED=true",
                operation=operation,
                key=key,
            )
        store = Store(
            _absolute(self.base_path),
            blocking=self._driver.blocking,
            clock=self._clock,
            **self._options,
        )
        # Without a lock, which a fork could leave locked: the first of several handles is kept.
        self._store = store = self._made.setdefault("store", store)
        if self._closed:
            # By another thread, just now.
            self._store = None
            self._made.clear()
            await self._ready(operation, key)
        return store

    async def _wait(self, work: Awaitable[T]) -> T:
        """Waits for the engine, and hands what it has to say to the logger."""
        try:
            return await work
        except BaseException:
            # Cancelled, most likely; nobody is left who could want it.
            abandon(work)
            raise
        finally:
            forward()

    async def _encoded(
        self, value: Any, format: str | None, options: Mapping[str, Any], operation: str, key: str
    ) -> tuple[str, Parts]:
        """The name of the format and the bytes of a value."""
        try:
            codec = formats.codec_for(value) if format is None else formats.find(format)
            given = self._walled(
                codec.encode_options, formats.taken(codec, options, codec.encode_options)
            )
            if codec.heavy and not self._driver.blocking and not is_small(value):
                return codec.name, await self._driver.offload(codec.encode, value, given)
            return codec.name, codec.encode(value, given)
        except HoldallError as error:
            during(error, operation, key)
            raise

    async def _decoded(
        self,
        data: bytes | bytearray,
        record: BlobMetadata,
        options: Mapping[str, Any],
        operation: str,
    ) -> Any:
        """The value of bytes that the engine has checked."""
        codec = formats.find(record.format)
        # A bytearray becomes the memory of the array, which takes no time.
        is_array = record.format == "npy" and type(data) is bytearray
        is_long = len(data) > MAX_BYTES and not is_array
        if codec.heavy and not self._driver.blocking and is_long:
            call = self._driver.offload
            return await call(self._decode, data, codec.name, options, operation, record.key)
        return self._decode(data, codec.name, options, operation, record.key)

    def _decode(
        self,
        data: bytes | bytearray,
        format: str,
        options: Mapping[str, Any],
        operation: str,
        key: str,
    ) -> Any:
        """The same, on this thread."""
        try:
            codec = formats.find(format)
            if options:
                options = formats.taken(codec, options, codec.decode_options)
            return codec.decode(data, self._walled(codec.decode_options, options))
        except HoldallError as error:
            during(error, operation, key)
            raise

    def _walled(self, takes: frozenset[str], options: Mapping[str, Any]) -> Mapping[str, Any]:
        """The options of a codec, and for those that could run code what they may name."""
        if self._allowed is None or "allow_classes" not in takes:
            return options
        return {**options, "allow_classes": self._allowed}

    async def _encoded_many(
        self,
        items: Iterable[tuple[str, Any]],
        format: str | None,
        options: Mapping[str, Any],
        place: Callable[[list[tuple[str, str, Parts]]], Awaitable[None]],
        errors: dict[str, HoldallError],
    ) -> None:
        """Encodes one value after the other and places them in groups of bounded size."""
        group: list[tuple[str, str, Parts]] = []
        size = 0
        for key, value in items:
            try:
                name, parts = await self._encoded(value, format, options, "save", key)
            except HoldallError as error:
                errors[key] = error
                continue
            group.append((key, name, parts))
            size += length(parts)
            if size >= _GROUP_BYTES or len(group) >= _GROUP_KEYS:
                await place(group)
                group, size = [], 0
        if group:
            await place(group)

    async def _read(
        self, key: str, format: str | None, options: Mapping[str, Any], missing_ok: bool
    ) -> tuple[Any, BlobMetadata | None]:
        """Value and record of a key; `MISSING` and `None` if there is none and that is fine."""
        name = None if format is None else named(format, "load", key)
        store = await self._open("load", key)
        found = await self._wait(store.get(key, name, missing_ok, True))
        if found is not None and type(found[0]) is LargeValue:
            large, record = found
            try:
                # An array keeps the memory that it is read into.
                keeps = formats.find(record.format).keeps_memory
                data = await self._wait(large.read(keeps))
                return await self._decoded(data, record, options, "load"), record
            except BlobCorruptError:
                # Damaged, or edited by another program: the whole way tells, and takes an edit.
                found = await self._wait(store.get(key, name, missing_ok))
        if found is None:
            return MISSING, None
        payload, record = found
        return await self._decoded(payload, record, options, "load"), record

    async def _map(self, key: str, format: str | None) -> Any:
        """A read-only mapping of an array file."""
        name = None if format is None else named(format, "load", key)
        store = await self._open("load", key)
        for _ in range(_MAP_ATTEMPTS):
            path, record = await self._wait(store.locate(key, name))
            if record.format != "npy":
                raise told(
                    FormatMismatchError,
                    f"mmap=True maps npy files and the value is stored as {record.format}",
                    'load it without mmap, or save it with format="npy"',
                    operation="load",
                    key=key,
                )
            try:
                # The engine has just read its beginning: this waits for no disk.
                return _map_array(path)
            except FileNotFoundError:
                # Replaced or deleted since it was located; the next look finds what is there now.
                continue
            except HoldallError as error:
                during(error, "load", key)
                raise
        raise told(
            BlobNotFoundError,
            "its file was replaced or removed each time it was to be mapped",
            "load it without mmap, or try again",
            operation="load",
            key=key,
        )


_GROUP_BYTES = 64 * 1024 * 1024
_GROUP_KEYS = 1_000
_MAP_ATTEMPTS = 3


def _most(limit: int | None) -> int | None:
    """A limit as the engine takes it."""
    return None if limit is None else min(limit, MOST)


def _absolute(path: Path) -> str:
    """The path from the root, now: a later change of the working directory moves no store."""
    return os.path.abspath(path)


def named(format: str, operation: str, key: str | None) -> str:
    """The format's own name, for the name or alias that a caller gave."""
    try:
        return formats.find(format).name
    except HoldallError as error:
        during(error, operation, key)
        raise


def length(parts: Parts) -> int:
    if isinstance(parts, bytes | bytearray):
        return len(parts)
    if isinstance(parts, memoryview):
        return parts.nbytes
    return sum(map(length, parts))


def _map_array(path: str) -> Any:
    from holdall.formats.npy import map_file

    return map_file(path)
