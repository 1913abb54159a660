"""Every example of the specification, with `app.storage` read as `holdall` and the corrections
that were agreed: no envelope around a value, real data for `[...]`, `or` needs the key to exist.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from pydantic import BaseModel
from sklearn.linear_model import LinearRegression

from holdall.blob_manager import BlobManager
from holdall.cache_manager import CacheManager
from holdall.storage_manager import StorageManager


class Recipe(BaseModel):
    title: str
    ingredients: list[str]
    id: int = 0


def custom_encoder(obj):
    if isinstance(obj, datetime):
        return obj.isoformat()
    return str(obj)


async def test_basic_usage():
    storage = BlobManager()
    recipe = Recipe(title="Pasta", ingredients=["pasta", "salt"])
    await storage.save("recipe_123", recipe, format="json")
    loaded = await storage.load("recipe_123", format="json", model_class=Recipe)
    assert loaded == recipe
    assert type(loaded) is Recipe
    assert storage.base_path == Path("tmp/storage")
    assert json.loads((storage.base_path / "recipe_123.json").read_bytes()) == recipe.model_dump()


async def test_advanced_usage():
    storage = BlobManager()
    trained_model = LinearRegression().fit([[0.0], [1.0]], [1.0, 3.0])
    numpy_array = np.arange(20_000.0).reshape(100, 200)
    complex_obj = {"when": datetime(2024, 1, 2, 3, 4), "path": Path("a/b")}

    data = {"arrays": np.array([1, 2, 3]), "model": trained_model}
    await storage.save("ml_data", data, format="pickle")
    await storage.save("large_dataset", numpy_array, format="joblib")
    await storage.save(
        "custom_data", complex_obj, format="custom_json", custom_encoder=custom_encoder
    )

    loaded = await storage.load("ml_data")
    assert loaded["arrays"].tolist() == [1, 2, 3]
    assert loaded["model"].predict([[2.0]])[0] == pytest.approx(5.0)
    assert np.array_equal(await storage.load("large_dataset"), numpy_array)
    assert await storage.load("custom_data") == {"when": "2024-01-02T03:04:00", "path": "a/b"}


async def test_blob_manager_architecture():
    storage = BlobManager()
    recipe = Recipe(title="Pasta", ingredients=["salt"])
    complex_object, large_array = {1: {2, 3}}, np.ones((300, 300))
    text_content = "first\r\nsecond\n"

    await storage.save_pydantic_as_json(recipe, "recipe_data")
    await storage.save_with_pickle(complex_object, "object_data")
    await storage.save_with_joblib(large_array, "array_data")
    await storage.save_as_string(text_content, "text_data")

    data = await storage.load("recipe_data")  # Auto-detects JSON format
    assert data == recipe.model_dump()
    assert await storage.load("object_data") == complex_object
    assert np.array_equal(await storage.load("array_data"), large_array)
    assert await storage.load("text_data") == text_content


async def test_cache_manager_architecture():
    cache = CacheManager(max_size=1000, default_ttl=3600)
    value = object()
    await cache.set("key", value, ttl=7200)
    assert await cache.get("key", default="fallback_value") is value
    assert await cache.get("other", default="fallback_value") == "fallback_value"
    await cache.set_many({"key1": "value1", "key2": "value2"})
    values = await cache.get_many(["key1", "key2"])
    assert values == {"key1": "value1", "key2": "value2"}


async def test_storage_manager_architecture():
    storage = StorageManager()
    recipe_data, value = {"title": "Pasta"}, [1, 2]
    await storage.set("recipe_123", recipe_data)
    data = await storage.get("recipe_123")
    assert data is recipe_data
    await storage.cache_set("temp_data", value, ttl=300)
    assert await storage.cache_get("temp_data") is value
    assert await StorageManager().get("recipe_123") == recipe_data
    assert await StorageManager().get("temp_data") is None


async def test_configuration():
    Path(".env").write_text(
        """\
# =================================================================
# STORAGE CONFIGURATION
# =================================================================
BLOB_STORAGE_ENABLED=true            # Enable/disable blob storage
BLOB_STORAGE_BASE_PATH=tmp/elsewhere # Base path for blob storage
CACHE_ENABLED=true                   # Enable/disable memory caching
CACHE_MAX_SIZE=2                     # Maximum cache entries
CACHE_DEFAULT_TTL=3600              # Default cache TTL in seconds
"""
    )
    storage = BlobManager()
    await storage.save("a", 1)
    assert storage.base_path == Path("tmp/elsewhere")
    assert Path("tmp/elsewhere/a.json").read_text() == "1"
    cache = CacheManager()
    await cache.set_many({str(number): number for number in range(10)})
    assert len(cache) == 2
    left = [await cache.ttl_of(key) for key in await cache.keys()]
    assert all(3500 < seconds <= 3600 for seconds in left)


async def test_async_best_practices():
    recipes = [Recipe(title=str(n), ingredients=[], id=n) for n in range(50)]

    async def process_recipes(recipes):
        storage = BlobManager()
        tasks = []
        for recipe in recipes:
            task = storage.save(f"recipe_{recipe.id}", recipe, format="json")
            tasks.append(task)
        await asyncio.gather(*tasks)

    await process_recipes(recipes)
    storage = BlobManager()
    assert (await storage.get_stats())["entries"] == 50
    assert await storage.load("recipe_7", model_class=Recipe) == recipes[7]


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
async def test_a_save_that_is_not_awaited_does_nothing():
    def process_recipes_sync(recipes):
        for recipe in recipes:
            BlobManager().save(f"recipe_{recipe.id}", recipe, format="json")

    process_recipes_sync([Recipe(title="x", ingredients=[], id=1)])
    assert not await BlobManager().exists("recipe_1")


async def test_memory_management():
    storage = BlobManager()
    await storage.save("a", 1)
    cache = CacheManager(max_size=1000, default_ttl=3600)
    await cache.set("a", 1)
    await cache.clear()
    await storage.clear()
    assert len(cache) == 0
    assert not await storage.exists("a")


async def test_error_handling(capsys):
    storage = BlobManager()

    async def look(key):
        try:
            await storage.load(key)
        except FileNotFoundError:
            print("File not found - key doesn't exist")
        except json.JSONDecodeError:
            print("Invalid JSON format")
        except Exception as e:
            print(f"Unexpected error: {e}")

    await look("missing_key")
    assert capsys.readouterr().out == "File not found - key doesn't exist\n"

    default_data = {"default": True}
    await storage.save("key", {}, format="json")
    data = await storage.load("key", format="json") or default_data
    assert data is default_data
    assert await storage.load("key", default=default_data) == {}
    assert await storage.load("missing_key", default=default_data) is default_data


@pytest.mark.asyncio
async def test_json_storage():
    with tempfile.TemporaryDirectory() as temp_dir:
        storage = BlobManager(base_path=Path(temp_dir))
        test_data = {"test": "data", "number": 42}
        metadata = await storage.save("test_key", test_data, format="json")
        assert metadata is not None
        loaded = await storage.load("test_key", format="json")
        assert loaded == test_data
        await storage.close()


@pytest.mark.asyncio
async def test_cache_operations():
    cache = CacheManager(max_size=10)
    await cache.set("key1", "value1")
    value = await cache.get("key1")
    assert value == "value1"

    # Test TTL: the one test that waits for real time.
    await cache.set("key2", "value2", ttl=1)
    await asyncio.sleep(2)
    value = await cache.get("key2")
    assert value is None  # Should be expired


async def test_migration():
    storage = BlobManager()
    await storage.save("data_key", {"a": [1, 2]}, format="pickle")
    (storage.base_path / "old_format_file.pkl").write_bytes(b"left by hand")

    async def migrate_storage_format():
        storage = BlobManager()
        old_data = await storage.load("data_key", format="pickle")
        if old_data:
            await storage.save("data_key", old_data, format="json")
            old_file = storage.base_path / "old_format_file.pkl"
            if old_file.exists():
                old_file.unlink()

    await migrate_storage_format()
    assert await storage.load("data_key", format="json") == {"a": [1, 2]}
    files = {path.name for path in storage.base_path.iterdir() if path.is_file()}
    assert files == {"data_key.json"}


async def test_debugging(capsys, monkeypatch):
    monkeypatch.setenv("LOG_LEVEL", "DEBUG")
    monkeypatch.setenv("LOG_DEBUG_ENABLED", "true")
    storage, cache = BlobManager(), CacheManager()
    await storage.save("a", "12345")
    await cache.set("a", 1)
    await cache.get("a")
    await cache.get("b")

    stats = await storage.get_stats()
    print(f"Storage entries: {stats['entries']}")
    print(f"Total size: {stats['total_size']} bytes")
    print(f"Storage path: {stats['folder']}")
    cache_stats = await cache.get_stats()
    print(f"Cache entries: {cache_stats['entries']}")
    print(f"Hit rate: {cache_stats['hit_rate']:.2%}")
    assert capsys.readouterr().out == (
        "Storage entries: 1\nTotal size: 5 bytes\nStorage path: tmp/storage\n"
        "Cache entries: 1\nHit rate: 50.00%\n"
    )
