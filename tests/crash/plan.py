"""What is crashed how: the runs of `make crash`, full and short, and the controls before them."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

from crash.harness.modes import Options
from crash.names import PROCESS

ROOT = Path(__file__).parents[2]
# For verifiers and writers of one store, which are different programs.
SIGNING_KEY = "a key that signs nothing but tests"
# Tells the store that it does not lie on FUSE (XFS in its place): there it would go without memory,
# index and inline values, and prove little. Only this answer of the kernel is changed.
NOT_FUSE = (
    *("strace", "-f", "-q", "--seccomp-bpf", "-o", "/dev/null", "-e", "trace=fstatfs"),
    *("-e", "inject=fstatfs:poke_exit=@arg2=4253465800000000"),
)


@dataclass(frozen=True)
class Run:
    """One line of the plan."""

    name: str
    mode: str
    full: int  # rounds
    short: int
    store: str = "holdall"  # or an example store of `harness.targets`
    fs: str = "ext4"
    durability: str = "disk"
    workers: int = 1
    writer: tuple[str, ...] = ()
    settings: dict = field(default_factory=dict)
    fails: bool = False  # a control that has to fail

    def options(self, rounds, seed):
        """How the harness is called."""
        environment = {
            "PYTHONPATH": os.pathsep.join([str(ROOT / "python"), str(ROOT / "tests")]),
            "HOLDALL_SIGNING_KEY": SIGNING_KEY,
        }
        python, durability = [sys.executable, "-m"], ["--durability", self.durability]
        common = dict(fs=self.fs, rounds=rounds, seed=seed, environment=environment)
        if self.store != "holdall":
            program = [*python, "crash.harness.targets"]
            workers = ["--workers", str(self.workers)]
            writer = [*program, "write", self.store, "{dir}", *workers, *self.writer]
            verify = [*program, "verify", self.store, "{dir}"]
            return Options(self.mode, writer, verify, **common, **self.settings)
        program = "crash.steps" if self.mode == "sweep" else "crash.writer"
        workers = ["--workers", str(self.workers)]
        writer = [*python, program, "{dir}", *durability, *workers, *self.writer]
        if self.mode in ("strict", "inode", "journal"):
            writer = [*NOT_FUSE, *writer]
        verify = [*python, "crash.verifier", *durability, *workers]
        lasts = self.mode in ("kill", "sweep") or self.durability == "disk"
        forgiven = () if lasts else (PROCESS,)
        common |= dict(serves=True, forgiven=forgiven)
        return Options(self.mode, writer, verify, **common, **self.settings)


def _cuts(mode, name, full, short, fs="ext4"):
    """Power cuts of one kind: what has to survive, what need not, and both side by side."""
    for durability, share in (("disk", 1), ("process", 1), ("both", 5)):
        # What is not flushed would have no record at all on the strictest of file systems.
        kind = "inode" if mode == "strict" and durability != "disk" else mode
        yield Run(
            f"{name}-{durability}",
            kind,
            full // share,
            short // share,
            fs=fs,
            durability=durability,
            workers=2,
            writer=("--read", "0.1"),
            settings={"seconds": 3, "per_run": 50},
        )


def _control(store, mode, fs="ext4"):
    name = fs if mode == "power" else mode
    workers, writer = (4, ("--read", "0.3")) if mode == "kill" else (1, ())
    run = Run(f"control-{store}-{name}", mode, 50, 8, store, fs, workers=workers, writer=writer)
    return replace(run, fails=store != "atomic")


READING = ("--read", "0.5", "--large", "0.01")
MURDERS = ("--murders", "0.15")
KILLED = {"durability": "process", "workers": 4, "settings": {"seconds": 2, "least": 0.7}}
CONTROLS = [
    *(_control(store, mode) for store in ("atomic", "naive") for mode in ("strict", "journal")),
    *(_control(store, "power", fs) for store in ("atomic", "naive") for fs in ("ext4", "xfs")),
    *(_control(store, "kill") for store in ("atomic", "naive", "amnesic")),
]
RUNS = [
    *_cuts("power", "ext4", 1_000, 20),
    *_cuts("power", "xfs", 1_000, 20, "xfs"),
    *_cuts("strict", "strict", 1_000, 20),
    *_cuts("journal", "journal", 500, 20),
    Run("kill", "kill", 500, 10, writer=READING, **KILLED),
    Run("kill-one", "kill", 500, 5, writer=(*READING, *MURDERS), **KILLED),
    Run("sweep-process", "sweep", 5_000, 40, durability="process"),
    Run("sweep-disk", "sweep", 5_000, 40),
]
