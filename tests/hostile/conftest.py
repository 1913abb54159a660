"""What holds for every hostile test: no panic, whoever caught it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def no_panic(capfd):
    """The engine says on standard error that it panicked, also where the error was caught."""
    yield
    said = capfd.readouterr()
    assert "panicked at" not in said.err, said.err


@pytest.fixture
def corpora():
    """A folder of files of other projects, which are not part of this one."""
    folder = os.environ.get("HOLDALL_CORPORA")
    if not folder:
        pytest.skip("HOLDALL_CORPORA names no folder with the files of other projects")
    return Path(folder)
