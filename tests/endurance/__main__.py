"""Runs the load: `--minutes 60`, or `--seconds 15`; see the package."""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from endurance.growth import Series, Tolerance, verdict
from endurance.load import TASKS
from endurance.looks import INDEX_LOG, INLINE_LOG, disk_use
from endurance.passing import passing
from endurance.values import LARGEST
from endurance.workers import Worker

TOLERANCES = {
    # A connection of SQLite has three, and some are kept open for the next reader.
    "descriptors": ("descriptors", Tolerance(0, 8)),
    "threads": ("threads", Tolerance(0, 2)),
    "mapped": ("mappings", Tolerance(0, 2)),
}
MEMORY = (
    # The process that counts what it holds has one arena.
    Tolerance(0.10, 6 * 1024, 96 * 1024),
    # In the other one the C library keeps what was freed, for each thread and in pieces: four
    # fifths of all that is resident. A leak goes on, and is found by what is held long before.
    Tolerance(0.25, 16 * 1024, 160 * 1024),
)
HELD = Tolerance(0, 1 << 20)
"""Nothing is open when it is counted."""
PASSING = 256 << 10
"""For 9,000 names whose keys come and go: 29 bytes for each, of which there are three keys."""
PASSING_ROUNDS = 240
LASTING, MORTAL = 2, 2
DISK = {
    # As much as is written at a moment comes and goes.
    "all": Tolerance(0.10, 32 << 20),
    "log of the index": Tolerance(0, 4 << 20, INDEX_LOG),
    "log of the inline values": Tolerance(0, 16 << 20, INLINE_LOG),
    # By each task, and as much again of writers that died; what is largest becomes no larger by
    # its format.
    "being written": Tolerance(0, 8 << 20, 2 * (LASTING + MORTAL) * TASKS * 1.1 * LARGEST),
}
LONG = 600.0
"""Seconds from which on a run tells growth from the warm-up."""


class Endurance:
    """One run: two processes that stay, two that are killed again and again."""

    def __init__(self, folder: Path, seconds: float, seed: int) -> None:
        self.folder = folder
        self.seconds = seconds
        self.dice = random.Random(seed)
        self.begin = time.monotonic()
        self.kills = 0
        self.looks: list[dict[str, object]] = []
        self.disk = {
            name: Series(f"disk: {name}", "bytes", tolerance) for name, tolerance in DISK.items()
        }
        self.live = Series("live data", "bytes", Tolerance(10, 1 << 40))
        self.lasting = [self.start(exact=at == 0) for at in range(LASTING)]
        self.mortal = [self.start() for _ in range(MORTAL)]
        self.series = {
            (at, name): Series(f"process {at}: {name}", unit, tolerance)
            for at in range(LASTING)
            for name, (unit, tolerance) in {"memory": ("KiB", MEMORY[at]), **TOLERANCES}.items()
        }
        self.held = Series("process 0: held", "bytes", HELD, ("1,000 steps", 1_000))

    @property
    def passed(self) -> float:
        """Seconds since the begin."""
        return time.monotonic() - self.begin

    def start(self, *, exact: bool = False) -> Worker:
        """One more worker."""
        return Worker(self.folder, self.dice.getrandbits(32), exact=exact)

    def run(self, every: float, look_every: float) -> None:
        """Kills every few seconds, and looks around now and then and at the end."""
        looks = itertools.count(1)
        next_look = look_every * next(looks)
        while self.passed < self.seconds:
            time.sleep(every * (0.5 + self.dice.random()))
            self.complain()
            self.measure()
            at = self.dice.randrange(MORTAL)
            self.mortal[at].kill()
            self.kills += 1
            self.mortal[at] = self.start()
            if self.passed >= next_look:
                self.look()
                next_look = look_every * next(looks)
        self.look()

    def complain(self) -> None:
        """Fails if a worker has seen something wrong, or has ended by itself."""
        for worker in (*self.lasting, *self.mortal):
            wrong = worker.wrong()
            assert wrong is None, wrong

    def measure(self) -> None:
        """Takes the measures of those that stay, and of the folder."""
        for at, worker in enumerate(self.lasting):
            for name, value in worker.measure(self.folder).items():
                self.series[at, name].add(self.passed, value)
        for name, taken in disk_use(self.folder).items():
            self.disk[name].add(self.passed, taken)

    def look(self) -> None:
        """Lets all pause, and compares what lies there with what may."""
        workers = (*self.lasting, *self.mortal)
        for worker in workers:
            worker.tell("pause")
        for worker in workers:
            worker.expect("paused")
        if self.lasting[0].held is not None:
            self.held.add(*self.lasting[0].held)
        found = look(self.folder)
        self.looks.append(found)
        self.live.add(self.passed, found["live"])
        print(
            f"{self.passed:6.0f} s: {self.kills} kills, {found['keys']} keys ({found['inline']} "
            f"inline), {found['live']:,} bytes live, {found['taken']:,} taken, "
            f"{found['bound']:,} allowed, {found['databases']}",
            flush=True,
        )
        assert not found["wrong"], found["wrong"]
        for worker in workers:
            worker.tell("go on")

    def finish(self) -> None:
        """Ends all in order, looks once more, removes everything and looks what stays."""
        for worker in (*self.lasting, *self.mortal):
            worker.finish()
        found = look(self.folder)
        assert not found["wrong"], found["wrong"]
        for (at, name), series in self.series.items():
            assert any(value for _, value in series.points), f"no {name} of process {at} was seen"

    def measured(self, *others: Series) -> list[Series]:
        """What has to be flat."""
        return [*self.series.values(), self.held, *self.disk.values(), *others]

    def report(self, *others: Series) -> bool:
        """Says what was measured; whether all of it is flat, and below what it may be."""
        all_of_it = self.measured(*others)
        for series in (*all_of_it, self.live):
            print(series)
        steps = self.held.points[-1][0] if self.held.points else 0
        print(f"{steps:,.0f} steps of process 0")
        is_flat = self.seconds < LONG or all(series.is_flat() for series in all_of_it)
        return is_flat and all(series.is_bounded() for series in all_of_it)


def look(folder: Path) -> dict[str, object]:
    """Looks from a process of its own, which opens the store anew."""
    command = [sys.executable, "-W", "error", "-m", "endurance.looks", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


def main() -> int:
    """Reads the arguments and runs."""
    parser = argparse.ArgumentParser(prog="endurance", description=__doc__)
    parser.add_argument("--minutes", type=float, default=0)
    parser.add_argument("--seconds", type=float, default=0)
    parser.add_argument("--every", type=float, default=4, help="seconds between kills")
    parser.add_argument("--look-every", type=float, default=120, help="seconds between looks")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--folder", type=Path, help="the folder in which the store is made")
    given = parser.parse_args()
    seconds = given.minutes * 60 + given.seconds or 60
    os.nice(10)
    # All workers, and whoever looks, sign with one key that nobody else has.
    os.environ.setdefault("HOLDALL_SIGNING_KEY", "a key for the time of this run")
    print(f"seed {given.seed}, {seconds:.0f} s", flush=True)
    with tempfile.TemporaryDirectory(prefix="holdall-endurance-", dir=given.folder) as folder:
        run = Endurance(Path(folder).resolve() / "store", seconds, given.seed)
        others = []
        try:
            run.run(given.every, given.look_every)
            run.finish()
            if seconds >= LONG:
                others = [passing(Path(folder) / "passing", PASSING_ROUNDS, PASSING)]
        finally:
            for worker in (*run.lasting, *run.mortal):
                worker.kill()
            flat = run.report(*others)
        print(f"{run.kills} kills, {len(run.looks)} looks, {run.passed:.0f} s: ", end="")
        print(verdict(run.measured(*others), flat))
        return 0 if flat else 1


if __name__ == "__main__":
    sys.exit(main())
