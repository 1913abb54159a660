"""The small C programs of the benchmarks, compiled when they are first asked for.

- `floor.c`: an extension module; the least a C program takes for the same work.
- `slow_flush.c`: runs a program whose every flush to the disk takes 0.3 seconds longer.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sysconfig
from functools import cache
from pathlib import Path
from typing import Any

from ..model import Absent

HERE = Path(__file__).parent
BUILT = HERE.parents[2] / ".build" / "benches"


@cache
def floor() -> Any:
    """The extension module `floor`; `Absent` without a C compiler or Python's headers."""
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    flags = ["-shared", "-fPIC", f"-I{sysconfig.get_paths()['include']}"]
    path = _compiled("floor.c", f"floor{suffix}", flags)
    spec = importlib.util.spec_from_file_location("floor", path)
    if spec is None or spec.loader is None:
        raise Absent("the floor in C could not be loaded")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def program(name: str) -> Path:
    """A program of this folder, compiled; `Absent` without a C compiler."""
    return _compiled(f"{name}.c", name, [])


def _compiled(source: str, target: str, flags: list[str]) -> Path:
    made, text = BUILT / target, HERE / source
    if made.exists() and made.stat().st_mtime >= text.stat().st_mtime:
        return made
    compiler = next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), "")
    if not compiler:
        raise Absent("no C compiler")
    BUILT.mkdir(parents=True, exist_ok=True)
    draft = BUILT / f"{target}.{os.getpid()}"
    command = [compiler, "-O2", "-Wall", "-Wextra", *flags, "-o", str(draft), str(text)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = next((line for line in done.stderr.splitlines() if "error" in line), "no reason")
        raise Absent(f"{source} does not compile: {said.partition('error')[2].strip(': ')[:120]}")
    draft.rename(made)
    return made
