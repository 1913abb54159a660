"""Builds the package: maturin makes the wheel, and the command line goes into it as a program.

The build backend of `pyproject.toml` (PEP 517). As a script it only builds the program, where
`scripts/build` wants it: `python scripts/holdall_build.py release`, or `dev`.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
# `[tool.maturin] data`: what lies in its `scripts` becomes a command of the environment.
PLACE = ROOT / ".build" / "data" / "scripts" / "holdall"


# `[tool.maturin.sbom] include`: what is built into the program, beside maturin's own bill.
BILL = ROOT / ".build" / "sboms" / "holdall-cli.cyclonedx.json"


def _crates() -> list[dict]:
    """Every crate that is built into the program, of any kind but for its tests."""
    version = subprocess.check_output(["rustc", "-vV"], text=True)
    (host,) = re.findall(r"(?m)^host: (\S+)$", version)
    command = ["cargo", "metadata", "--locked", "--format-version=1", "--filter-platform", host]
    found = json.loads(subprocess.check_output(command, cwd=ROOT))
    packages = {package["id"]: package for package in found["packages"]}
    nodes = {node["id"]: node for node in found["resolve"]["nodes"]}
    (root,) = (id for id, package in packages.items() if package["name"] == "holdall-cli")
    reached, waiting = {root}, [root]
    while waiting:
        for needed in nodes[waiting.pop()]["deps"]:
            is_built = any(kind["kind"] in (None, "build") for kind in needed["dep_kinds"])
            if is_built and needed["pkg"] not in reached:
                reached.add(needed["pkg"])
                waiting.append(needed["pkg"])
    return sorted((packages[id] for id in reached), key=lambda one: (one["name"], one["version"]))


def write_bill() -> None:
    """Writes the bill of materials of the program, CycloneDX 1.5."""
    components = [
        {
            "type": "library",
            "name": crate["name"],
            "version": crate["version"],
            "licenses": [{"expression": (crate["license"] or "unknown").replace("/", " OR ")}],
            "purl": f"pkg:cargo/{crate['name']}@{crate['version']}",
        }
        for crate in _crates()
    ]
    bill = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {"type": "application", "name": "holdall-cli"}},
        "components": components,
    }
    BILL.parent.mkdir(parents=True, exist_ok=True)
    BILL.write_text(json.dumps(bill, indent=1) + "\n")


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
    write_bill()


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
