"""The crashes."""

from __future__ import annotations

import os
import random
import tempfile
from dataclasses import dataclass, field

from .judge import INF, History
from .report import Report
from .verify import make_verifier
from .writers import make_writer, run_writer

# Modes that cut the power.
CUTS = ("power", "strict", "inode", "journal")
# What changes a store; `--syscalls` chooses others.
SYSCALLS = (
    "write,pwrite64,writev,pwritev,pwritev2,fsync,fdatasync,msync,ftruncate,fallocate,mkdir,mkdirat,"
    "rename,renameat,renameat2,link,linkat,unlink,unlinkat,rmdir,fsetxattr,utimensat,sync_file_range"
)


@dataclass
class Options:
    """How to crash what; the command line of the harness has the same names."""

    mode: str
    writer: list[str]  # "{dir}" stands for the store
    verify: list[str]
    rounds: int = 50
    seconds: float = 2.0  # longest life of a writer, from its first word on
    least: float = 0.3  # shortest life of a writer (kill)
    seed: int = 1
    examples: int = 5
    verify_timeout: float = 60
    serves: bool = False  # writer and verifier are one program each for all states, see `serve`
    forgiven: tuple[str, ...] = ()  # first letters of keys that need not survive
    fs: str = "ext4"
    per_run: int = 100  # power cuts from one recording
    syscalls: str = SYSCALLS
    first: int = 1  # n of the first system call that is hit
    step: int = 1
    errno: str = "ENOSPC"
    stays: bool = False  # the fault lasts, as on a full disk
    environment: dict[str, str] = field(default_factory=dict)


def run(options, progress=lambda report: None):
    """Crashes a store as the options say; answers with the report."""
    report = Report(options, progress)
    rng = random.Random(options.seed)
    with make_verifier(options, reboot=options.mode in CUTS) as report.verify:
        if options.mode in ("sweep", "fault"):
            _inject(options, report)
            return report
        with make_writer(options) as write:
            mode = _kill if options.mode == "kill" else _cut
            mode(options, report, rng, write)
    return report


def _kill(options, report, rng, write):
    """One store, killed again and again: recovery of a recovered store counts too."""
    history = History()
    with tempfile.TemporaryDirectory() as folder:
        for n in range(options.rounds):
            life = rng.uniform(options.least, options.seconds)
            note = write(options, folder, f"{options.seed}.{n}", history, life)
            held = report.check(f"round {n}", folder, history, note=note)
            report.explain(f"round {n}", history, held, note)
            history = history.following(held)


def _inject(options, report):
    """Each n-th call of each kind is killed (sweep) or fails (fault), n = 1, 2, ...

    strace counts the calls of each kind apart, and those of each thread.
    """
    for syscall in options.syscalls.split(","):
        n = options.first
        while report.states < options.rounds and _inject_one(options, report, syscall, n):
            n += options.step


def _inject_one(options, report, syscall, n):
    """Whether there was such a call."""
    history, when = History(), f"{n}{'+' if options.stays else ''}"
    action = "signal=KILL" if options.mode == "sweep" else f"error={options.errno}"
    with (
        tempfile.TemporaryDirectory() as folder,
        tempfile.NamedTemporaryFile(mode="r", errors="replace") as trace,
    ):
        prefix = [
            *["strace", "-f", "-q", "-o", trace.name, "-e", f"trace={syscall}"],
            *["-e", f"inject={syscall}:{action}:when={when}"],
        ]
        life = options.seconds + 90  # enough on a machine that has much else to do
        note = run_writer(options, folder, options.seed, history, life, prefix=prefix)
        log = trace.read().splitlines()
        if not any("INJECTED" in line or "SIGKILL" in line for line in log):
            if not any("exited with 0" in line for line in log):
                # Whether there was such a call is not known, and the sweep would end too early.
                raise RuntimeError(f"{syscall} {when}: neither hit nor at its end: {note}")
            return False  # the writer makes fewer calls than that
        calls = [line for line in log if "INJECTED" in line or "(" in line]
        state = f"call {when}: {calls[-1][:160]}"
        held = report.check(state, folder, history, note=note)
        if options.mode == "fault":
            history.errors.clear()  # they are what the store has to say
        report.explain(state, history, held, note)
    return True


def _cut(options, report, rng, write):
    """One recorded run, many power cuts: at random points and right after acknowledgements."""
    from .blocklog import PowerDisk
    from .strictfs import StrictDisk

    left = options.rounds
    while left > 0:
        folder = tempfile.mkdtemp()
        is_power = options.mode == "power"
        disk = PowerDisk(folder, options.fs) if is_power else StrictDisk(folder, options.mode)
        stopped = False
        try:
            history = History()
            store = os.path.join(disk.root, "store")
            os.mkdir(store)
            for place in (disk.root, store):
                descriptor = os.open(place, os.O_RDONLY)
                os.fsync(descriptor)
                os.close(descriptor)
            first = disk.position()
            seed = f"{options.seed}.{left}"
            note = write(options, store, seed, history, options.seconds, disk.position)
            disk.stop()
            stopped = True
            report.explain(f"recording {seed}", history, None, note)
            acks = sorted(
                {
                    save.durable
                    for saves in history.saves.values()
                    for save in saves.values()
                    if save.durable < INF
                }
            )
            if not acks:
                raise RuntimeError(f"the writer acknowledged nothing: {note}")
            for _ in range(min(left, options.per_run)):
                after_ack = rng.random() < 0.5
                cut = rng.choice(acks) if after_ack else rng.randrange(first, len(disk.log) + 1)
                keep = rng.choice([0, 0.5, 1])
                state = f"recording {seed}, cut {cut} of {len(disk.log)}, keep {keep}"
                after = disk.crash(cut, keep, rng)
                try:
                    report.check(state, os.path.join(after, "store"), history, cut, note)
                finally:
                    disk.release()
        finally:
            if not stopped:
                disk.stop()
            disk.close()
        left -= options.per_run
