"""obstore's LocalStore (the Rust crate object_store), with its own `await`; plain files, atomic."""

from __future__ import annotations

from pathlib import Path

from ..model import peer
from .stores import Store


def files(folder: Path) -> Store:
    """Its async functions."""
    obstore = peer("obstore")
    store = peer("obstore.store").LocalStore(str(folder))

    async def put(key: str, data: bytes) -> None:
        await obstore.put_async(store, key, data)

    async def get(key: str) -> bytes:
        found = await obstore.get_async(store, key)
        return bytes(await found.bytes_async())

    return Store(put, get)


STORES = {"obstore": files}
