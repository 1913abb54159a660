"""The part of `StorageManager` that gets and sets several values at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from holdall._arguments import check_key, check_keys, check_mapping, check_terms, check_ttl
from holdall._blob_upgrade import Model
from holdall._core import BlobMetadata, HoldallError
from holdall._sentinels import DEFAULT, MISSING
from holdall._tiers import StorageCore, hit
from holdall.errors import BatchError
from holdall.types import Durability, Format, Ttl


class StorageMany(StorageCore):
    """Batches."""

    async def get_many(
        self,
        keys: Iterable[str],
        *,
        model_class: Any = None,
        copy: bool | None = None,
        upgrade: Callable[[Any], Any] | None = None,
        write_back: bool = False,
    ) -> dict[str, Any]:
        """What was found, in the order asked; what memory lacks is read from the disk together.

        Each value is what `get` gives with the same arguments. A load of one of the keys that is
        under way elsewhere is not waited for.

        Raises:
            BatchError: Some could not be read: `.errors` by key; `.succeeded` has the others.
        """
        wanted = check_keys(keys, "get")
        model = Model.checked(model_class, upgrade, write_back, "get")
        tier = await self._memory("get")
        found = {key: hit(tier.get, key, model_class) for key in wanted}
        missing = [key for key, value in found.items() if value is MISSING]
        errors: dict[str, HoldallError] = {}
        if missing and self._on_disk:
            found.update(await self._read_many(tier, missing, model, errors))
        done = {key: self._out(value, copy) for key, value in found.items() if value is not MISSING}
        if errors:
            raise BatchError("get", done, errors)
        return done

    async def set_many(
        self,
        items: Mapping[str, Any],
        *,
        format: Format | None = None,
        ttl: Ttl = DEFAULT,
        tags: Iterable[str] = (),
        custom_encoder: Callable[[Any], Any] | None = None,
        durability: Durability | None = None,
        copy: bool | None = None,
    ) -> dict[str, BlobMetadata]:
        """Writes several values, each as `set` would; the record of each key.

        Raises:
            BatchError: Some failed: `.errors` by key; `.succeeded` has the records of the others.
        """
        check_mapping("items", items, "set")
        check_terms("set", custom_encoder, False, None, durability)
        ttl = check_ttl(ttl, "set")
        tier = await self._memory("set")
        if not self._on_disk:
            for key in items:
                check_key(key, "set")
            for key, value in items.items():
                tier.pin(key, self._in(value, copy, key), ttl)
            return {}
        kept = {key: self._in(value, copy, key) for key, value in items.items()}
        observed = {key: tier.observe(key) for key in items if _is_key(key)}
        failed: BatchError | None = None
        try:
            records = await self._blobs.save_many(
                items,
                format,
                ttl=ttl,
                tags=tags,
                custom_encoder=custom_encoder,
                durability=durability,
            )
        except BatchError as error:
            failed, records = error, error.succeeded
        for key, record in records.items():
            self._admit(tier, key, kept[key], observed[key], record)
        if failed is not None:
            raise failed
        return records


def _is_key(key: object) -> bool:
    """Whether an engine may be asked about it; `save_many` says what is wrong with the others."""
    try:
        check_key(key, "set")
    except HoldallError:
        return False
    return True
