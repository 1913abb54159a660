"""What comes in from elsewhere is pinned, whole, from one place, and under a licence we accept."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
DENY = tomllib.loads((ROOT / "deny.toml").read_text())
CRATES = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
OURS = {"holdall", "holdall-cli", "holdall-python"}
SURROUNDINGS = dict(os.environ)
"""Of the session: tests have a home of their own, and cargo keeps its crates at home."""
LOCKS = sorted((ROOT / "requirements").glob("*.lock"))


def cargo(*arguments: str) -> str:
    """What cargo prints, which has all crates that this machine builds."""
    command = ["cargo", *arguments, "--locked", "--offline"]
    made = subprocess.run(command, cwd=ROOT, env=SURROUNDINGS, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    return made.stdout


def metadata() -> list[dict]:
    version = subprocess.check_output(["rustc", "-vV"], env=SURROUNDINGS, text=True)
    (host,) = re.findall(r"(?m)^host: (\S+)$", version)
    return json.loads(cargo("metadata", "--format-version=1", "--filter-platform", host))[
        "packages"
    ]


def accepted(expression: str, allowed: set[str]) -> bool:
    """Whether a licence expression can be fulfilled with what is allowed."""
    expression = expression.replace("/", " OR ")
    while inner := re.search(r"\(([^()]*)\)", expression):
        known = "MIT" if accepted(inner[1], allowed) else "refused"
        expression = expression.replace(inner[0], known)
    ways = (way.split(" AND ") for way in expression.split(" OR "))
    return any(all(part.strip() in allowed for part in way) for way in ways)


@pytest.mark.parametrize(
    ("expression", "good"),
    [
        ("MIT", True),
        ("GPL-3.0", False),
        ("GPL-3.0 OR MIT", True),
        ("GPL-3.0/MIT", True),
        ("MIT AND GPL-3.0", False),
        ("(MIT OR GPL-3.0) AND Zlib", True),
        ("(LGPL-2.1 OR GPL-3.0) AND Zlib", False),
    ],
)
def test_a_licence_expression_is_read_as_it_is_meant(expression, good):
    assert accepted(expression, {"MIT", "Zlib"}) is good


def test_every_crate_has_a_licence_that_we_accept():
    allowed = set(DENY["licenses"]["allow"])
    refused = {one["name"]: one["license"] for one in metadata()
               if not accepted(one["license"] or "none", allowed)}  # fmt: skip
    assert not refused


def test_every_crate_comes_from_the_one_registry_with_a_checksum():
    registry = "registry+https://github.com/rust-lang/crates.io-index"
    locks = [ROOT / "crates/holdall-races/Cargo.lock", ROOT / "tests/corpora/Cargo.lock"]
    beside = [one for lock in locks for one in tomllib.loads(lock.read_text())["package"]]
    ours = OURS | {"holdall-races", "corpora"}
    others = [one for one in CRATES + beside if one["name"] not in ours]
    assert len(others) == len(CRATES + beside) - len(ours)
    wrong = [
        one["name"]
        for one in others
        if one.get("source") != registry or not re.fullmatch(r"[0-9a-f]{64}", one["checksum"])
    ]
    assert not wrong


def test_no_crate_is_there_twice_without_a_reason():
    counted = Counter(one["name"] for one in CRATES)
    skipped = {one["crate"].split("@")[0] for one in DENY["bans"]["skip"]}
    # syn 2 is of the derive macros of benchmarks, which cargo-deny leaves out.
    assert {name for name, count in counted.items() if count > 1} == skipped | {"syn"}
    assert not {one["crate"] for one in DENY["bans"]["deny"]} & set(counted)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_package_is_pinned_with_the_hashes_of_its_files(lock):
    entries = re.split(r"\n(?=\S)", lock.read_text().strip())
    assert entries
    for entry in entries:
        assert re.match(r"[\w.-]+==[\w.+-]+( ; [^\\]+)? \\\n", entry), entry.splitlines()[0]
        hashes = entry.splitlines()[1:]
        assert hashes
        for line in hashes:
            assert re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", line), line


@pytest.mark.parametrize("crate", ["holdall-python", "holdall-cli"])
def test_the_bills_of_materials_in_the_package_list_every_crate_that_is_built_into_it(crate):
    try:
        files = importlib.metadata.files("holdall") or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("the package is not installed: scripts/build does so")
    (bill,) = (one for one in files if one.parts[-2:] == ("sboms", f"{crate}.cyclonedx.json"))
    bill = json.loads(Path(bill.locate()).read_text())
    assert bill["bomFormat"] == "CycloneDX"
    listed = {(one["name"], one["version"]): one for one in bill["components"]}
    tree = cargo("tree", f"--package={crate}", "--edges=normal", "--prefix=none", "--format={p}")
    built = set(re.findall(r"(?m)^(\S+) v(\S+)", tree))
    built -= {one for one in built if one[0] == crate}
    assert len(built) > 20
    assert built <= set(listed)
    for name, version in built:
        assert listed[name, version]["purl"].startswith(f"pkg:cargo/{name}@{version}")
        assert listed[name, version]["licenses"]


def test_what_is_installed_is_checked_against_these_hashes():
    assert "--no-deps \\\n        --require-hashes -r" in (ROOT / "scripts/setup").read_text()
