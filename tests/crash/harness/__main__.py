"""Crashes any store: `python -m crash.harness MODE -w "writer {dir}" -v "verifier {dir}"`."""

from __future__ import annotations

import argparse
import json
import shlex
import sys

from .modes import CUTS, SYSCALLS, Options, run

MODES = ("kill", "sweep", "fault", *CUTS)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mode", choices=MODES)
    parser.add_argument("-w", "--writer", required=True, type=shlex.split)
    parser.add_argument("-v", "--verify", required=True, type=shlex.split)
    parser.add_argument("-n", "--rounds", type=int, default=50, help="crash states to look at")
    parser.add_argument("-s", "--seconds", type=float, default=2, help="longest life of a writer")
    parser.add_argument("--least", type=float, default=0.3, help="shortest life of a writer (kill)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--examples", type=int, default=5)
    parser.add_argument("--verify-timeout", type=float, default=60)
    parser.add_argument("--serves", action="store_true", help="the verifier serves all states")
    parser.add_argument("--forgiven", nargs="*", default=(), help="beginnings of keys")
    parser.add_argument("--fs", default="ext4", choices=["ext4", "xfs"])
    parser.add_argument("--per-run", type=int, default=100, help="power cuts from one recording")
    parser.add_argument("--syscalls", default=SYSCALLS)
    parser.add_argument("--first", type=int, default=1, help="the system call that is hit first")
    parser.add_argument("--step", type=int, default=1)
    parser.add_argument("--errno", default="ENOSPC")
    parser.add_argument("--stays", action="store_true", help="the fault lasts")
    report = run(Options(**vars(parser.parse_args())))
    print(json.dumps(report.summary(), indent=1))
    sys.exit(0 if report.is_clean() else 1)


if __name__ == "__main__":
    main()
