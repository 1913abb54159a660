"""Crashes holdall in every way there is, after the controls: `make crash ARGS="--full"`.

Prints a line for each run and a summary in JSON, and keeps that of each run in `.build/crash/`.
Exit code 0 only if nothing was wrong, each control that has to fail did, and no run was left out.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

from crash.ground import missing
from crash.harness import modes
from crash.plan import CONTROLS, ROOT, RUNS


def commit():
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def carry_out(run, args):
    """The summary of a run, with `fine` in it."""
    lacks = missing(run)
    if lacks:
        print(f"{run.name}: left out: {lacks}", file=sys.stderr, flush=True)
        return {"name": run.name, "left_out": lacks, "fine": False}
    rounds = args.rounds or (run.full if args.full else run.short)
    options = run.options(rounds, args.seed)
    options.examples = args.examples
    if args.seconds:
        options.seconds = args.seconds

    def progress(report):
        if report.states % 100 == 0:
            print(f"{run.name}: {report.states}, {report.broken} bad", file=sys.stderr, flush=True)

    report = modes.run(options, progress)
    found = report.bad["lost"] + report.bad["torn"] + report.bad["stale_read"]
    fine = found > 0 if run.fails else report.is_clean()
    summary = {"name": run.name, "fine": fine, "commit": commit(), **report.summary()}
    if run.fails:
        summary["examples"] = []
    folder = ROOT / ".build" / "crash"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{run.name}.json").write_text(json.dumps(summary, indent=1) + "\n")
    word = "as it has to be" if fine else "WRONG"
    told = f"{report.states} states, {report.broken} bad, {report.acks} acknowledged"
    print(f"{run.name}: {told}: {word}", file=sys.stderr, flush=True)
    return summary


def main():
    names = [run.name for run in CONTROLS + RUNS]
    parser = argparse.ArgumentParser(description=__doc__, epilog="runs: " + ", ".join(names))
    parser.add_argument("only", nargs="*", help="runs, or beginnings of their names")
    parser.add_argument("--full", action="store_true", help="the numbers of docs/crashes.md; hours")
    parser.add_argument("--rounds", type=int, default=0, help="crash states of each run")
    parser.add_argument("--seconds", type=float, default=0, help="longest life of a writer")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--examples", type=int, default=5, help="of what was wrong")
    args = parser.parse_args()
    chosen = [
        run for run in CONTROLS + RUNS if not args.only or run.name.startswith(tuple(args.only))
    ]
    if not chosen:
        parser.error("no run has such a name")
    summaries = [carry_out(run, args) for run in chosen]
    print(json.dumps(summaries, indent=1))
    sys.exit(0 if all(summary["fine"] for summary in summaries) else 1)


if __name__ == "__main__":
    main()
