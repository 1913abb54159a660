"""Compares pinned Python packages with a checkout of advisories in the OSV form (YAML files).

    audit_python.py CHECKOUT LOCK...

Prints each advisory that an installed version would fall under, and fails if there is one.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from packaging.utils import canonicalize_name
from packaging.version import Version


def pins(lock: Path) -> Iterator[tuple[str, Version]]:
    """Names and versions in a lock file."""
    for name, version in re.findall(r"^([\w.-]+)==([\w.+-]+)", lock.read_text(), re.MULTILINE):
        yield canonicalize_name(name), Version(version)


def within(version: Version, events: list[dict[str, str]]) -> bool:
    """Whether a version lies between an `introduced` and what ends it."""
    begun = False
    for event in events:
        ((kind, value),) = event.items()
        edge = Version("0.dev0" if value == "0" else value)
        if kind == "introduced" and version >= edge:
            begun = True
        if (kind == "fixed" and version >= edge) or (kind == "last_affected" and version > edge):
            begun = False
    return begun


def concerns(advisory: dict[str, Any], name: str, version: Version) -> bool:
    """Whether an advisory is about this version."""
    if "withdrawn" in advisory:
        return False
    for affected in advisory.get("affected", ()):
        if canonicalize_name(affected["package"]["name"]) != name:
            continue
        if str(version) in map(str, affected.get("versions", ())):
            return True
        ranges = affected.get("ranges", ())
        if any(one["type"] == "ECOSYSTEM" and within(version, one["events"]) for one in ranges):
            return True
    return False


def main() -> int:
    """Compares; 1 if something was found."""
    checkout, *locks = map(Path, sys.argv[1:])
    pinned = sorted({pin for lock in locks for pin in pins(lock)})
    looked = found = 0
    for name, version in pinned:
        for path in sorted((checkout / "vulns" / name).glob("*.yaml")):
            looked += 1
            advisory = yaml.safe_load(path.read_text())
            if concerns(advisory, name, version):
                found += 1
                print(f"{name} {version}: {advisory['id']}: {advisory.get('details', '')[:200]}")
    print(f"{len(pinned)} pinned packages, {looked} advisories about them, {found} that hold")
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main())
