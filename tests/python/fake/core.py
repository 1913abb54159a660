"""A stand-in for `holdall._core`, until the extension is built: the contract of `_core.pyi`.

No durability, no coherence between processes, no signatures; files lie under their own names.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
import threading
import time
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

__version__ = "0.0.0+fake"


class HoldallError(Exception):
    key = operation = path = None


class BlobNotFoundError(HoldallError, FileNotFoundError, KeyError):
    __str__ = Exception.__str__


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


class Settings(SimpleNamespace): ...


def resolve_settings(environ, dotenv):
    found = {}
    for line in (dotenv or "").splitlines():
        name, _, value = line.partition("=")
        if _ and not name.startswith("#"):
            found[name.strip()] = value.split(" #")[0].strip()
    found.update(environ)

    def flag(name, default):
        word = found.get(name, default).lower()
        if word not in ("true", "false", "1", "0"):
            raise InvalidArgumentError(f"{name}={word!r} is not allowed; use true or false")
        return word in ("true", "1")

    try:
        size = int(found.get("CACHE_MAX_SIZE", 1000))
    except ValueError:
        value = found["CACHE_MAX_SIZE"]
        raise InvalidArgumentError(f"CACHE_MAX_SIZE={value!r} is not a number") from None
    return Settings(
        blob_storage_enabled=flag("BLOB_STORAGE_ENABLED", "true"),
        base_path=found.get("BLOB_STORAGE_BASE_PATH", "tmp/storage"),
        cache_enabled=flag("CACHE_ENABLED", "true"),
        cache_max_size=size,
        cache_default_ttl=float(found.get("CACHE_DEFAULT_TTL", 3600)),
        log_level=found.get("LOG_LEVEL"),
        log_debug_enabled=flag("LOG_DEBUG_ENABLED", "false"),
    )


def formats():
    return [(name, suffix, name in ("pickle", "joblib")) for name, suffix in SUFFIXES.items()]


def set_log_level(level): ...


def drain_logs():
    return []


class ManualClock:
    def __init__(self):
        self.at = datetime(2024, 1, 1, tzinfo=timezone.utc)

    def advance(self, seconds):
        self.at += seconds if isinstance(seconds, timedelta) else timedelta(seconds=seconds)

    def set_wall(self, when):
        self.at = when

    def now(self):
        return self.at


def _now(clock):
    return clock.now() if clock else datetime.fromtimestamp(time.time(), timezone.utc)


def _expiry(clock, ttl, default=None):
    ttl = default if getattr(ttl, "name", None) == "DEFAULT" else ttl
    if ttl is None:
        return None
    return _now(clock) + (ttl if isinstance(ttl, timedelta) else timedelta(seconds=ttl))


@dataclass(frozen=True)
class BlobMetadata:
    key: str
    format: str
    size: int
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None
    etag: str
    checksum: str
    tags: tuple = ()
    metadata: dict = field(default_factory=dict)
    foreign: bool = False
    clock: int = 0


SUFFIXES = {
    "json": ".json",
    "custom_json": ".json",
    "pickle": ".pkl",
    "joblib": ".joblib",
    "string": ".txt",
    "bytes": ".bin",
    "npy": ".npy",
}
_SHARED: dict[str, SimpleNamespace] = {}


class _Done:
    def __init__(self, call):
        self.call = call

    def __await__(self):
        return self.call()
        yield


def _operation(method):
    @functools.wraps(method)
    def started(self, *args, **kwargs):
        def call():
            with self._share.lock:
                return method(self, *args, **kwargs)

        if self._blocking:
            return _Done(call)
        import asyncio

        async def waited():
            await asyncio.sleep(0)
            return call()

        return asyncio.ensure_future(waited())

    return started


class Store:
    def __init__(self, base_path, *, blocking, clock=None, **options):
        assert os.path.isabs(base_path)
        self._base, self._blocking, self._clock = base_path, blocking, clock
        empty = SimpleNamespace(records={}, count=0, clocks={}, lock=threading.RLock())
        self._share = _SHARED.setdefault(base_path, empty)

    def _file(self, record):
        return os.path.join(self._base, quote(record.key) + SUFFIXES[record.format])

    def _found(self, key, operation):
        record = self._share.records.get(key)
        if record is None or (record.expires_at and record.expires_at <= _now(self._clock)):
            error = BlobNotFoundError(f'could not {operation} "{key}": no such key; save it first')
            error.key, error.operation = key, operation
            raise error
        return record

    def _place(self, record, data):
        os.makedirs(self._base, exist_ok=True)
        old = self._share.records.get(record.key)
        self._share.count += 1
        record = replace(record, etag=str(self._share.count), clock=self._share.count)
        if old is not None and os.path.exists(self._file(old)):
            os.unlink(self._file(old))
        os.makedirs(os.path.dirname(self._file(record)), exist_ok=True)
        with open(self._file(record), "wb") as file:
            file.write(data)
        self._share.records[record.key] = record
        self._share.clocks[record.key] = self._share.count
        return record

    def _put(self, key, format, parts, ttl, tags, metadata, if_absent=False, if_match=None):
        old = self._share.records.get(key)
        if old is not None and old.expires_at and old.expires_at <= _now(self._clock):
            old = None
        if (if_absent and old) or (if_match is not None and (not old or old.etag != if_match)):
            raise ConflictError(f'could not save "{key}": the condition does not hold; load it')
        one = isinstance(parts, bytes | bytearray | memoryview)
        data = bytes(parts) if one else b"".join(bytes(part) for part in parts)
        now = _now(self._clock)
        return self._place(
            BlobMetadata(
                key=key,
                format=format,
                size=len(data),
                created_at=old.created_at if old else now,
                updated_at=now,
                expires_at=_expiry(self._clock, ttl),
                etag="",
                checksum=hashlib.md5(data).hexdigest(),
                tags=tuple(tags),
                metadata=json.loads(metadata) if metadata else {},
            ),
            data,
        )

    def _get(self, key, format):
        record = self._found(key, "load")
        if format is not None and format != record.format:
            raise FormatMismatchError(f'could not load "{key}": it is stored as {record.format}')
        with open(self._file(record), "rb") as file:
            data = file.read()
        if hashlib.md5(data).hexdigest() != record.checksum and record.size == len(data):
            raise BlobCorruptError(f'could not load "{key}": its bytes are damaged; save it again')
        return data, record

    def _drop(self, key):
        record = self._share.records.pop(key)
        os.unlink(self._file(record))
        self._share.count += 1
        self._share.clocks[key] = self._share.count

    @_operation
    def put(self, key, format, parts, *, ttl, tags=(), metadata=None, if_absent=False,
            if_match=None, durability=None):  # fmt: skip
        return self._put(key, format, parts, ttl, tags, metadata, if_absent, if_match)

    @_operation
    def put_many(self, items, *, ttl, tags=(), durability=None):
        return [self._put(*item, ttl, tags, None) for item in items]

    @_operation
    def get(self, key, format, missing_ok):
        try:
            return self._get(key, format)
        except BlobNotFoundError:
            if not missing_ok:
                raise
            return None

    @_operation
    def get_many(self, keys, format):
        results = []
        for key in keys:
            try:
                results.append(self._get(key, format))
            except BlobNotFoundError:
                results.append(None)
            except HoldallError as error:
                results.append(error)
        return results

    @_operation
    def head(self, key):
        return self._found(key, "describe")

    @_operation
    def exists(self, key):
        try:
            return bool(self._found(key, "look for"))
        except BlobNotFoundError:
            return False

    @_operation
    def locate(self, key, format):
        record = self._found(key, "load")
        return self._file(record), record

    def _delete(self, key, if_match=None):
        try:
            record = self._found(key, "delete")
        except BlobNotFoundError:
            return False
        if if_match is not None and record.etag != if_match:
            raise ConflictError(f'could not delete "{key}": it was changed; load it again')
        self._drop(key)
        return True

    delete = _operation(_delete)

    @_operation
    def delete_many(self, keys):
        return [self._delete(key) for key in keys]

    def _page(self, chosen, after, limit):
        found = sorted(filter(chosen, self._share.records.values()), key=lambda one: one.key)
        return [one for one in found if after is None or one.key > after][:limit]

    @_operation
    def page(self, prefix, after, limit):
        return self._page(lambda one: one.key.startswith(prefix), after, limit)

    @_operation
    def tagged(self, tag, after, limit):
        return self._page(lambda one: tag in one.tags, after, limit)

    @_operation
    def touch(self, key, ttl):
        record = replace(self._found(key, "touch"), expires_at=_expiry(self._clock, ttl))
        self._share.records[key] = record
        return record

    def _move(self, source, target, overwrite):
        data, record = self._get(source, None)
        if target in self._share.records and not overwrite:
            raise ConflictError(f'could not write "{target}": there is a value; use overwrite=True')
        return self._place(replace(record, key=target), data)

    @_operation
    def rename(self, source, target, overwrite):
        record = self._move(source, target, overwrite)
        self._drop(source)
        return record

    copy = _operation(_move)

    @_operation
    def expire(self):
        now = _now(self._clock)
        old = [r.key for r in self._share.records.values() if r.expires_at and r.expires_at <= now]
        for key in old:
            self._drop(key)
        return len(old)

    @_operation
    def clear(self):
        keys = list(self._share.records)
        for key in keys:
            self._drop(key)
        return len(keys)

    @_operation
    def stats(self):
        records = self._share.records.values()
        return {
            "entries": len(records),
            "total_size": sum(record.size for record in records),
            "folder": self._base,
        }

    @_operation
    def close(self): ...


class Cache:
    def __init__(self, max_size, default_ttl, *, clock=None, on_evict=None, **options):
        self._max, self._ttl, self._clock, self._on_evict = max_size, default_ttl, clock, on_evict
        self._all: dict[str, tuple[Any, Any]] = {}
        self._counts = dict.fromkeys(("hits", "misses", "evictions", "expirations"), 0)

    def _live(self, key):
        found = self._all.get(key)
        if found and found[1] and found[1] <= _now(self._clock):
            del self._all[key]
            self._counts["expirations"] += 1
            found = None
        return found

    def get(self, key, default=None):
        found = self._live(key)
        self._counts["hits" if found else "misses"] += 1
        return found[0] if found else default

    def set(self, key, value, ttl):
        self._all.pop(key, None)
        self._all[key] = (value, _expiry(self._clock, ttl, self._ttl))
        while len(self._all) > self._max:
            old = next(iter(self._all))
            gone = self._all.pop(old)
            self._counts["evictions"] += 1
            if self._on_evict:
                self._on_evict(old, gone[0], "size")

    def get_many(self, keys):
        missing = object()
        found = {key: self.get(key, missing) for key in keys}
        return {key: value for key, value in found.items() if value is not missing}

    def set_many(self, items, ttl):
        for key, value in items.items():
            self.set(key, value, ttl)

    def add(self, key, value, ttl):
        if self._live(key):
            return False
        self.set(key, value, ttl)
        return True

    def incr(self, key, by, ttl):
        found = self._live(key)
        if found and type(found[0]) is not int:
            raise InvalidArgumentError(f'could not count "{key}": not an integer; delete it')
        if found:
            self._all[key] = (found[0] + by, found[1])
            return found[0] + by
        self.set(key, by, ttl)
        return by

    def delete(self, key):
        found = self._live(key)
        self._all.pop(key, None)
        return found is not None

    def delete_many(self, keys):
        return sum(map(self.delete, keys))

    def contains(self, key):
        return self._live(key) is not None

    def touch(self, key, ttl):
        found = self._live(key)
        if found:
            self._all[key] = (found[0], _expiry(self._clock, ttl, self._ttl))
        return found is not None

    def ttl_of(self, key):
        found = self._live(key)
        if not found:
            raise BlobNotFoundError(f'could not look for "{key}": no such key; set it first')
        return (found[1] - _now(self._clock)).total_seconds() if found[1] else None

    def clear(self):
        count = len(self._all)
        self._all.clear()
        return count

    def keys(self):
        return [key for key in list(self._all) if self._live(key)]

    def __len__(self):
        return len(self._all)

    def get_stats(self):
        lookups = self._counts["hits"] + self._counts["misses"]
        return {
            "entries": len(self._all),
            **self._counts,
            "hit_rate": self._counts["hits"] / lookups if lookups else 0.0,
            "bytes": 0,
        }

    def sweep(self):
        return 0


class Tier(Cache):
    def __init__(self, store, max_size, default_ttl, *, clock=None, **options):
        super().__init__(max_size, default_ttl, clock=clock)
        self._store = store
        self._seen: dict[str, int] = {}

    def _live(self, key):
        if key in self._seen and self._seen[key] != self.observe(key):
            self._all.pop(key, None)
            del self._seen[key]
        return super()._live(key)

    def observe(self, key):
        return None if self._store is None else self._store._share.clocks.get(key, 0)

    def admit(self, key, value, observed, record, ttl):
        # A record that a put returned carries the clock of that put; one that was read does, too.
        if self.observe(key) != record.clock:
            return False
        self.set(key, value, ttl)
        if key in self._all:
            self._seen[key] = record.clock
            at = self._all[key][1]
            ends = [one for one in (at, record.expires_at) if one]
            self._all[key] = (value, min(ends) if ends else None)
        return True

    def pin(self, key, value, ttl):
        self._seen.pop(key, None)
        self.set(key, value, ttl)

    def clear(self):
        self._seen.clear()
        return super().clear()


class FrameSink:
    def __init__(self):
        self._parts: list[bytes] = []

    def write(self, data):
        self._parts.append(bytes(data))
        return len(self._parts[-1])

    def parts(self):
        return self._parts


FrameSource = io.BytesIO
