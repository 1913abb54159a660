"""The types that signatures and results are written in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from os import PathLike
from typing import Any, Literal, NamedTuple, TypeAlias, TypedDict

from holdall._core import BlobMetadata, HoldallError, ManualClock
from holdall._sentinels import Default, Missing

__all__ = [
    "BlobMetadata",
    "BlobOptions",
    "BlobStats",
    "CacheStats",
    "CleaningReport",
    "Compression",
    "Default",
    "Durability",
    "Eviction",
    "Format",
    "KeyRotation",
    "MigrateAllOptions",
    "MigrationOptions",
    "MigrationReport",
    "Missing",
    "OnCorrupt",
    "Policy",
    "SaveOneOptions",
    "SaveOptions",
    "StorageOptions",
    "StorageStats",
    "StrPath",
    "Trust",
    "Ttl",
]

Format: TypeAlias = Literal[
    "json", "custom_json", "pickle", "joblib", "string", "text", "bytes", "npy"
]
"""The names of the formats; `text` is another word for `string`."""

Durability: TypeAlias = Literal["process", "disk"]
"""What an acknowledged save survives: the death of the process, or a power cut too."""

Compression: TypeAlias = Literal["zstd", "lz4"]
"""How values are compressed on disk."""

Trust: TypeAlias = Literal["own", "any"]
"""Whose pickles are read: those signed with this user's key, or anybody's."""

OnCorrupt: TypeAlias = Literal["raise", "miss"]
"""What a damaged value is: an error, or as if it were not there."""

Eviction: TypeAlias = Literal["least-recently-saved", "least-recently-used"]
"""Which values of a store go first when there are too many."""

Policy: TypeAlias = Literal["w-tinylfu", "s3-fifo", "lru", "fifo"]
"""Which entry leaves a full memory."""

Ttl: TypeAlias = "float | timedelta | Default | None"
"""How long a value lives: seconds, a `timedelta`, `None` for ever; left out, the default."""

StrPath: TypeAlias = "str | PathLike[str]"


class CacheStats(TypedDict):
    """What a memory did since it was made; sizes in bytes.

    `entries` and `bytes` include what has expired and is not freed yet, for a moment.
    """

    entries: int
    hits: int
    misses: int
    hit_rate: float
    evictions: int
    expirations: int
    bytes: int


class OperationStats(TypedDict):
    """What one kind of call has cost since the manager was made; times in seconds.

    A batch is one call. `p50` and its like are the times within which that share of the calls was
    done, up to a factor of two, and 0.0 if there were none. `histogram` has, for each upper bound,
    how many calls took less than it and not less than the one before; the last has all the rest.
    """

    count: int
    errors: int
    bytes: int
    seconds: float
    p50: float
    p90: float
    p99: float
    histogram: list[tuple[float, int]]


class BlobStats(TypedDict):
    """What lies in a store; `total_size` in bytes, `folder` the base path.

    `evictions` are the values that this manager has evicted, because there were more than its
    limits allow, and `expirations` the expired ones that it has removed.
    `operations` has what the calls of this manager have cost: `save`, `load`, `look` (is it there,
    what is known of it), `list`, `delete`, `change` (touch) and `clean` (expire, clear).
    """

    entries: int
    total_size: int
    evictions: int
    expirations: int
    folder: str
    operations: dict[str, OperationStats]


class StorageStats(BlobStats):
    """What lies in a store, and what the memory over it did."""

    cache: CacheStats


class KeyRotation(NamedTuple):
    """What `BlobManager.rotate_signing_key` did."""

    fingerprint: str
    """16 hex digits that name the key which signs from now on."""
    checked: int
    """Pickle and joblib values that were looked at."""
    resigned: int
    """Those that were verified and signed with the new key; the others had its signature."""
    refused: Mapping[str, HoldallError]
    """By key, why a value may not be read by anybody: they stay as they are."""


class CleaningReport(NamedTuple):
    """What `BlobManager.clean_up` has removed."""

    expired: int
    """Values that had expired."""
    evicted: int
    """Values that were evicted, because there were more than the limits allow."""
    evicted_bytes: int
    """Bytes of those."""


class MigrationReport(NamedTuple):
    """What `BlobManager.migrate_all` did, or would do."""

    checked: int
    """Values that were looked at."""
    converted: int
    """Those that were written anew."""
    unchanged: int
    """Those that were as asked already, or do not get smaller when compressed."""
    bytes_before: int
    """Bytes of the converted values before, and after."""
    bytes_after: int
    failed: Mapping[str, HoldallError]
    """By key, why a value could not be converted: it is as it was."""


class BlobOptions(TypedDict, total=False):
    """The arguments of `BlobManager` besides the folder."""

    durability: Durability
    compression: Compression | None
    trust: Trust
    signing_key: str | bytes | None
    allow_classes: Iterable[type | str] | None
    max_value_bytes: int | None
    inline_below: int
    on_corrupt: OnCorrupt
    allow_network_fs: bool
    lock_timeout: float
    max_entries: int | None
    max_disk_bytes: int | None
    eviction: Eviction
    clean_every: float | None
    clock: ManualClock | None


class StorageOptions(BlobOptions, total=False):
    """The arguments of `StorageManager` besides the folder."""

    max_size: int | Default
    default_ttl: Ttl
    max_bytes: int | None
    policy: Policy
    copy: bool
    external_check: float


class MigrationOptions(TypedDict, total=False):
    """The arguments of `migrate` besides key and format."""

    compression: Compression | Literal["none"] | None
    model_class: Any
    upgrade: Callable[[Any], Any] | None


class MigrateAllOptions(MigrationOptions, total=False):
    """The arguments of `migrate_all` besides the format."""

    from_format: Format | None
    prefix: str
    tag: str | None
    dry_run: bool
    progress: Callable[[int, int], object] | None


class SaveOptions(TypedDict, total=False):
    """The arguments of `save_many` and `set_many` besides the items and the format."""

    ttl: Ttl
    tags: Iterable[str]
    custom_encoder: Callable[[Any], Any] | None
    durability: Durability | None


class SaveOneOptions(SaveOptions, total=False):
    """The arguments of `save` and `set` besides key, value and format."""

    metadata: Mapping[str, Any] | None
    if_absent: bool
    if_match: str | None
