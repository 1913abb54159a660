"""`BlobManager`: objects on disk, one plain file for each key."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias, TypeVar, overload

from holdall._arguments import (
    check_call,
    check_flag,
    check_key,
    check_keys,
    check_mapping,
    check_tags,
    check_terms,
    check_ttl,
)
from holdall._blob_health import BlobHealth
from holdall._blob_migration import BlobMigration
from holdall._blob_signing import BlobSigning
from holdall._blob_streams import BlobStreams
from holdall._blob_upgrade import Model
from holdall._blob_upkeep import described
from holdall._blobs import named
from holdall._core import BlobMetadata, BlobNotFoundError, HoldallError
from holdall._keeping import writing
from holdall._sentinels import DEFAULT, MISSING, Missing
from holdall.errors import BatchError
from holdall.formats import Parts
from holdall.types import Durability, Format, Ttl

__all__ = ["BlobManager"]

D = TypeVar("D")
T = TypeVar("T")
Upgrade: TypeAlias = Callable[[Any], Any]

_LOAD_GROUP = 256


class BlobManager(BlobMigration, BlobStreams, BlobSigning, BlobHealth):
    """Keeps objects on disk: `await save(key, value)`, `await load(key)`.

    Each value is one plain file that `json.load`, `pickle.load`, `joblib.load` or `numpy.load`
    opens. A reader sees the old value or the new one, whole, in any process and after a crash.
    Making a manager touches nothing; the store is opened by the first call that needs it. Calls
    may be made from any number of tasks, event loops and threads. A call that is cancelled
    takes effect whole or not at all, and never after a later call on the same key.

    >>> import asyncio, tempfile
    >>> async def main(folder: str) -> None:
    ...     async with BlobManager(folder) as storage:
    ...         await storage.save("users/42", {"name": "Ada"})
    ...         print(await storage.load("users/42"))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     asyncio.run(main(folder))
    {'name': 'Ada'}
    """

    async def __aenter__(self) -> BlobManager:
        """The manager itself; nothing is opened yet."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Closes the manager."""
        await self.close()

    # -- save -----------------------------------------------------------------------------------

    async def save(
        self,
        key: str,
        value: Any,
        format: Format | None = None,
        *,
        ttl: Ttl = DEFAULT,
        tags: Iterable[str] = (),
        metadata: Mapping[str, Any] | None = None,
        custom_encoder: Callable[[Any], Any] | None = None,
        if_absent: bool = False,
        if_match: str | None = None,
        durability: Durability | None = None,
    ) -> BlobMetadata:
        """Writes a value, in place of the one that is there in whatever format.

        The value is read when the call is first awaited; of several hundred saves that are started
        at once, the later ones read theirs when it is their turn. A save that fails leaves the old
        value, unless the error says that the new one is in place: then only the last flush of a
        save with `durability="disk"` has failed.

        Args:
            key: Any non-empty `str` without a NUL.
            value: What to keep.
            format: How; left out, chosen by type: models, dataclasses and plain data as `json`,
                `str` as `string`, bytes-like objects as `bytes`, numpy arrays as `npy`.
            ttl: Seconds or a `timedelta` until it expires; left out or `None`, never.
            tags: Words to find or evict it by.
            metadata: A dict of plain data that is kept beside the value.
            custom_encoder: For `custom_json`: the `default=` of `json.dumps`.
            if_absent: Only if there is no value under the key.
            if_match: Only if the value there has this etag.
            durability: `"process"` or `"disk"`; left out, the manager's.

        Raises:
            SerializationError: The value cannot be written in the format.
            PickleRefusedError: It is of a class that `allow_classes` does not have.
            UnknownFormatError: No such format, or none that is safe fits the type.
            ConflictError: `if_absent` or `if_match` does not hold.
            InvalidKeyError, InvalidArgumentError: Before anything is touched.
            StorageIOError: The disk refused.
        """
        check_key(key, "save")
        ttl = check_ttl(ttl, "save", key)
        words = check_tags(tags, "save", key)
        check_terms("save", custom_encoder, if_absent, if_match, durability)
        options = {} if custom_encoder is None else {"custom_encoder": custom_encoder}
        window = self._driver.window()
        if window is not None and not window.enter():
            await window.turn()
        try:
            name, parts = await self._encoded(value, format, options, "save", key)
            about = None if metadata is None else described(metadata, key)
            store = self._store or await self._open("save", key)
            with writing(key):
                return await self._wait(
                    store.put(
                        key,
                        name,
                        parts,
                        ttl=ttl,
                        tags=words,
                        metadata=about,
                        if_absent=if_absent,
                        if_match=if_match,
                        durability=durability,
                    )
                )
        finally:
            if window is not None:
                window.leave()

    async def save_pydantic_as_json(self, value: Any, key: str) -> BlobMetadata:
        """Writes a pydantic model, or whatever `json` takes, as JSON: value first; see `save`."""
        return await self.save(key, value, "json")

    async def save_with_pickle(self, value: Any, key: str) -> BlobMetadata:
        """Writes an object as a signed pickle: value first, then key; see `save`."""
        return await self.save(key, value, "pickle")

    async def save_with_joblib(self, value: Any, key: str) -> BlobMetadata:
        """Writes arrays, models and what holds them with joblib: value first; see `save`."""
        return await self.save(key, value, "joblib")

    async def save_as_string(self, text: str, key: str) -> BlobMetadata:
        """Writes a text as UTF-8: text first, then key, unlike `save`."""
        return await self.save(key, text, "string")

    async def save_many(
        self,
        items: Mapping[str, Any],
        format: Format | None = None,
        *,
        ttl: Ttl = DEFAULT,
        tags: Iterable[str] = (),
        custom_encoder: Callable[[Any], Any] | None = None,
        durability: Durability | None = None,
    ) -> dict[str, BlobMetadata]:
        """Writes several values with few commits; each one as `save` would.

        Returns:
            The record of each key.

        Raises:
            BatchError: Some failed: `.errors` by key; `.succeeded` has the records of the others.
        """
        ttl = check_ttl(ttl, "save")
        words = check_tags(tags, "save")
        check_terms("save", custom_encoder, False, None, durability)
        check_mapping("items", items, "save")
        store = await self._open("save")
        saved: dict[str, BlobMetadata] = {}
        errors: dict[str, HoldallError] = {}

        async def place(group: list[tuple[str, str, Parts]]) -> None:
            work = store.put_many(group, ttl=ttl, tags=words, durability=durability)
            for (key, _, _), result in zip(group, await self._wait(work), strict=True):
                if isinstance(result, HoldallError):
                    errors[key] = result
                else:
                    saved[key] = result

        good: list[tuple[str, Any]] = []
        for key, value in items.items():
            try:
                good.append((check_key(key, "save"), value))
            except HoldallError as error:
                errors[key] = error
        options = {"custom_encoder": custom_encoder}
        await self._encoded_many(good, format, options, place, errors)
        if errors:
            raise BatchError("save", saved, errors)
        return saved

    # -- load -----------------------------------------------------------------------------------

    @overload
    async def load(
        self,
        key: str,
        format: Format | None = None,
        *,
        model_class: type[T],
        default: Missing = ...,
        custom_decoder: Callable[[dict[str, Any]], Any] | None = None,
        mmap: bool = False,
        upgrade: Upgrade | None = None,
        write_back: bool = False,
    ) -> T: ...
    @overload
    async def load(
        self,
        key: str,
        format: Format | None = None,
        *,
        model_class: type[T],
        default: D,
        custom_decoder: Callable[[dict[str, Any]], Any] | None = None,
        mmap: bool = False,
        upgrade: Upgrade | None = None,
        write_back: bool = False,
    ) -> T | D: ...
    @overload
    async def load(
        self,
        key: str,
        format: Format | None = None,
        *,
        model_class: Any = None,
        default: Any = ...,
        custom_decoder: Callable[[dict[str, Any]], Any] | None = None,
        mmap: bool = False,
        upgrade: Upgrade | None = None,
        write_back: bool = False,
    ) -> Any: ...
    async def load(
        self,
        key: str,
        format: Format | None = None,
        *,
        model_class: Any = None,
        default: Any = MISSING,
        custom_decoder: Callable[[dict[str, Any]], Any] | None = None,
        mmap: bool = False,
        upgrade: Upgrade | None = None,
        write_back: bool = False,
    ) -> Any:
        """Reads a value, checked.

        `await load(key) or fallback` raises for a missing key and takes stored falsy values for
        missing ones; `await load(key, default=fallback)` does neither.

        Args:
            key: The key.
            format: The format that it must have; left out, the one it was saved in.
            model_class: For `json`: what to make of it, anything that pydantic's `TypeAdapter`
                takes: a model, `list[Recipe]`, a dataclass, a `TypedDict`. Left out: plain data.
                For `pickle` and `joblib`: the class that the object has to be of.
            default: What to return if there is no value; left out, that is an error.
            custom_decoder: For `custom_json`: the `object_hook=` of `json.loads`.
            mmap: For `npy`: map the file read-only instead of reading it. Its checksum is then
                not checked, and a program that shortens the file makes the process end with
                SIGBUS.
            upgrade: For `json` with `model_class`: turns the plain data of an older model into that
                of the current one, before it is validated. Called at every load.
            write_back: Save the value as the model writes itself, if that is other than what is
                stored and nobody has changed it meanwhile. Where it cannot be saved, that is a
                warning in the log, and the load gives what it has read.

        Raises:
            BlobNotFoundError: There is no value (a `FileNotFoundError` and a `KeyError`).
            FormatMismatchError: It is stored in another format.
            InvalidJSONError: It is not JSON (a `json.JSONDecodeError`).
            DeserializationError: It is not what was asked for; for a model, `__cause__` is
                pydantic's `ValidationError`.
            BlobCorruptError: The file is not what was saved.
            UntrustedPayloadError: A pickle that was not signed with this user's key, or
                (`PickleRefusedError`) that names what `allow_classes` does not have.
        """
        check_key(key, "load")
        if custom_decoder is not None:
            check_call("custom_decoder", custom_decoder, "load")
        if mmap is not False:
            check_flag("mmap", mmap, "load")
            try:
                return await self._map(key, format)
            except BlobNotFoundError:
                if default is MISSING:
                    raise
                return default
        options: dict[str, Any] = {}
        if model_class is not None or custom_decoder is not None:
            options = {"model_class": model_class, "custom_decoder": custom_decoder}
        if upgrade is not None or write_back is not False:
            model = Model.checked(model_class, upgrade, write_back, "load", key)
            value, _ = await self._read_model(key, format, model, default is not MISSING)
            return default if value is MISSING else value
        if self._store is not None:
            name = None if format is None else named(format, "load", key)
            found = self._store.cached(key, name)
            if found is not None:
                return self._decode(*found, options, "load", key)
        value, _ = await self._read(key, format, options, default is not MISSING)
        return default if value is MISSING else value

    async def load_many(
        self,
        keys: Iterable[str],
        format: Format | None = None,
        *,
        model_class: Any = None,
        custom_decoder: Callable[[dict[str, Any]], Any] | None = None,
        upgrade: Upgrade | None = None,
        write_back: bool = False,
    ) -> dict[str, Any]:
        """Reads several values, each as `load` would; a missing one is left out.

        Returns:
            What was found, in the order asked.

        Raises:
            BatchError: Some could not be read: `.errors` by key; `.succeeded` has the others.
        """
        wanted = check_keys(keys, "load")
        check_call("custom_decoder", custom_decoder, "load")
        options = {"model_class": model_class, "custom_decoder": custom_decoder}
        if Model.checked(model_class, upgrade, write_back, "load").upgrade is not None:
            options["upgrade"] = upgrade
        name = None if format is None else named(format, "load", None)
        store = await self._open("load")
        found: dict[str, Any] = {}
        errors: dict[str, HoldallError] = {}
        for start in range(0, len(wanted), _LOAD_GROUP):
            group = wanted[start : start + _LOAD_GROUP]
            results = await self._wait(store.get_many(group, name))
            for key, result in zip(group, results, strict=True):
                try:
                    if isinstance(result, HoldallError):
                        raise result
                    if result is not None:
                        value, _ = await self._upgraded(result, options, write_back, "load")
                        found[key] = value
                except HoldallError as error:
                    errors[key] = error
        if errors:
            raise BatchError("load", found, errors)
        return found


# An argument that there is none of is told with the name that everybody knows.
BlobManager.__init__.__qualname__ = "BlobManager.__init__"
