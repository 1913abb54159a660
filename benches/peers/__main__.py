"""`python -m benches.peers`: measures, writes the results, and prints the table of targets."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import tempfile
import time
from fnmatch import fnmatch
from pathlib import Path

from . import machine
from .model import Context, Scenario
from .report import write
from .runner import answer, run
from .scenarios import every
from .verdicts import Verdict, judge

ROOT = Path(__file__).parents[2]


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="make bench-peers", description=__doc__)
    add = parser.add_argument
    add(
        "--only",
        action="append",
        default=[],
        metavar="PATTERN",
        help="only these scenarios: a group (cache), a name (disk/save-new), a glob (lag/*)",
    )
    add("--rounds", type=int, default=5, help="rounds of each scenario (5); medians are compared")
    add("--quick", action="store_true", help="a twentieth of the work: whether it runs, no figures")
    add(
        "--large", action="store_true", help="arrays of 1 GiB too; needs 6 GB of memory and of disk"
    )
    add(
        "--traces",
        type=Path,
        default=os.environ.get("HOLDALL_TRACES"),
        help="folder of traces (*.i64: little-endian 64-bit keys); also HOLDALL_TRACES",
    )
    add("--out", type=Path, help="folder for the results (benches/results/<date>)")
    add(
        "--folder",
        type=Path,
        default=ROOT / ".build",
        help="where the files are written, so the file system that is measured (.build)",
    )
    add("--list", action="store_true", help="only list the scenarios")
    add("--one", nargs=2, metavar=("SCENARIO", "CONTENDER"), help=argparse.SUPPRESS)
    add("--base", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()  # fmt: skip


def chosen(patterns: list[str]) -> list[Scenario]:
    """The scenarios that are wanted, all without a pattern."""
    return [
        scenario
        for scenario in every()
        if not patterns or any(matches(scenario.name, pattern) for pattern in patterns)
    ]


def matches(name: str, pattern: str) -> bool:
    """Whether a pattern means a scenario: its name, its group, its last part, or a glob."""
    return pattern in (name, *name.split("/")) or fnmatch(name, pattern)


def main() -> int:
    """Runs; 0 also when targets are missed, which the table says."""
    wanted = arguments()
    context = Context(Path(), wanted.quick, wanted.large, wanted.traces and Path(wanted.traces))
    if wanted.one:
        context.base = wanted.base
        scenario = next(one for one in every() if one.name == wanted.one[0])
        print(answer(scenario, wanted.one[1], context), flush=True)
        return 0
    scenarios = chosen(wanted.only)
    if wanted.list or not scenarios:
        print("\n".join(f"{one.name:<24} {one.title}" for one in every()))
        return 0 if wanted.list else 2
    out = wanted.out or ROOT / "benches" / "results" / time.strftime("%Y-%m-%d")
    wanted.folder.mkdir(parents=True, exist_ok=True)
    context.base = Path(tempfile.mkdtemp(prefix="bench-", dir=wanted.folder)).resolve()
    try:
        measure(scenarios, context, 1 if wanted.quick else wanted.rounds, out)
    finally:
        shutil.rmtree(context.base, ignore_errors=True)
    return 0


def compact(results: dict[str, object]) -> str:
    """JSON with a line for each thing, and lists of figures on one line."""
    text = json.dumps(results, indent=1, ensure_ascii=False)
    return re.sub(r"\[\s+([-\d.e,\s]+?)\s+\]", lambda m: f"[{' '.join(m[1].split())}]", text) + "\n"


def measure(scenarios: list[Scenario], context: Context, rounds: int, out: Path) -> None:
    """All scenarios, one after the other; the results are written after each, so none is lost."""
    began = time.monotonic()
    answers: dict[str, object] = {}
    verdicts: list[Verdict] = []
    results: dict[str, object] = {
        "quick": context.quick,
        "rounds": rounds,
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine.describe(context.base),
        "versions": machine.versions(),
        "scenarios": answers,
    }
    for scenario in scenarios:
        start = time.monotonic()
        found = run(scenario, context, rounds)
        answers[scenario.name] = {
            "title": scenario.title,
            "unit": scenario.unit,
            "better": scenario.better,
            "measures": scenario.measures,
            "leaves out": scenario.leaves_out,
            "contenders": {name: result.as_json() for name, result in found.items()},
        }
        new = judge(scenario, found)
        verdicts += new
        results["targets"] = [vars(verdict) for verdict in verdicts]
        results["minutes"] = round((time.monotonic() - began) / 60, 1)
        print(f"\n{scenario.title} [{scenario.name}, {time.monotonic() - start:.0f} s]")
        for name, result in found.items():
            figure = result.absent if result.median is None else f"{result.median:.4g}"
            print(f"  {result.kind:<8}{name:<30}{figure} {scenario.unit if result.figures else ''}")
        for verdict in new:
            at = "" if verdict.measured is None else f"{verdict.measured:.3g}"
            print(f"  -> {verdict.text}: wanted {verdict.wanted}, measured {at}: {verdict.verdict}")
        sys.stdout.flush()
        out.mkdir(parents=True, exist_ok=True)
        (out / "results.json").write_text(compact(results))
    write(results, out)
    print(f"\n{out.name}/report.md and results.json are in {out.parent.name}/")


if __name__ == "__main__":
    sys.exit(main())
