"""Fixtures for every test."""

from __future__ import annotations

import pytest

import holdall
from holdall import sync
from holdall.testing import ManualClock

SETTINGS = (
    "BLOB_STORAGE_ENABLED",
    "BLOB_STORAGE_BASE_PATH",
    "CACHE_ENABLED",
    "CACHE_MAX_SIZE",
    "CACHE_DEFAULT_TTL",
    "LOG_LEVEL",
    "LOG_DEBUG_ENABLED",
)


@pytest.fixture(autouse=True)
def own_surroundings(tmp_path_factory, monkeypatch):
    """Each test has a working directory and a home of its own, and no settings of this machine."""
    monkeypatch.chdir(tmp_path_factory.mktemp("cwd"))
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.delenv("HOLDALL_SIGNING_KEY", raising=False)
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
async def blobs(tmp_path, clock):
    async with holdall.BlobManager(tmp_path / "store", clock=clock) as manager:
        yield manager


@pytest.fixture
async def storage(tmp_path, clock):
    async with holdall.StorageManager(tmp_path / "store", clock=clock) as manager:
        yield manager


@pytest.fixture
def blocking_storage(tmp_path, clock):
    with sync.StorageManager(tmp_path / "store", clock=clock) as manager:
        yield manager
