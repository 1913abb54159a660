"""What type checkers must find; checked by mypy and pyright, never run."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel
from typing_extensions import assert_type

import holdall
from holdall import BlobManager, BlobMetadata, CacheManager, StorageManager, sync


class Recipe(BaseModel):
    """A model."""

    title: str


async def number() -> int:
    """An async loader."""
    return 7


def text() -> str:
    """A plain loader."""
    return "x"


async def awaited(blobs: BlobManager, cache: CacheManager, storage: StorageManager) -> None:
    """The managers of `holdall`."""
    assert_type(await blobs.load("k", model_class=Recipe), Recipe)
    assert_type(await blobs.load("k", model_class=Recipe, default=None), Recipe | None)
    assert_type(await blobs.load("k", model_class=list[Recipe]), list[Recipe])
    assert_type(await blobs.save("k", 1, "json", ttl=5), BlobMetadata)
    assert_type([key async for key in blobs.keys()], list[str])
    assert_type(await storage.get("k", model_class=Recipe), Recipe | None)
    assert_type(await storage.get("k", 0, model_class=Recipe), Recipe | int)
    assert_type(await storage.get_or_set("k", number), int)
    assert_type(await storage.get_or_set("k", text), str)
    assert_type(await cache.get_or_set("k", number), int)
    assert_type(await cache.get_or_set("k", text, ttl=None), str)
    assert_type((await storage.get_stats())["cache"]["hit_rate"], float)
    await blobs.save("k", 1, "yaml")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await blobs.save("k", 1, ttl="5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def plain(blobs: sync.BlobManager, storage: sync.StorageManager) -> None:
    """The managers of `holdall.sync`."""
    assert_type(blobs.load("k", model_class=Recipe), Recipe)
    assert_type(blobs.load("k", model_class=Recipe, default=0), Recipe | int)
    assert_type(blobs.keys(), Iterator[str])
    assert_type(storage.get("k", model_class=Recipe), Recipe | None)
    assert_type(storage.get_or_set("k", text), str)
    blobs.save("k", 1, tll=5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    sync.BlobManager("x", durability="disk", trust="own")
    holdall.StorageManager("x", copy=True, max_size=5)
