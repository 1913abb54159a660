"""Finds the examples in README and docs, and runs them the way a reader would."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Example(NamedTuple):
    """A whole program, and what it prints."""

    page: str
    line: int
    code: str
    output: str

    @property
    def name(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    """Every page that a person reads."""
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def examples(page: Path) -> Iterator[Example]:
    """Each `python` block of a page with the `text` block right after it, its output."""
    text = page.read_text(encoding="utf-8")
    blocks = list(_FENCE.finditer(text))
    for at, block in enumerate(blocks):
        if block[1] != "python":
            continue
        follows = blocks[at + 1] if at + 1 < len(blocks) else None
        output = ""
        if follows and follows[1] == "text" and not text[block.end() : follows.start()].strip():
            output = follows[2]
        line = text.count("\n", 0, block.start()) + 2
        yield Example(str(page.relative_to(ROOT)), line, block[2], output)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Leaves loggers and variables as they were."""
    loggers = [logging.getLogger(name) for name in ("holdall", "holdall.operations")]
    before = [(logger, logger.level, logger.handlers[:]) for logger in loggers]
    variables = dict(os.environ)
    try:
        yield
    finally:
        for logger, level, handlers in before:
            logger.setLevel(level)
            logger.handlers[:] = handlers
        os.environ.clear()
        os.environ.update(variables)


def run(example: Example) -> str:
    """What the program prints."""
    # A module of its own, so that pickle finds the classes that the program defines.
    module = ModuleType(f"example_{abs(hash(example.name))}")
    code = compile("\n" * (example.line - 1) + example.code, example.page, "exec")
    printed = io.StringIO()
    sys.modules[module.__name__] = module
    try:
        with contextlib.redirect_stdout(printed), undisturbed():
            exec(code, module.__dict__)
    finally:
        del sys.modules[module.__name__]
    return printed.getvalue()
