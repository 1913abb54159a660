"""Counts the instructions of a few hot paths under valgrind, and compares them with those kept.

    .venv/bin/python benches/instructions.py             # compare; exit 1 if a path grew too much
    .venv/bin/python benches/instructions.py --save      # keep what is counted now

Times differ from hour to hour on a shared machine, counts of instructions hardly do. Each path of
`benches/engine/hot_paths.rs` runs twice, with different numbers of times, and the difference of the
counts is that of the path alone. System calls and waiting count nothing: a path that reads more
files is not seen here, and valgrind may refuse newer system calls, so that the engine takes its
fallback. A count belongs to a processor's architecture and a version of the compiler.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
KEPT = ROOT / "benches" / "results" / "instructions.json"
PATHS = {
    "cache_hit": (10_000, 110_000),
    "cache_set_full": (10_000, 60_000),
    "key_encode": (1_000, 51_000),
    "save_new": (50, 250),
    "load": (50, 450),
}
"""How many times each path runs, in the two runs whose difference counts."""


def main() -> int:
    """Counts, prints and compares."""
    parser = argparse.ArgumentParser(
        description="Counts the instructions of hot paths and compares them with those kept."
    )
    parser.add_argument("--save", action="store_true", help="keep the counts as the new measure")
    parser.add_argument(
        "--percent", type=float, default=5.0, help="report a path that grew by more (5)"
    )
    wanted = parser.parse_args()
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        print("Instructions were NOT counted: valgrind is missing (apt-get install valgrind).")
        return 0
    if not KEPT.exists() and not wanted.save:
        print(f"There are no counts to compare with: run {sys.argv[0]} --save once.")
    program = built()
    counts = {name: counted(valgrind, program, name, *PATHS[name]) for name in PATHS}
    about = {"architecture": platform.machine(), "rustc": compiler()}
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    before: dict[str, float] = kept.get("counts", {})
    if kept and kept.get("about") != about:
        print(f"Kept: {kept['about']}. Now: {about}. A difference may come from that.")
    grown = show(counts, before, wanted.percent)
    if wanted.save:
        KEPT.parent.mkdir(exist_ok=True)
        KEPT.write_text(json.dumps({"about": about, "counts": counts}, indent=1) + "\n")
        return 0
    return 1 if grown else 0


def show(counts: dict[str, float], before: dict[str, float], percent: float) -> list[str]:
    """Prints the table; the paths that grew by more than `percent`."""
    print(f"{'instructions a call':<20}{'now':>12}{'kept':>12}{'change':>9}")
    grown = []
    for name, count in counts.items():
        old = before.get(name)
        change = "" if old is None else f"{(count / old - 1) * 100:+.1f}%"
        print(f"{name:<20}{count:>12,.0f}{'' if old is None else f'{old:,.0f}':>12}{change:>9}")
        if old is not None and count > old * (1 + percent / 100):
            grown.append(name)
    if grown:
        print(f"REGRESSION: more than {percent:g} percent more: {', '.join(grown)}")
    return grown


def built() -> Path:
    """The program of the hot paths, as released."""
    command = ["cargo", "bench", "--quiet", "--locked", "--package", "holdall", "--no-run"]
    command += ["--bench", "hot_paths", "--message-format", "json"]
    # rustix would ask the kernel for the vDSO, which valgrind has taken away.
    command += ["--features", "rustix/use-libc-auxv"]
    told = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    messages = [json.loads(line) for line in told.splitlines()]
    programs = [one["executable"] for one in messages if one.get("executable")]
    return Path(programs[-1])


def counted(valgrind: str, program: Path, name: str, few: int, many: int) -> float:
    """Instructions of one call."""

    def instructions(times: int) -> int:
        command = [valgrind, "--tool=callgrind", "--callgrind-out-file=/dev/null", str(program)]
        done = subprocess.run(
            [*command, name, str(times)], capture_output=True, text=True, check=False
        )
        found = re.search(r"Collected : (\d+)", done.stderr)
        if done.returncode != 0 or found is None:
            raise SystemExit(f"{name} could not run under valgrind:\n{done.stderr[-1500:]}")
        return int(found[1])

    return round((instructions(many) - instructions(few)) / (many - few), 1)


def compiler() -> str:
    """The version of rustc."""
    told = subprocess.run(["rustc", "--version"], check=True, capture_output=True, text=True)
    return told.stdout.split()[1]


if __name__ == "__main__":
    sys.exit(main())
