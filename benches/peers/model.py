"""What is measured: scenarios, their contenders, and the targets that judge them."""

from __future__ import annotations

import gc
import importlib
import os
import shutil
import tempfile
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Kind = Literal["holdall", "peer", "floor"]


class Absent(Exception):
    """A contender cannot run here; the text says why, and goes into the report."""


def peer(module: str) -> Any:
    """Imports a peer; `Absent` if it is not installed.

    What comes back is not type checked: peers are not installed where types are checked.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise Absent(f"not installed: {module.partition('.')[0]}") from error


@dataclass(frozen=True)
class Measured:
    """One figure, and what it was made of where that is of interest."""

    value: float
    details: Mapping[str, float] = field(default_factory=dict)


@dataclass
class Context:
    """Where and how much to measure."""

    base: Path
    """An empty folder of this run, on the file system that is measured."""
    quick: bool = False
    large: bool = False
    traces: Path | None = None

    def few(self, count: int, least: int = 1) -> int:
        """`count`, or a twentieth of it in a quick run."""
        return max(count // 20, least) if self.quick else count

    @contextmanager
    def folder(self, remove: bool = False) -> Generator[Path, None, None]:
        """A fresh folder.

        It stays until the run ends: on ext4 deleting thousands of files slows what is created after
        it for minutes. Those with a few large files remove it at once.
        """
        path = Path(tempfile.mkdtemp(dir=self.base))
        try:
            yield path
        finally:
            if remove:
                shutil.rmtree(path, ignore_errors=True)

    def fixture(self, name: str, make: Callable[[Path], None]) -> Path:
        """A folder that is made once in a run and only read afterwards."""
        path = self.base / name
        if not path.exists():
            draft = Path(tempfile.mkdtemp(dir=self.base))
            make(draft)
            draft.rename(path)
            os.sync()
        return path


Measure = Callable[[Context], "float | Measured"]


@dataclass(frozen=True)
class Contender:
    """One who does the work of a scenario: holdall, a peer, or the floor below them all."""

    name: str
    kind: Kind
    measure: Measure
    note: str = ""


@dataclass(frozen=True)
class Target:
    """One line of the issue.

    `how` says what `wanted` is compared with: `faster` is best-of-`against` over ours, at least;
    `at most` is ours over best-of-`against`, at most; `below` is our figure itself, at most;
    `above` is ours minus the best of `against`, at least; `cells` is the smallest difference to
    `against` in any of the details, at least.
    """

    text: str
    how: Literal["faster", "at most", "below", "above", "cells"]
    wanted: float
    against: tuple[str, ...] = ()
    ours: str = "holdall"
    floor: str = ""
    """The contender that is the floor of this line, shown beside the verdict."""


@dataclass(frozen=True)
class Scenario:
    """One question, put to all contenders in turn."""

    name: str
    title: str
    unit: str
    measures: str
    leaves_out: str
    contenders: tuple[Contender, ...]
    targets: tuple[Target, ...] = ()
    better: Literal["lower", "higher"] = "lower"
    isolated: bool = False
    """Each figure is taken in a process of its own."""
    launcher: str = ""
    """A program of `native/` that the process runs under."""
    rounds: int | None = None
    """At most so many rounds: 1 for what comes out the same each time."""
    needs: Callable[[Context], None] | None = None
    """Makes fixtures before the first round; may raise `Absent`."""

    @property
    def group(self) -> str:
        """The first part of its name."""
        return self.name.partition("/")[0]


def clean() -> None:
    """Collects garbage, so that it is not collected on the next contender's time."""
    gc.collect()
