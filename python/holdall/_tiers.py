"""What every method of `StorageManager` stands on: memory over a store, and types in memory."""

from __future__ import annotations

import copy as copying
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, NoReturn

from holdall._arguments import (
    check_choice,
    check_flag,
    check_key,
    check_limits,
    check_seconds,
    check_ttl,
    wrong_type,
)
from holdall._blob_upgrade import Model
from holdall._cached import POLICIES
from holdall._core import BlobMetadata, ConflictError, HoldallError, ManualClock, Tier
from holdall._driver import AsyncDriver, Driver
from holdall._messages import not_copied, told
from holdall._sentinels import DEFAULT, MISSING, Default
from holdall._single_flight import SingleFlight
from holdall.blob_manager import BlobManager
from holdall.errors import (
    DeserializationError,
    InvalidArgumentError,
    SerializationError,
    during,
)
from holdall.formats._imports import complete
from holdall.types import Compression, Durability, Eviction, OnCorrupt, Policy, StrPath, Trust, Ttl


class Held(NamedTuple):
    """A value in memory that was read as a type which its class alone does not tell."""

    model_class: Any
    value: Any


class StorageCore:
    """A `BlobManager`, the memory over it, and the loads under way."""

    _driver: ClassVar[Driver] = AsyncDriver()
    _blob_class: ClassVar[type[BlobManager]] = BlobManager

    def __init__(
        self,
        base_path: StrPath | None = None,
        *,
        max_size: int | Default = DEFAULT,
        default_ttl: Ttl = DEFAULT,
        max_bytes: int | None = None,
        policy: Policy = "w-tinylfu",
        copy: bool = False,
        external_check: float = 1.0,
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
            base_path: See `BlobManager`, like all that is not named here.
            max_size: The most entries in memory; left out, `CACHE_MAX_SIZE`, else 1,000. With
                `CACHE_ENABLED=false` memory is always empty.
            default_ttl: Seconds or a `timedelta` that a copy in memory is used; left out,
                `CACHE_DEFAULT_TTL`, else 3,600. The disk has no default.
            max_bytes: The most bytes in memory, as stored.
            policy: Which entry leaves a full memory: `"w-tinylfu"` keeps what is used often or
                lately, in shares that follow the workload; `"s3-fifo"`, `"lru"` and `"fifo"`
                need less memory for each entry.
            copy: Whether memory holds copies and hands out copies.
            external_check: Seconds until memory notices that another program, not holdall, has
                changed a file.
            durability: See `BlobManager`.
            compression: See `BlobManager`.
            trust: See `BlobManager`.
            signing_key: See `BlobManager`.
            allow_classes: See `BlobManager`.
            max_value_bytes: See `BlobManager`.
            inline_below: See `BlobManager`.
            on_corrupt: See `BlobManager`.
            allow_network_fs: See `BlobManager`.
            lock_timeout: See `BlobManager`.
            max_entries: See `BlobManager`; the disk, not memory.
            max_disk_bytes: See `BlobManager`.
            eviction: See `BlobManager`; a hit in memory is a use too.
            clean_every: See `BlobManager`.
            clock: See `BlobManager`.

        Raises:
            InvalidArgumentError: A TTL, a limit or a word is not allowed.
        """
        check_choice("policy", policy, POLICIES)
        check_limits(max_size=max_size, max_bytes=max_bytes)
        check_flag("copy", copy)
        check_seconds("external_check", external_check)
        self._blobs = self._blob_class(
            base_path,
            durability=durability,
            compression=compression,
            trust=trust,
            signing_key=signing_key,
            allow_classes=allow_classes,
            max_value_bytes=max_value_bytes,
            inline_below=inline_below,
            on_corrupt=on_corrupt,
            allow_network_fs=allow_network_fs,
            lock_timeout=lock_timeout,
            max_entries=max_entries,
            max_disk_bytes=max_disk_bytes,
            eviction=eviction,
            clean_every=clean_every,
            clock=clock,
        )
        self._copy = copy
        self._max_size: int | Default = max_size
        self._default_ttl: Ttl = check_ttl(default_ttl, "make a storage manager")
        self._options: dict[str, Any] = {
            "max_bytes": max_bytes,
            "policy": policy,
            "external_check": external_check,
            "clock": clock,
        }
        self._made: dict[str, Tier] = {}
        self._tier: Tier | None = None
        # Finds plain hits, where an awaited function of the extension does not do that.
        self._hit: Callable[[str], Any] | None = None
        self._on_disk = True
        self._flights = SingleFlight()

    @property
    def base_path(self) -> Path:
        """The folder of the store, see `BlobManager.base_path`."""
        return self._blobs.base_path

    @property
    def blobs(self) -> BlobManager:
        """The disk below: `keys`, `metadata`, `touch`, `rename`, `evict`, `expire` and the rest.

        What is changed there, memory sees at its next `get`; a loader of `get_or_set` that runs
        meanwhile does not. It is closed with the manager.
        """
        return self._blobs

    def __reduce__(self) -> NoReturn:
        """Managers stay where they are."""
        raise not_copied(self)

    def __repr__(self) -> str:
        """The class and the folder, if it is known without reading settings."""
        return repr(self._blobs).replace(type(self._blobs).__name__, type(self).__name__, 1)

    async def _memory(self, operation: str, key: str | None = None) -> Tier:
        """The memory; the first call reads the settings and makes the store's handle."""
        if self._tier is not None:
            return self._tier
        settings = await self._blobs._ready(operation, key)
        on_disk = settings.blob_storage_enabled
        store = await self._blobs._open(operation, key) if on_disk else None
        size = settings.cache_max_size if self._max_size is DEFAULT else self._max_size
        ttl = settings.cache_default_ttl if self._default_ttl is DEFAULT else self._default_ttl
        tier = Tier(store, size if settings.cache_enabled else 0, ttl, **self._options)
        # Two threads may come here at once: the first to put its memory down is right.
        self._on_disk = store is not None
        self._tier = self._made.setdefault("tier", tier)
        self._warm(self._tier)
        return self._tier

    def _warm(self, tier: Tier) -> None:
        """Replaces `get` by one of the extension, where that is faster."""

    # -- memory only ----------------------------------------------------------------------------

    async def cache_get(self, key: str, default: Any = None, *, copy: bool | None = None) -> Any:
        """What memory holds, or `default`; the disk is not asked."""
        tier = await self._memory("get", check_key(key, "get"))
        value = tier.get(key, MISSING)
        if value is MISSING:
            return default
        return self._out(value.value if isinstance(value, Held) else value, copy)

    async def cache_set(
        self, key: str, value: Any, ttl: Ttl = DEFAULT, *, copy: bool | None = None
    ) -> None:
        """Keeps a value in this process's memory alone, for `ttl` seconds or a `timedelta`."""
        ttl = check_ttl(ttl, "set", key)
        tier = await self._memory("set", check_key(key, "set"))
        tier.pin(key, self._in(value, copy, key), ttl)

    async def cache_delete(self, key: str) -> bool:
        """Removes an entry from memory; the disk keeps its value."""
        tier = await self._memory("delete", check_key(key, "delete"))
        if not self._on_disk:
            # It was the only copy: what is being loaded is older.
            await self._driver.overtake(self._flights, ("make", key))
        return tier.delete(key)

    # -- reading --------------------------------------------------------------------------------

    async def _ordinary(
        self,
        looked: bool,
        key: str,
        default: Any = None,
        *,
        model_class: Any = None,
        copy: bool | None = None,
        upgrade: Callable[[Any], Any] | None = None,
        write_back: bool = False,
    ) -> Any:
        """`get` of what is no plain hit; `looked` says that this was found out just now."""
        check_key(key, "get")
        model = Model.checked(model_class, upgrade, write_back, "get", key)
        value = await self._get(key, model, looked)
        return default if value is MISSING else self._out(value, copy)

    async def _get(self, key: str, model: Model, looked: bool = False) -> Any:
        """The value from memory, else from the disk; `MISSING` if there is none.

        A look into memory that was counted already (`looked`) is not counted again. What memory has
        as the model asked for needs no upgrade.
        """
        model_class = model.model_class
        tier = self._tier
        if tier is None:
            tier = await self._memory("get", key)
        value = hit(tier.peek if looked else tier.get, key, model_class)
        if value is not MISSING:
            return value
        if self._on_disk:
            observed = tier.observe(key)

            async def read() -> Any:
                value, record = await self._blobs._read_model(key, None, model, missing_ok=True)
                if record is not None:
                    tier.admit(key, _held(value, model_class), observed, record, DEFAULT)
                return value

            if observed is None:
                # Somebody writes: a read that began before that is not for those who come after.
                value = await read()
            else:
                as_what = (_identity(model_class), _identity(model.upgrade), model.write_back)
                flight = ("read", key, as_what, observed)
                value = await self._driver.share(self._flights, flight, read)
        if value is MISSING and model_class is not None:
            # Memory alone may have it, as another type.
            value = tier.peek(key, MISSING)
            value = value.value if isinstance(value, Held) else value
            if value is not MISSING:
                value = validated(value, model_class, key)
        return value

    async def _read_many(
        self, tier: Tier, keys: list[str], model: Model, errors: dict[str, HoldallError]
    ) -> dict[str, Any]:
        """Reads what memory lacks, in one call of the engine, and admits it."""
        store = await self._blobs._open("get")
        observed = [tier.observe(key) for key in keys]
        results = await self._blobs._wait(store.get_many(keys, None))
        found: dict[str, Any] = {}
        for key, seen, result in zip(keys, observed, results, strict=True):
            if result is None:
                continue
            try:
                if isinstance(result, HoldallError):
                    raise result
                value, record = await self._blobs._upgraded(
                    result, model.options, model.write_back, "get"
                )
            except HoldallError as error:
                errors[key] = error
                continue
            tier.admit(key, _held(value, model.model_class), seen, record, DEFAULT)
            found[key] = value
        return found

    def _check_terms(self, tier: Tier, key: str, if_absent: bool, if_match: str | None) -> None:
        """Conditions, where memory is all there is: no value in it has an etag."""
        if if_match is not None:
            cause = "values in memory alone have no etag"
            raise told(ConflictError, cause, "set it without if_match", operation="set", key=key)
        if if_absent and tier.contains(key):
            cause = "there is a value under this key already"
            raise told(ConflictError, cause, "set it without if_absent", operation="set", key=key)

    def _admit(self, tier: Tier, key: str, value: Any, seen: int | None, at: BlobMetadata) -> None:
        """Puts what was just written into memory."""
        tier.admit(key, value, seen, at, DEFAULT)

    # -- copies ---------------------------------------------------------------------------------

    def _out(self, value: Any, copy: bool | None) -> Any:
        """What a caller gets for what memory holds."""
        if copy is None:
            copy = self._copy
        elif not isinstance(copy, bool):
            raise wrong_type("copy", copy, "a bool", None)
        return copying.deepcopy(value) if copy else value

    def _in(self, value: Any, copy: bool | None, key: str) -> Any:
        """What memory holds for what a caller gave."""
        try:
            return self._out(value, copy)
        except InvalidArgumentError:
            raise
        except Exception as error:
            raise SerializationError(
                f"a {type(value).__name__} cannot be copied ({type(error).__name__})",
                "set it with copy=False, or give it a __deepcopy__",
                operation="set",
                key=key,
            ) from error


def hit(look: Callable[[str, Any], Any], key: str, model_class: Any) -> Any:
    """What memory has under a key, if it is of the type asked for; else `MISSING`."""
    value = look(key, MISSING)
    if isinstance(value, Held):
        same = model_class is None or value.model_class == model_class
        return value.value if same else MISSING
    return value if model_class is None or fits(value, model_class) else MISSING


def fits(value: Any, model_class: Any) -> bool:
    """Whether an object is what reading it as the type would produce, as far as its class tells."""
    return type(value) is model_class


def _held(value: Any, model_class: Any) -> Any:
    """A value as memory holds it: with its type, where its class does not tell."""
    return value if model_class is None or fits(value, model_class) else Held(model_class, value)


def validated(value: Any, model_class: Any, key: str) -> Any:
    """A value that only memory has, as the type asked for."""
    complete("pydantic_core")
    from pydantic_core import ValidationError

    from holdall.formats.json import adapter

    try:
        return adapter(model_class).validate_python(value)
    except ValidationError as error:
        raise DeserializationError(
            f"the value in memory does not fit {getattr(model_class, '__name__', model_class)}",
            "see __cause__ for the fields",
            operation="get",
            key=key,
        ) from error
    except HoldallError as error:
        during(error, "get", key)
        raise


def _identity(model_class: Any) -> Hashable:
    """A word for a type that tells it from others while a load is under way."""
    try:
        hash(model_class)
    except TypeError:
        return id(model_class)
    return (model_class,)
