"""Builds the package: maturin makes the wheel, and the command line goes into it as a program.

The build backend of `pyproject.toml` (PEP 517). As a script it only builds the program, where `scripts/build`
wants it: `python scripts/holdall_build.py release`, or `dev`.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
# `[tool.maturin] data`: what lies in its `scripts` becomes a command of the environment.
PLACE = ROOT / ".build" / "data" / "scripts" / "holdall"


def build_command(profile: str = "release") -> None:
    """Compiles the program and lays it where maturin takes it from."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    flags = ["--release"] if profile == "release" else []
    command = ["cargo", "build", "--locked", "--package", "holdall-cli", *flags]
    subprocess.run(command, cwd=ROOT, check=True)
    built = target / ("release" if profile == "release" else "debug") / "holdall"
    PLACE.parent.mkdir(parents=True, exist_ok=True)
    # Anew and not over the old one, which may be running.
    fresh = PLACE.with_name("holdall.new")
    shutil.copy2(built, fresh)
    subprocess.run(["strip", fresh], check=False, stderr=subprocess.DEVNULL)
    fresh.replace(PLACE)


def build_wheel(directory, settings=None, metadata=None):
    """PEP 517: a wheel with the extension and the command."""
    import maturin

    build_command()
    return maturin.build_wheel(directory, settings, metadata)


def build_editable(directory, settings=None, metadata=None):
    """PEP 660: as `build_wheel`, with the Python sources where they are."""
    import maturin

    build_command()
    return maturin.build_editable(directory, settings, metadata)


def build_sdist(directory, settings=None):
    """PEP 517: the sources; whoever installs them builds the command."""
    import maturin

    PLACE.parent.mkdir(parents=True, exist_ok=True)
    return maturin.build_sdist(directory, settings)


def get_requires_for_build_wheel(settings=None):
    """PEP 517: nothing beyond `build-system.requires`."""
    return []


get_requires_for_build_editable = get_requires_for_build_sdist = get_requires_for_build_wheel


def prepare_metadata_for_build_wheel(directory, settings=None):
    """PEP 517: asked before a wheel is built."""
    import maturin

    PLACE.parent.mkdir(parents=True, exist_ok=True)
    return maturin.prepare_metadata_for_build_wheel(directory, settings)


prepare_metadata_for_build_editable = prepare_metadata_for_build_wheel

if __name__ == "__main__":
    build_command(sys.argv[1])
