"""Damages a small store at every offset, and looks whether anything false, raw or slow comes of it.

`python -m hostile.flips` from `tests/`, or `make hostile`. Every state is opened in a process that
is watched: its death is a finding.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hostile.stores import Damage, build, copy, damages, key_of

SECONDS = 5.0
"""After so long a state counts as a hang, on a machine that does other things too."""
LOG = ".holdall/inline/values.sqlite-wal"
ANSWERS = ("save", "list", "stats", "tags", "expire", "close")


@dataclass
class Report:
    """What was found."""

    states: int = 0
    slowest: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"{self.states} states, the slowest took {self.slowest:.2f} s"]
        lines += [f"  {count:7,} {outcome}" for outcome, count in self.outcomes.most_common()]
        lines += [f"{len(self.findings)} findings", *self.findings[:200]]
        return "\n".join(lines)


class Verifier:
    """The process that opens the stores; a new one after its death."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None

    def ask(self, folder: Path) -> dict[str, Any] | str:
        """What it says of a store, or how it died."""
        if self.process is None or self.process.poll() is not None:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "hostile.verifier"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd=Path(__file__).parent.parent,
                text=True,
            )
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(f"{folder}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            return f"the process died: {self.process.wait(60)}"
        found: dict[str, Any] = json.loads(line)
        return found

    def close(self) -> None:
        """Ends it."""
        if self.process is not None and self.process.stdin and self.process.stdout:
            self.process.stdin.close()
            self.process.wait(60)
            self.process.stdout.close()


def judge(damage: Damage, found: dict[str, Any] | str, report: Report) -> None:
    """A typed error, a miss or the true value for what is damaged; all else as if nothing was."""
    report.states += 1
    if isinstance(found, str):
        report.findings.append(f"{damage}: {found}")
        return
    report.slowest = max(report.slowest, found["seconds"])
    if found["seconds"] > SECONDS:
        report.findings.append(f"{damage}: it took {found['seconds']} s")
    damaged = key_of(damage.file)
    for key, outcome in found["values"].items():
        report.outcomes[outcome.split(":")[0]] += 1
        if outcome == "ok":
            continue
        is_bad = outcome.startswith("RAW")
        if damaged is not None:
            is_bad = is_bad or key != damaged
        elif outcome == "BlobNotFoundError":
            # Damage to what all share may refuse a value, and must not deny it. But a copy of a
            # log with more damage than one bit is taken as after a power cut: it ends there.
            is_log = damage.file == LOG and key.startswith("inline/")
            is_bad = is_bad or not (is_log and damage.mask.bit_count() != 1)
        if is_bad:
            report.findings.append(f"{damage}: {key[:20]!r} {outcome}")
    for name in ANSWERS:
        outcome = found[name]
        if outcome.startswith("RAW") or (outcome != "ok" and damaged is not None):
            report.findings.append(f"{damage}: {name} {outcome}")


def run(states: Iterable[tuple[Path, Damage]], scratch: Path) -> Report:
    """Tries each damage on a copy of its store."""
    report, verifier = Report(), Verifier()
    target = scratch / "state"
    try:
        for number, (store, damage) in enumerate(states):
            target = scratch / f"state-{number}"
            copy(store, target)
            damage.apply(target)
            judge(damage, verifier.ask(target), report)
            shutil.rmtree(target)
    finally:
        verifier.close()
    return report


def planned(scratch: Path, *, samples: int, seed: int) -> list[tuple[Path, Damage]]:
    """Every damage to a store that was closed, and to one whose process was killed."""
    states: list[tuple[Path, Damage]] = []
    for name, closed in (("closed", True), ("killed", False)):
        store = scratch / name
        build(store, closed=closed)
        found = damages(store, samples=samples, seed=seed)
        # The values are the same in both.
        states += [(store, one) for one in found if closed or one.file.startswith(".holdall")]
    return states


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=500, help="offsets of each large file")
    parser.add_argument("--states", type=int, default=0, help="at most so many, by chance")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="files whose name has this in it")
    options = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="holdall-flips-"))
    try:
        states = planned(scratch, samples=options.samples, seed=options.seed)
        states = [state for state in states if options.only in state[1].file]
        if options.states:
            chosen = min(options.states, len(states))
            states = random.Random(options.seed).sample(states, chosen)
        report = run(states, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    print(report)
    return 1 if report.findings else 0


if __name__ == "__main__":
    sys.exit(main())
