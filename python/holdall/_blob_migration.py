"""The part of `BlobManager` that brings values to another format, compression or model."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any, Literal

from holdall._arguments import (
    check_call,
    check_choice,
    check_flag,
    check_key,
    check_tags,
    check_text,
)
from holdall._blob_upkeep import BlobUpkeep, described
from holdall._blobs import length, named
from holdall._core import BlobMetadata, BlobNotFoundError, ConflictError, HoldallError
from holdall._messages import told
from holdall._sentinels import MISSING
from holdall.errors import InvalidArgumentError
from holdall.formats import Parts
from holdall.types import Compression, Format, MigrationReport

_OPERATION = "migrate"
_TOGETHER = 16
"""Values that are converted at a time."""
_PAGE = 256
_ATTEMPTS = 8
"""How often a value is looked at anew that somebody else has saved meanwhile."""


class BlobMigration(BlobUpkeep):
    """Migrations, while others use the store."""

    async def migrate(self, key: str, to_format: Format) -> BlobMetadata:
        """Writes a value anew in another format, unless somebody else changes it meanwhile.

        Tags, metadata and the time of expiry stay. A model comes back as plain data on the way.

        Raises:
            BlobNotFoundError: There is no value.
            ConflictError: It was changed meanwhile; the change stands.
            SerializationError: The other format does not take the value; it stays as it is.
        """
        check_key(key, _OPERATION)
        target = named(to_format, _OPERATION, key)
        value, record = await self._read(key, None, {}, False)
        if record is None or record.format == target:
            return await self.metadata(key)
        name, parts = await self._encoded(value, to_format, {}, _OPERATION, key)
        return await self._replace(record, name, parts)

    async def migrate_all(
        self,
        to_format: Format | None = None,
        *,
        compression: Compression | Literal["none"] | None = None,
        from_format: Format | None = None,
        prefix: str = "",
        tag: str | None = None,
        model_class: Any = None,
        upgrade: Callable[[Any], Any] | None = None,
        dry_run: bool = False,
        progress: Callable[[int, int], object] | None = None,
    ) -> MigrationReport:
        """Brings all or some values to another format, compression or model; others may go on.

        Every value is replaced as by a save, whole or not at all, and only if it is still the one
        that was converted: what somebody else saves meanwhile stays theirs, and is looked at
        again. Tags, metadata, the time of creation and what is left of its life stay. One that
        cannot be converted stays as it is and is in the report. Stopped anywhere, also by a
        cancellation, it is run again and passes over what is done.

        Between formats that Rust reads, and for compression alone, no value comes to Python.

        Args:
            to_format: The format that they get; left out, each keeps its own.
            compression: `"zstd"`, `"lz4"` or `"none"`: how they are compressed where that makes
                them smaller; left out, each stays as it is.
            from_format: Only values of this format.
            prefix: Only keys that start so.
            tag: Only values with this tag.
            model_class: Brings JSON values to this model: each is read as plain data, given to
                `upgrade`, validated, and written as the model writes itself if that differs.
            upgrade: Turns plain data of an older model into that of the current one. It has to
                leave data of the current one as it is.
            dry_run: Convert, and write nothing.
            progress: Called now and then with the number of values looked at and of those
                converted.

        Raises:
            InvalidArgumentError: Nothing is asked for, or a model together with a format.
            StorageIOError: The keys cannot be listed.
        """
        check_call("upgrade", upgrade, _OPERATION)
        check_call("progress", progress, _OPERATION)
        check_flag("dry_run", dry_run, _OPERATION)
        check_text("prefix", prefix, _OPERATION)
        if tag is not None:
            check_tags((tag,), _OPERATION)
        check_choice("compression", compression, (None, "zstd", "lz4", "none"))
        target = None if to_format is None else named(to_format, _OPERATION, None)
        origin = None if from_format is None else named(from_format, _OPERATION, None)
        _check_asked(target, compression, model_class, upgrade)
        if model_class is not None:
            # Models are kept as json alone.
            done = _Done(dry_run, progress)
            await self._remodel(done, prefix, tag, model_class, upgrade)
            return done.report()
        store = await self._open(_OPERATION)
        work = store.migration(prefix, tag, origin, target, compression, dry_run)
        done = _Done(dry_run, progress)
        is_more = True
        while is_more:
            is_more, checked, converted, foreign = await self._wait(work.step())
            if target is not None:
                await self._each(foreign, lambda key: self._convert(done, key, target))
            done.tell(checked, converted)
        return done.report(*work.report())

    async def _each(self, keys: Iterable[str], work: Callable[[str], Awaitable[None]]) -> None:
        """Some at a time; without an event loop one after the other."""
        keys = list(keys)
        for start in range(0, len(keys), _TOGETHER):
            group = keys[start : start + _TOGETHER]
            if self._driver.blocking:
                for key in group:
                    await work(key)
            else:
                import asyncio

                await asyncio.gather(*map(work, group))

    async def _convert(self, done: _Done, key: str, target: str) -> None:
        """Converts one value here, for formats that only Python reads."""

        async def once() -> None:
            value, record = await self._read(key, None, {}, True)
            if record is None or record.format == target:
                done.unchanged += record is not None
                return
            name, parts = await self._encoded(value, target, {}, _OPERATION, key)
            await done.place(self, record, name, parts)

        await done.attempt(key, once)

    async def _remodel(
        self,
        done: _Done,
        prefix: str,
        tag: str | None,
        model_class: Any,
        upgrade: Callable[[Any], Any] | None,
    ) -> None:
        store = await self._open(_OPERATION)
        after: str | None = None
        while True:
            listed = (
                store.records(prefix, after, _PAGE)
                if tag is None
                else store.tagged(tag, after, _PAGE)
            )
            page = await self._wait(listed)
            wanted = [
                record.key
                for record in page
                if record.key.startswith(prefix) and record.format == "json"
            ]
            await self._each(wanted, lambda key: self._renew(done, key, model_class, upgrade))
            done.checked += len(wanted)
            done.tell(done.checked, 0)
            if len(page) < _PAGE:
                return
            after = page[-1].key

    async def _renew(
        self, done: _Done, key: str, model_class: Any, upgrade: Callable[[Any], Any] | None
    ) -> None:
        async def once() -> None:
            store = await self._open(_OPERATION)
            found = await self._wait(store.get(key, None, True))
            if found is None:
                return
            payload, record = found
            options = {"model_class": model_class, "upgrade": upgrade}
            model = self._decode(payload, record.format, options, _OPERATION, key)
            name, parts = await self._encoded(model, record.format, {}, _OPERATION, key)
            if parts == payload:
                done.unchanged += 1
            else:
                await done.place(self, record, name, parts)

        await done.attempt(key, once)

    async def _upgraded(
        self,
        key: str,
        format: str | None,
        options: dict[str, Any],
        default: Any,
        write_back: bool,
    ) -> Any:
        """Loads a value by way of `upgrade`; writes it back if it became another one."""
        name = None if format is None else named(format, "load", key)
        store = await self._open("load")
        found = await self._wait(store.get(key, name, default is not MISSING))
        if found is None:
            return default
        payload, record = found
        value = self._decode(payload, record.format, options, "load", key)
        if write_back:
            name, parts = await self._encoded(value, record.format, {}, "load", key)
            if parts != payload:
                # Somebody else may have saved or deleted it: theirs stands.
                with suppress(ConflictError, BlobNotFoundError):
                    await self._replace(record, name, parts)
        return value

    async def _replace(self, record: BlobMetadata, name: str, parts: Parts) -> BlobMetadata:
        """Places a value in place of the one that it was made of, and of no other."""
        store = await self._open(_OPERATION)
        noted = described(record.metadata, record.key) if record.metadata else None
        return await self._wait(
            store.put(
                record.key,
                name,
                parts,
                ttl=self._remaining(record),
                tags=record.tags,
                metadata=noted,
                if_match=record.etag,
            )
        )


class _Done:
    """Counts, and what failed."""

    def __init__(self, dry_run: bool, progress: Callable[[int, int], object] | None) -> None:
        self.checked = self.converted = self.unchanged = self.before = self.after = 0
        self.failed: dict[str, HoldallError] = {}
        self._dry_run = dry_run
        self._progress = progress

    async def place(
        self, manager: BlobMigration, record: BlobMetadata, name: str, parts: Parts
    ) -> None:
        size = length(parts)
        if not self._dry_run:
            size = (await manager._replace(record, name, parts)).size
        self.converted += 1
        self.before += record.size
        self.after += size

    async def attempt(self, key: str, once: Callable[[], Awaitable[None]]) -> None:
        """Again, if somebody else has changed the value meanwhile; what fails is noted."""
        for attempt in range(_ATTEMPTS):
            try:
                await once()
                return
            except ConflictError as error:
                if attempt == _ATTEMPTS - 1:
                    self.failed[key] = error
            except HoldallError as error:
                self.failed[key] = error
                return

    def tell(self, checked: int, elsewhere: int) -> None:
        if self._progress is not None:
            self._progress(checked, elsewhere + self.converted)

    def report(
        self,
        checked: int = 0,
        converted: int = 0,
        unchanged: int = 0,
        before: int = 0,
        after: int = 0,
        failed: dict[str, HoldallError] | None = None,
    ) -> MigrationReport:
        return MigrationReport(
            checked + self.checked,
            converted + self.converted,
            unchanged + self.unchanged,
            before + self.before,
            after + self.after,
            {**(failed or {}), **self.failed},
        )


def _check_asked(target: Any, compression: Any, model_class: Any, upgrade: Any) -> None:
    remedy = "name to_format=, compression= or model_class="
    if target is None and compression is None and model_class is None:
        what = "upgrade= needs a model_class=" if upgrade is not None else "nothing is asked for"
        raise told(InvalidArgumentError, what, remedy, operation=_OPERATION)
    if model_class is not None and (target is not None or compression is not None):
        what = "a model and a format or compression cannot be asked for at once"
        raise told(InvalidArgumentError, what, "migrate twice", operation=_OPERATION)
    if upgrade is not None and model_class is None:
        what = "upgrade= needs a model_class="
        raise told(InvalidArgumentError, what, "name the current model", operation=_OPERATION)
