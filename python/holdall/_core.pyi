"""The native engine behind the package: private, no public name; the face is in the modules beside it.

An operation that may touch the disk returns an awaitable. Made with `blocking=False` it is an
`asyncio.Future` of the running loop, resolved by one wake-up for all that finished; made with
`blocking=True` the work is done on the calling thread, the interpreter lock released, and the
awaitable is complete when it is returned, so a coroutine over it can be run without a loop.
"""

from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, TypeAlias, final

from holdall._sentinels import Default

Buffer: TypeAlias = bytes | bytearray | memoryview
Parts: TypeAlias = Buffer | Sequence[Buffer]
Ttl: TypeAlias = float | timedelta | None | Default

__version__: Final[str]

# -- exceptions: the tree is drawn in holdall/errors.py ---------------------------------------

class HoldallError(Exception):
    key: str | None
    operation: str | None
    path: str | None

class BlobNotFoundError(HoldallError, FileNotFoundError, KeyError): ...
class InvalidKeyError(HoldallError, ValueError): ...
class InvalidArgumentError(HoldallError, ValueError): ...
class FormatMismatchError(HoldallError, ValueError): ...
class BlobCorruptError(HoldallError, ValueError): ...
class UntrustedPayloadError(HoldallError, PermissionError): ...
class ConflictError(HoldallError, FileExistsError): ...
class StoreBusyError(HoldallError, TimeoutError): ...
class StorageIOError(HoldallError, OSError): ...
class StoreVersionError(HoldallError, RuntimeError): ...
class StorageDisabledError(HoldallError, RuntimeError): ...
class StoreClosedError(HoldallError, RuntimeError): ...

# -- configuration and formats -----------------------------------------------------------------

@final
class Settings:
    """The configuration of the environment and `.env`, resolved."""

    blob_storage_enabled: bool
    base_path: str
    cache_enabled: bool
    cache_max_size: int
    cache_default_ttl: float | None
    log_level: str | None
    log_debug_enabled: bool

def resolve_settings(environ: Mapping[str, str], dotenv: str | None) -> Settings:
    """Reads the settings; `dotenv` is the text of the `.env` file, if there is one."""

def formats() -> list[tuple[str, str, bool]]:
    """Name, file suffix and whether it is signed, of every format the engine can place."""

# -- logging ------------------------------------------------------------------------------------

def abandon(work: Awaitable[Any]) -> None:
    """Cancels the work behind an awaitable of this extension, unless it has begun to write."""

def set_log_level(level: int) -> None:
    """Which engine events are formatted at all: a level number of `logging`."""

def drain_logs() -> list[tuple[int, str, str, dict[str, bool | float | str]]]:
    """Takes the engine events collected so far: level, target, message, and fields by name."""

# -- time ---------------------------------------------------------------------------------------

@final
class ManualClock:
    """A clock that stands still until a test moves it."""

    def __new__(cls) -> ManualClock: ...
    def advance(self, seconds: float | timedelta) -> None: ...
    def set_wall(self, when: datetime) -> None: ...
    def now(self) -> datetime: ...

# -- blobs --------------------------------------------------------------------------------------

@final
class BlobMetadata:
    """What the store knows of one value."""

    def __new__(cls, key: str, record: bytes) -> BlobMetadata:
        """For pickles alone."""
    key: str
    format: str
    size: int
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None
    etag: str
    checksum: str
    tags: tuple[str, ...]
    metadata: dict[str, Any]
    foreign: bool
    compression: str | None

@final
class Store:
    """One handle on a base directory; nothing is opened before the first operation."""

    def __new__(
        cls,
        base_path: str,
        *,
        blocking: bool,
        durability: str = "process",
        compression: str | None = None,
        trust: str = "own",
        signing_key: str | bytes | None = None,
        max_value_bytes: int | None = None,
        inline_below: int = 0,
        on_corrupt: str = "raise",
        allow_network_fs: bool = False,
        lock_timeout: float = 30.0,
        limits: tuple[int | None, int | None, str, float | None] | None = None,
        clock: ManualClock | None = None,
    ) -> Store:
        """`limits`: most entries, most bytes, what goes first, seconds between clean-ups."""
    def put(
        self,
        key: str,
        format: str,
        parts: Parts,
        *,
        ttl: Ttl,
        tags: Sequence[str] = (),
        metadata: bytes | None = None,
        if_absent: bool = False,
        if_match: str | None = None,
        durability: str | None = None,
        compression: str | None = None,
        stays_inline: bool = False,
    ) -> Awaitable[BlobMetadata]:
        """Places a value; `parts` are written one after the other, without being joined.

        `bytes` parts are written as they are; any other buffer may be changed by its owner
        meanwhile and is copied piece by piece on its way to the file. `metadata` is JSON.
        """
    def put_many(
        self,
        items: Sequence[tuple[str, str, Parts]],
        *,
        ttl: Ttl,
        tags: Sequence[str] = (),
        durability: str | None = None,
    ) -> Awaitable[list[BlobMetadata | HoldallError]]:
        """Places several values (key, format, parts) with one commit; errors come in their place."""
    def get(
        self, key: str, format: str | None, missing_ok: bool, leave_large: bool = False
    ) -> Awaitable[tuple[Any, BlobMetadata] | None]:
        """Reads, checks and returns payload and record; `None` for a missing key if `missing_ok`.

        The payload comes without a signature trailer and, for signed formats, verified.
        """
    def cached(self, key: str, format: str | None) -> tuple[bytes, str] | None:
        """Payload and name of the format, if that can be had at once; `None` says nothing."""
    def get_many(
        self, keys: Sequence[str], format: str | None
    ) -> Awaitable[list[tuple[bytes, BlobMetadata] | HoldallError | None]]: ...
    def reader(self, key: str) -> Awaitable[ValueReader]:
        """Opens a value to be read piece by piece."""
    def writer(
        self,
        key: str,
        format: str,
        *,
        ttl: Ttl,
        tags: Sequence[str] = (),
        metadata: bytes | None = None,
        if_absent: bool = False,
        if_match: str | None = None,
        durability: str | None = None,
    ) -> Awaitable[ValueWriter]:
        """Begins a value that is written piece by piece."""
    def read_range(self, key: str, start: int, length: int) -> Awaitable[bytes]: ...
    def head(self, key: str) -> Awaitable[BlobMetadata]: ...
    def exists(self, key: str) -> Awaitable[bool]: ...
    def rotation(self, old_key_is_lost: bool) -> Awaitable[Rotation]:
        """Begins to have another key sign; nothing is changed before the first step."""
    def migration(
        self,
        prefix: str,
        tag: str | None,
        from_: str | None,
        to: str | None,
        compression: str | None,
        dry_run: bool,
        is_part: bool,
    ) -> Migration:
        """Begins to bring values to another format or compression; nothing is changed before the
        first step.
        """
    def records(
        self, prefix: str, after: str | None, limit: int
    ) -> Awaitable[list[BlobMetadata]]:
        """A page of what is known of values, in the order of their keys."""
    def locate(self, key: str, format: str | None) -> Awaitable[tuple[str, BlobMetadata]]:
        """The path of the file behind a key, for mapping it; nothing is read or checked."""
    def delete(self, key: str, if_match: str | None = None) -> Awaitable[bool]: ...
    def delete_many(self, keys: Sequence[str]) -> Awaitable[list[bool | HoldallError]]: ...
    def keys(self, prefix: str, after: str | None, limit: int) -> Awaitable[list[str]]: ...
    def tagged(self, tag: str, after: str | None, limit: int) -> Awaitable[list[BlobMetadata]]: ...
    def touch(self, key: str, ttl: Ttl) -> Awaitable[BlobMetadata]: ...
    def rename(self, source: str, target: str, overwrite: bool) -> Awaitable[BlobMetadata]: ...
    def copy(self, source: str, target: str, overwrite: bool) -> Awaitable[BlobMetadata]: ...
    def expire(self) -> Awaitable[int]: ...
    def clean_up(self) -> Awaitable[tuple[int, int, int]]: ...
    def clear(self) -> Awaitable[int]: ...
    def verification(self) -> Awaitable[Checkup]: ...
    def stats(self) -> Awaitable[dict[str, Any]]: ...
    def close(self) -> Awaitable[None]: ...

@final
class ValueReader:
    """A value that is open for reading."""

    size: int
    metadata: BlobMetadata
    def read(self, position: int, size: int) -> Awaitable[bytes]: ...
    def close(self) -> Awaitable[None]: ...

@final
class LargeValue:
    """A large value that was found and waits for memory."""

    def read(self, writable: bool) -> Awaitable[bytes | bytearray]:
        """The value, checked and verified: as `bytes`, or as a `bytearray` if `writable`."""

@final
class Migration:
    """A migration that is under way."""

    def begin(self) -> Awaitable[None]:
        """Keeps other migrations out of the store from here on, as the first step does."""
    def end(self) -> None:
        """Lets other migrations into the store; waits for a step that is under way."""
    def step(self) -> Awaitable[tuple[bool, int, int, list[str]]]:
        """Goes on for some values: whether there is more to do, values looked at and converted so
        far, and the keys met in this step whose values take Python.
        """
    def left(self) -> Awaitable[int]:
        """How many values are still to be looked at; reads the listing and no value."""
    def report(self) -> tuple[int, int, int, int, int, dict[str, HoldallError]]:
        """Values looked at, converted and left as they are; bytes of the converted ones before and
        after; and by key the errors of those that failed.
        """

@final
class Rotation:
    """A rotation of the signing key that is under way."""

    def step(self) -> Awaitable[tuple[bool, int, int]]:
        """Goes on for some values: whether there is more to do, values checked, values signed anew."""
    def report(self) -> tuple[str, bool, dict[str, HoldallError], dict[str, HoldallError]]:
        """Fingerprint, whether it is in force, and the errors of values refused and of those that
        failed. After the last step.
        """

@final
class ValueWriter:
    """A value that is being written, and that nobody sees yet."""

    def write(self, data: Buffer) -> Awaitable[int]: ...
    def finish(self) -> Awaitable[BlobMetadata]: ...
    def abort(self) -> Awaitable[None]: ...

@final
class Checkup:
    """A verification of a store, step by step."""

    def step(self) -> Awaitable[tuple[int, int, int | None] | None]:
        """Goes on for some milliseconds, or one large value; `None` when all is done."""
    def report(self) -> dict[str, Any]: ...
    def mend(self, dry_run: bool) -> Awaitable[dict[str, Any]]: ...

# -- memory -------------------------------------------------------------------------------------

@final
class Cache:
    """A bounded cache of Python objects with a TTL for each entry; every method is immediate."""

    def __new__(
        cls,
        max_size: int,
        default_ttl: Ttl,
        *,
        max_bytes: int | None = None,
        policy: str = "w-tinylfu",
        on_evict: Callable[[str, Any, str], object] | None = None,
        size_of: Callable[[Any], int] | None = None,
        clock: ManualClock | None = None,
    ) -> Cache: ...
    def get(self, key: str, default: Any = None) -> Any: ...
    def set(self, key: str, value: Any, ttl: Ttl) -> None: ...
    def get_many(self, keys: Iterable[str]) -> dict[str, Any]: ...
    def set_many(self, items: Mapping[str, Any], ttl: Ttl) -> None: ...
    def add(self, key: str, value: Any, ttl: Ttl) -> bool: ...
    def begin_load(self, key: str) -> int:
        """The number of the load of a key that is under way, or of one that begins with this."""
    def land(self, key: str, number: int, value: Any, ttl: Ttl) -> bool:
        """Keeps what a load has brought, unless the key was written or deleted since it began."""
    def end_load(self, key: str, number: int) -> None: ...
    def loads_under_way(self) -> int: ...
    def incr(self, key: str, by: int, ttl: Ttl) -> int: ...
    def delete(self, key: str) -> bool: ...
    def delete_many(self, keys: Iterable[str]) -> int: ...
    def contains(self, key: str) -> bool: ...
    def touch(self, key: str, ttl: Ttl) -> bool: ...
    def ttl_of(self, key: str) -> float | None:
        """Seconds left, `None` for an entry that never expires; BlobNotFoundError if missing."""
    def clear(self) -> int: ...
    def keys(self) -> list[str]: ...
    def __len__(self) -> int: ...
    def get_stats(self) -> dict[str, Any]: ...
    def sweep(self) -> int:
        """Frees what has expired, now; the housekeeping thread does it unasked."""

@final
class Tier:
    """The memory over a store: each entry is answered only while the disk still holds it.

    An entry remembers the store's clock for its key from before its value was read (`observe`);
    a hit compares it, which costs a memory read, so a write in any process makes it a miss.
    An entry set without an observation (`pin`) belongs to this memory alone.
    """

    def __new__(
        cls,
        store: Store | None,
        max_size: int,
        default_ttl: Ttl,
        *,
        max_bytes: int | None = None,
        policy: str = "w-tinylfu",
        external_check: float = 1.0,
        clock: ManualClock | None = None,
    ) -> Tier: ...
    def get(self, key: str, default: Any = None) -> Any: ...
    def peek(self, key: str, default: Any = None) -> Any:
        """As `get`; counts nothing."""
    def is_own(self, key: str) -> bool:
        """Whether there is a value that belongs to this memory alone; counts nothing."""
    def contains(self, key: str) -> bool:
        """Whether there is a value that is still the newest; counts nothing."""
    def observe(self, key: str) -> int | None:
        """The store's clock for a key now, to be taken before its value is read; `None`: do not admit."""
    def admit(self, key: str, value: Any, observed: int | None, record: BlobMetadata, ttl: Ttl) -> bool:
        """Puts a value read from the disk, or written to it, into memory, unless a write overtook it.

        The record of a save carries the version right after it; else `observed` counts.
        """
    def pin(self, key: str, value: Any, ttl: Ttl) -> None: ...
    def delete(self, key: str) -> bool: ...
    def clear(self) -> int: ...
    def __len__(self) -> int: ...
    def get_stats(self) -> dict[str, Any]: ...
    def sweep(self) -> int: ...

@final
class Ready(Coroutine[Any, Any, Any]):
    """A complete awaitable: what the functions below return for a hit."""

    def send(self, value: Any, /) -> Any: ...
    def throw(self, *exception: Any) -> Any: ...
    def close(self) -> None: ...
    def __await__(self) -> Ready: ...
    def __iter__(self) -> Ready: ...
    def __next__(self) -> Any: ...

def hot_get(cache: Cache, awaited: bool) -> Callable[..., Any]:
    """The fastest `get(key, default=None)` of a cache; with `awaited`, its result is to be awaited."""

def hot_set(cache: Cache) -> Callable[..., Any]:
    """The fastest `set(key, value, ttl=DEFAULT)` of a cache."""

def hot_get_or_else(tier: Tier, or_else: Callable[..., Any], wrapper: type) -> Callable[..., Any]:
    """The fastest awaited `get` of a memory over a store.

    All but a plain hit is `or_else(looked, ...)`; `looked` says that a miss was counted.
    """

def hot_get_or_missing(tier: Tier, missing: object, wrapper: type) -> Callable[[str], Any]:
    """The fastest look for a plain hit in a memory over a store; `missing` if there is none."""

# -- streams for the codecs ---------------------------------------------------------------------

def pickle_end(data: bytes, start: int = 0) -> int:
    """The place behind the STOP of the pickle that begins at `start`; `ValueError` if it has opcodes
    that no plain pickle needs.
    """

def pickle_plain(value: object) -> list[bytes] | None:
    """A pickle of plain data, in parts; `None` if there is anything else in it. Other threads run at
    every frame.
    """

@final
class FrameSink:
    """A file object that collects what a pickler writes and lets other threads run at every frame."""

    def __new__(cls) -> FrameSink: ...
    def write(self, data: Buffer) -> int: ...
    def parts(self) -> list[bytes]: ...

@final
class FrameSource:
    """A file object over bytes that lets other threads run at every read of an unpickler."""

    def __new__(cls, data: bytes) -> FrameSource: ...
    def read(self, size: int = -1) -> bytes: ...
    def readline(self) -> bytes: ...
