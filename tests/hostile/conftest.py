"""What holds for every hostile test: no panic, whoever caught it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def no_panic(capfd):
    """The engine says on standard error that it panicked, also where the error was caught."""
    yield
    said = capfd.readouterr()
    assert "panicked at" not in said.err, said.err


# What scripts/corpora takes out of a registry, each part in its folder.
FETCHED = Path(__file__).resolve().parents[2] / ".build/corpora"
FROM_A_REGISTRY = {"blns", "json", "zstd"}


@pytest.fixture
def corpus() -> Callable[[str], Path]:
    """Finds files of other projects, which are not part of this one, or skips the test."""

    def find(below: str) -> Path:
        named = os.environ.get("HOLDALL_CORPORA")
        for folder in [Path(named), FETCHED] if named else [FETCHED]:
            if (folder / below).exists():
                return folder / below
        if below.split("/")[0] in FROM_A_REGISTRY:
            pytest.skip(f"{below} is not there: scripts/corpora could not fetch it")
        pytest.skip(f"no registry has {below}; HOLDALL_CORPORA may name a folder with it")

    return find
