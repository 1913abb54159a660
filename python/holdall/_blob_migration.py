"""The part of `BlobManager` that brings values to another format, compression or model."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Literal

from holdall._arguments import check_flag, check_key, check_plain_call, check_tags, check_text
from holdall._blob_upgrade import BlobUpgrade
from holdall._blobs import length, named
from holdall._conversions import OPERATION, Asked, Done
from holdall._core import BlobMetadata, HoldallError, Migration, StorageIOError
from holdall.errors import MigrationStoppedError, is_full
from holdall.formats import Parts
from holdall.types import Compression, Format, MigrationReport

_TOGETHER = 16
"""Values that are converted at a time."""
_PAGE = 256


class BlobMigration(BlobUpgrade):
    """Migrations, while others use the store."""

    _is_part = False
    """Whether `migrate_all` is part of a migration of the process that started this one."""

    async def migrate(
        self,
        key: str,
        to_format: Format | None = None,
        *,
        compression: Compression | Literal["none"] | None = None,
        model_class: Any = None,
        upgrade: Callable[[Any], Any] | None = None,
    ) -> BlobMetadata:
        """Brings one value to another format, compression or model, as `migrate_all` does.

        Tags, metadata and the time of expiry stay. One that is as asked already stays as it is.

        Args:
            key: The key.
            to_format: The format that it gets; left out, it keeps its own.
            compression: `"zstd"`, `"lz4"` or `"none"`; left out, it stays as it is.
            model_class: The current model of a JSON value, see `migrate_all`.
            upgrade: See `migrate_all`.

        Raises:
            BlobNotFoundError: There is no value.
            ConflictError: It was changed meanwhile; the change stands.
            SerializationError: The other format does not take the value; it stays as it is.
            DeserializationError: It does not fit the model; it stays as it is.
            InvalidArgumentError: Nothing is asked for, or a model together with a format.
            StorageIOError: The disk refused; it stays as it is.
        """
        check_key(key, OPERATION)
        asked = Asked.checked(to_format, compression, model_class, upgrade, key)
        record, made = await self._become(key, asked, False)
        if record is None or made is None:
            return record or await self.metadata(key)
        return await self._replace(record, *made, compression)

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
        cancellation or a full disk, it is run again and passes over what is done. One migration
        at a time is at work in a store, in whatever process; a dry run may be beside it.

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
                leave data of the current one as it is. A plain function.
            dry_run: Convert, and write nothing.
            progress: Called now and then with two numbers, of values looked at and of those
                converted: `progress(checked, converted)`. (That of `verify` and `repair` gets one
                object.) A plain function.

        Raises:
            InvalidArgumentError: Nothing is asked for, or a model together with a format.
            MigrationStoppedError: The disk is full (a `StorageIOError`): `.report` says what is
                done, `.left` how many are not.
            StoreBusyError: Another migration is at work in the store.
            StorageIOError: The keys cannot be listed.
        """
        check_plain_call("progress", progress, OPERATION)
        check_flag("dry_run", dry_run, OPERATION)
        check_text("prefix", prefix, OPERATION)
        if tag is not None:
            check_tags((tag,), OPERATION)
        asked = Asked.checked(to_format, compression, model_class, upgrade, None)
        origin = None if from_format is None else named(from_format, OPERATION, None)
        done = Done(progress)
        store = await self._open(OPERATION)
        work = store.migration(
            prefix, tag, origin, asked.format, compression, dry_run, self._is_part
        )
        try:
            if model_class is None:
                return await self._all(done, work, asked, dry_run)
            # Models are kept as json alone.
            if origin in (None, "json"):
                await self._remodel(done, work, prefix, tag, asked, dry_run)
            return done.report()
        finally:
            work.end()

    async def _all(
        self, done: Done, work: Migration, asked: Asked, dry_run: bool
    ) -> MigrationReport:
        is_more, met = True, 0
        while is_more:
            try:
                is_more, checked, converted, foreign = await self._wait(work.step())
                met += len(foreign)
                if asked.format is not None:
                    await self._each(foreign, lambda key: self._convert(done, key, asked, dry_run))
            except StorageIOError as error:
                if not is_full(error):
                    raise
                report = done.report(*work.report())
                left = await self._left(work, met - done.ended)
                raise MigrationStoppedError(error, report, left) from error
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

                # Those that have begun end before the first that failed is told.
                results = await asyncio.gather(*map(work, group), return_exceptions=True)
                for result in results:
                    if isinstance(result, BaseException):
                        raise result

    async def _convert(self, done: Done, key: str, asked: Asked, dry_run: bool) -> None:
        """Converts one value here: for models, and for formats that only Python reads."""

        async def once() -> None:
            record, made = await self._become(key, asked, True)
            if record is None or made is None:
                # It is as asked, or somebody has removed it meanwhile.
                done.unchanged += 1
                return
            size = length(made[1])
            if not dry_run:
                size = (await self._replace(record, *made, asked.compression)).size
            done.place(record.size, size)

        await done.attempt(key, once)

    async def _become(
        self, key: str, asked: Asked, missing_ok: bool
    ) -> tuple[BlobMetadata | None, tuple[str, Parts] | None]:
        """The record of a value, and what it is to become; `None` if it stays as it is."""
        store = await self._open(OPERATION, key)
        if asked.format is not None:
            value, record = await self._read(key, None, {}, missing_ok)
            if record is None:
                return None, None
            if record.format != asked.format:
                return record, await self._encoded(value, asked.format, {}, OPERATION, key)
        found = await self._wait(store.get(key, None, missing_ok))
        if found is None:
            return None, None
        payload, record = found
        if asked.is_done(record):
            return record, None
        if asked.model.model_class is None:
            return record, (record.format, payload)
        model = await self._decoded(payload, record, asked.model.options, OPERATION)
        name, parts = await self._encoded(model, record.format, {}, OPERATION, key)
        return record, None if parts == payload else (name, parts)

    async def _remodel(
        self,
        done: Done,
        work: Migration,
        prefix: str,
        tag: str | None,
        asked: Asked,
        dry_run: bool,
    ) -> None:
        after, is_last = None, False
        while not is_last:
            wanted, after = await self._models(prefix, tag, after, _PAGE)
            is_last = after is None
            met, ended = len(wanted), done.ended
            try:
                await self._wait(work.begin())
                await self._each(wanted, lambda key: self._convert(done, key, asked, dry_run))
            except StorageIOError as error:
                if not is_full(error):
                    raise
                ended = done.ended - ended
                done.checked += ended
                left = met - ended
                while after is not None:
                    wanted, after = await self._models(prefix, tag, after, _PAGE)
                    left += len(wanted)
                raise MigrationStoppedError(error, done.report(), left) from error
            done.checked += met
            done.tell(done.checked, 0)

    async def _models(
        self, prefix: str, tag: str | None, after: str | None, most: int
    ) -> tuple[list[str], str | None]:
        """Keys of JSON values among the next ones, and where to go on; `None` at the end."""
        store = await self._open(OPERATION)
        listed = (
            store.records(prefix, after, most) if tag is None else store.tagged(tag, after, most)
        )
        page = await self._wait(listed)
        wanted = [
            record.key
            for record in page
            if record.key.startswith(prefix) and record.format == "json"
        ]
        return wanted, page[-1].key if len(page) == most else None

    async def _left(self, work: Migration, open_here: int) -> int | None:
        """How many values are not done; they are counted, and may be too many for a full disk."""
        try:
            return open_here + await self._wait(work.left())
        except HoldallError:
            return None
