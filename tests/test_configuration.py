"""Argument, then environment, then `.env`, then default; nothing before it is needed."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

import holdall
from holdall import BlobManager, CacheManager, StorageManager
from holdall._messages import shown
from holdall.errors import ConfigurationError, InvalidJSONError


@pytest.fixture
def logger():
    logger = logging.getLogger("holdall")
    before = logger.level
    yield logger
    logger.setLevel(before)


async def test_the_order_of_sources(monkeypatch, tmp_path):
    assert BlobManager().base_path == Path("tmp/storage")
    Path(".env").write_text("BLOB_STORAGE_BASE_PATH=from/dotenv  # here\n")
    assert BlobManager().base_path == Path("from/dotenv")
    monkeypatch.setenv("BLOB_STORAGE_BASE_PATH", "from/environment")
    assert BlobManager().base_path == Path("from/environment")
    assert BlobManager("given").base_path == Path("given")
    assert StorageManager(tmp_path).base_path == tmp_path


async def test_settings_are_read_at_first_need_and_once(monkeypatch):
    manager = BlobManager()
    monkeypatch.setenv("BLOB_STORAGE_BASE_PATH", "late")
    await manager.save("k", 1)
    monkeypatch.setenv("BLOB_STORAGE_BASE_PATH", "later")
    assert manager.base_path == Path("late")
    assert Path("late/k.json").exists()


async def test_a_relative_path_is_resolved_once(tmp_path, monkeypatch):
    manager = BlobManager("here")
    await manager.save("k", 1)
    before = Path.cwd()
    monkeypatch.chdir(tmp_path)
    await manager.save("k2", 2)
    assert (before / "here" / "k2.json").exists()
    assert not (tmp_path / "here").exists()
    assert manager.base_path == Path("here")


@pytest.mark.parametrize(
    ("name", "value"), [("CACHE_MAX_SIZE", "many"), ("CACHE_ENABLED", "perhaps")]
)
async def test_a_bad_value_is_an_error_that_names_it(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=f"{name}.*{value}") as caught:
        await CacheManager().get("k")
    assert isinstance(caught.value, ValueError)
    with pytest.raises(ConfigurationError):
        await StorageManager().get("k")


async def test_a_dotenv_that_cannot_be_read_is_an_error(monkeypatch):
    Path(".env").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match=r"\.env cannot be read"):
        await BlobManager().exists("k")


async def test_a_folder_called_dotenv_is_no_settings_file():
    Path(".env").mkdir()
    assert not await BlobManager().exists("k")


async def test_the_level_is_set_only_if_configured_and_only_ours(monkeypatch, logger):
    root = logging.getLogger().level
    logger.setLevel(logging.ERROR)
    await BlobManager().exists("k")
    assert logger.level == logging.ERROR
    monkeypatch.setenv("LOG_LEVEL", "warning")
    await BlobManager().exists("k")
    assert logger.level == logging.WARNING
    monkeypatch.setenv("LOG_DEBUG_ENABLED", "true")
    await BlobManager().exists("k")
    assert logger.level == logging.DEBUG
    assert logging.getLogger().level == root
    assert [type(one) for one in logger.handlers] == [logging.NullHandler]


async def test_a_bad_level_is_an_error(monkeypatch, logger):
    monkeypatch.setenv("LOG_LEVEL", "LOUD")
    monkeypatch.setenv("LOG_DEBUG_ENABLED", "false")
    with pytest.raises(ConfigurationError, match="LOG_LEVEL"):
        await BlobManager().exists("k")


async def test_engine_events_reach_the_logger(monkeypatch, caplog, logger):
    events = [
        (logging.WARNING, "holdall::blob", "the index was rebuilt", {"bytes": 7, "name": "x"})
    ]
    monkeypatch.setattr("holdall._logging.drain_logs", lambda: [events.pop()] if events else [])
    await BlobManager().exists("k")
    assert [(one.name, one.message) for one in caplog.records] == [
        ("holdall.blob", "the index was rebuilt")
    ]
    # What a record has of its own stays.
    assert caplog.records[0].bytes == 7


def test_keys_are_shown_escaped_and_cut():
    assert shown("a") == '"a"'
    assert shown("größe") == '"größe"'
    assert shown('a"\\\n\x1b[31m\ud800') == '"a\\"\\\\\\n\\x1b[31m\\ud800"'
    assert len(shown("é" * 5_000)) < 130
    assert shown(7) == "<int>"


def test_errors_survive_pickling():
    import pickle

    error = InvalidJSONError("expected value", lineno=2, colno=3, pos=9)
    error.key, error.operation = "k", "load"
    copied = pickle.loads(pickle.dumps(error))
    assert type(copied) is InvalidJSONError
    assert str(copied) == str(error)
    assert (copied.lineno, copied.key) == (2, "k")


def test_every_exception_is_one_of_ours_and_in_the_drawing():
    from holdall import errors

    for name in errors.__all__:
        assert issubclass(getattr(errors, name), errors.HoldallError)
        assert f" {name} " in errors.__doc__ or name == "HoldallError"
        assert getattr(holdall, name) is getattr(errors, name)
