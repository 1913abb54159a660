"""The part of `BlobManager` that puts a value in the place of the one that it was made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from holdall._arguments import check_upgrade
from holdall._blob_upkeep import BlobUpkeep, described
from holdall._blobs import named
from holdall._core import BlobMetadata, BlobNotFoundError, ConflictError, HoldallError
from holdall._logging import LOGGER
from holdall._sentinels import MISSING
from holdall.formats import Parts
from holdall.types import Compression


class Model(NamedTuple):
    """As what a value is read, and how data of an older model becomes that."""

    model_class: Any = None
    upgrade: Callable[[Any], Any] | None = None
    write_back: bool = False

    @classmethod
    def checked(
        cls, model_class: Any, upgrade: Any, write_back: Any, operation: str, key: str | None = None
    ) -> Model:
        """The arguments of a load, if they fit together."""
        if upgrade is not None or write_back is not False:
            check_upgrade(upgrade, write_back, model_class, operation, key)
        return cls(model_class, upgrade, write_back)

    @property
    def is_upgraded(self) -> bool:
        """Whether a load has more to do than to read."""
        return self.upgrade is not None or self.write_back

    @property
    def options(self) -> dict[str, Any]:
        """What a codec is told."""
        if self.upgrade is None:
            return {"model_class": self.model_class}
        return {"model_class": self.model_class, "upgrade": self.upgrade}


PLAIN = Model()


class BlobUpgrade(BlobUpkeep):
    """Loads that upgrade, and what they write back."""

    async def _read_model(
        self, key: str, format: str | None, model: Model, missing_ok: bool
    ) -> tuple[Any, BlobMetadata | None]:
        """As `_read`; the record is that of what was written back, if anything was."""
        if not model.is_upgraded:
            return await self._read(key, format, model.options, missing_ok)
        name = None if format is None else named(format, "load", key)
        store = await self._open("load", key)
        found = await self._wait(store.get(key, name, missing_ok))
        if found is None:
            return MISSING, None
        return await self._upgraded(found, model.options, model.write_back, "load")

    async def _upgraded(
        self,
        found: tuple[bytes | bytearray, BlobMetadata],
        options: dict[str, Any],
        write_back: bool,
        operation: str,
    ) -> tuple[Any, BlobMetadata]:
        """The value of bytes that were read, written back if it became another one."""
        payload, record = found
        value = await self._decoded(payload, record, options, operation)
        return value, await self._written_back(found, value) if write_back else record

    async def _written_back(
        self, found: tuple[bytes | bytearray, BlobMetadata], value: Any
    ) -> BlobMetadata:
        """Saves a value if it is written otherwise than it was read; the record of what is there.

        Whoever reads has what he asked for: that it could not be saved is a warning.
        """
        payload, record = found
        try:
            name, parts = await self._encoded(value, record.format, {}, "write back", record.key)
            if parts != payload:
                return await self._replace(record, name, parts)
        except (ConflictError, BlobNotFoundError):
            # Somebody else has saved or deleted it: theirs stands.
            pass
        except HoldallError as error:
            LOGGER.warning("what a load has upgraded was not written back: %s", error)
        return record

    async def _replace(
        self,
        record: BlobMetadata,
        name: str,
        parts: Parts,
        compression: Compression | Literal["none"] | None = None,
    ) -> BlobMetadata:
        """Places a value in place of the one that it was made of, and of no other.

        It keeps its compression, unless another one is asked for.
        """
        store = await self._open("migrate", record.key)
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
                compression=compression or record.compression or "none",
                stays_inline=True,
            )
        )
