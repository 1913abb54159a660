"""Breaks each rule of the disk protocol, and what keeps threads from each other's way, on purpose,
and expects the tests that are named to fail.

    run.py [RULE...]           all rules, or those with these numbers
    run.py --find RULE...      runs every test, to find those that fail without a rule

The engine is copied to .build/mutations with every break in it, each behind a switch, and built
once, and once more for the properties of crates/holdall-races.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
SCRATCH = ROOT / ".build" / "mutations"
TARGET = ROOT / "target" / "mutations"
"""Of its own: cargo takes a crate at the same place of another workspace for the same crate, and
would go on to test the broken engine where the whole one is meant."""
PATIENCE = 60.0
"""Seconds for one test: what never ends without a rule fails too."""

SWITCH = """
/// Whether a rule is broken on purpose.
pub(crate) fn mutant(number: u32) -> bool {
    static ON: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
    let read = || std::env::var("HOLDALL_MUTANT").ok().and_then(|text| text.parse().ok());
    *ON.get_or_init(|| read().unwrap_or(0)) == number
}
"""


TABLES = ("rules.toml", "races.toml")
"""In this folder: the rules of the disk, and those of threads."""


@dataclass
class Break:
    """One way to break a rule."""

    number: int
    table: str
    rule: str
    file: str
    old: str
    new: str
    mode: str
    tests: list[str]


def breaks() -> list[Break]:
    """All of them, numbered from 1."""
    found: list[Break] = []
    for table in TABLES:
        text = (ROOT / "tests" / "mutations" / table).read_text()
        rules = tomllib.loads(text)["rule"]
        for id, one in [(rule["id"], one) for rule in rules for one in rule["break"]]:
            number, old = len(found) + 1, one["old"]
            mode = one.get("mode", "statement" if old.endswith(";") else "expression")
            how = (one["file"], old, one["new"], mode, one["tests"])
            found.append(Break(number, table, id, *how))
    return found


def broken(source: str, several: list[Break]) -> str:
    """A source text with breaks of one place in it, each behind its switch."""
    old = several[0].old
    if source.count(old) != 1:
        raise ValueError(f"{several[0].file}: found {source.count(old)} times: {old}")
    mode = several[0].mode
    if mode == "text":
        # Of one rule for several reasons.
        (new,) = {one.new for one in several}
        switches = " || ".join(f"crate::mutant({one.number})" for one in several)
        return source.replace(old, new.replace("MUTANT", f"({switches})"))
    ways = [f"if crate::mutant({one.number}) {{ {one.new} }} else " for one in several]
    chosen = "".join(ways) + "{ " + old + " }"
    return source.replace(old, f"({chosen})" if mode == "expression" else chosen)


def sources(all_breaks: list[Break]) -> dict[Path, bytes]:
    """Every file of the broken engine, by its path below the copy."""
    found: dict[Path, bytes] = {}
    # The benchmarks are named in its manifest, and some tests hold the pages to the code.
    for folder in ("crates/holdall", "crates/holdall-races", "benches/engine", "docs"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file():
                found[path.relative_to(ROOT)] = path.read_bytes()
    for name in ("Cargo.lock", "benches/hit_ratio.rs"):
        found[Path(name)] = (ROOT / name).read_bytes()
    manifest = (ROOT / "Cargo.toml").read_text()
    alone = re.sub(r"^members = .*$", 'members = ["crates/holdall"]', manifest, flags=re.MULTILINE)
    found[Path("Cargo.toml")] = alone.encode()
    races = Path("crates/holdall-races/Cargo.toml")
    # A break makes warnings.
    found[races] = found[races].replace(b'warnings = "deny"\n', b"")
    places: dict[tuple[str, str], list[Break]] = {}
    for one in all_breaks:
        places.setdefault((one.file, one.old), []).append(one)
    engine = Path("crates/holdall/src")
    for (file, _), several in places.items():
        found[engine / file] = broken(found[engine / file].decode(), several).encode()
    found[engine / "lib.rs"] += SWITCH.encode()
    return found


def prepare(all_breaks: list[Break]) -> None:
    """Lays the broken engine out; what has not changed since the last time is not built again."""
    wanted = sources(all_breaks)
    for path in list(SCRATCH.rglob("*")):
        if path.is_file() and path.relative_to(SCRATCH) not in wanted:
            path.unlink()
    for below, content in wanted.items():
        path = SCRATCH / below
        if not path.is_file() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def build(all_breaks: list[Break]) -> list[Path]:
    """The test programs in which the tests of these breaks are."""
    engine = ["--package=holdall", "--all-features", "--lib", "--tests"]
    races = ["--manifest-path=crates/holdall-races/Cargo.toml", "--test=races"]
    programs: list[Path] = []
    for table, chosen in zip(TABLES, (engine, races), strict=True):
        if any(one.table == table for one in all_breaks):
            programs += built(chosen)
    return programs


def built(chosen: list[str]) -> list[Path]:
    """Test programs of the broken engine."""
    command = [
        "cargo",
        "test",
        "--no-run",
        *chosen,
        "--message-format=json",
        "--offline",
        "--quiet",
    ]
    environment = {**os.environ, "CARGO_TARGET_DIR": str(TARGET)}
    made = subprocess.run(command, cwd=SCRATCH, env=environment, stdout=subprocess.PIPE, text=True)
    if made.returncode != 0:
        for line in made.stdout.splitlines():
            message = json.loads(line).get("message") or {}
            if message.get("level") == "error":
                print(message["rendered"])
        raise SystemExit("the broken engine could not be built")
    programs = (json.loads(line).get("executable") for line in made.stdout.splitlines())
    return [Path(program) for program in programs if program]


def listed(program: Path) -> list[str]:
    """The tests in a program."""
    made = subprocess.run([program, "--list"], capture_output=True, text=True, check=True)
    return re.findall(r"(?m)^(\S+): test$", made.stdout)


def fails(program: Path, test: str, number: int) -> bool:
    """Whether a test fails with a rule broken, or never ends and does end without that."""
    environment = {**os.environ, "HOLDALL_MUTANT": str(number), "RUST_BACKTRACE": "0"}
    command = [program, "--exact", test, "--nocapture"]
    try:
        made = subprocess.run(
            command, cwd=SCRATCH / "crates" / "holdall", env=environment,
            capture_output=True, timeout=PATIENCE,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        print(f"{test} did not end in {PATIENCE:.0f} s without #{number}", flush=True)
        # On a machine with much else to do it may only have been slow.
        return number == 0 or not fails(program, test, 0)
    return made.returncode != 0


def main() -> int:
    """Runs; 1 if a rule can be broken without a test that fails."""
    wanted = [word for word in sys.argv[1:] if not word.startswith("-")]
    finding = "--find" in sys.argv
    every = breaks()
    chosen = [one for one in every if not wanted or one.rule in wanted]
    prepare(every)
    started = time.monotonic()
    programs = build(chosen)
    print(f"built in {time.monotonic() - started:.0f} s", flush=True)
    tests: dict[str, tuple[Path, str]] = {}
    for program in programs:
        for test in listed(program):
            tests[test.rsplit("::", 1)[-1]] = (program, test)
    # A test that fails anyway proves nothing.
    for name in sorted({name for one in chosen for name in one.tests} & set(tests)):
        if fails(*tests[name], 0):
            raise SystemExit(f"{name} fails though no rule is broken")
    survived = caught = 0
    for one in chosen:
        named = sorted(tests) if finding else one.tests
        named = [name for name in named if not name.startswith("helper_")]
        missing = [name for name in named if name not in tests]
        passed = [name for name in named if name in tests and not fails(*tests[name], one.number)]
        if finding:
            failing = sorted(set(named) - set(passed))
            print(f"{one.rule} ({one.file}): {failing}", flush=True)
        elif missing or passed:
            survived += 1
            print(f"NOT CAUGHT {one.rule} #{one.number} ({one.file}): "
                  f"missing {missing}, passed {passed}", flush=True)  # fmt: skip
        else:
            caught += 1
    print(f"{caught} breaks caught, {survived} not, {time.monotonic() - started:.0f} s")
    return int(survived > 0)


if __name__ == "__main__":
    sys.exit(main())
