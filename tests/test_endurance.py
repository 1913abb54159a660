"""Mixed load in four processes with kills: values stay whole, the index agrees, nothing is left."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from endurance.__main__ import HELD
from endurance.growth import Series, Tolerance, verdict
from endurance.held import held
from endurance.looks import leftovers
from endurance.passing import passing

TESTS = Path(__file__).parent


@pytest.mark.timeout(240)
def test_under_mixed_load_with_kills_values_stay_whole_and_nothing_is_left(tmp_path):
    """The short form of `make endurance`, which also tells whether something grows."""
    pytest.importorskip("joblib")
    pytest.importorskip("numpy")
    run = (sys.executable, "-m", "endurance", "--seconds", "8", "--every", "2", "--look-every", "5")
    done = subprocess.run(
        [*run, "--folder", tmp_path],
        cwd=TESTS,
        capture_output=True,
        text=True,
        timeout=230,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "in order" in done.stdout


def test_what_grows_is_told_from_what_varies():
    def series(values):
        made = Series("memory", "KiB", Tolerance(0.1, 100))
        for at, value in enumerate(values):
            made.add(at, value)
        return made

    warm_up = [0, 4_000, 8_000, 9_000, 9_500]
    assert series([*warm_up, *(10_000 + n % 7 * 50 for n in range(60))]).is_flat()
    assert not series([*warm_up, *(10_000 + n * 50 for n in range(60))]).is_flat()


def test_what_was_never_measured_is_named_beside_the_verdict():
    memory, held = (Series(name, "bytes", Tolerance(0.1, 100)) for name in ("memory", "held"))
    memory.add(0, 1)
    assert verdict([memory, held], is_in_order=True) == (
        "in order; left out, for it was never measured: held"
    )
    held.add(0, 1)
    assert verdict([memory, held], is_in_order=True) == "in order"
    assert verdict([memory, held], is_in_order=False) == "something grows"


def test_a_leak_of_eight_bytes_a_step_is_told_from_what_is_held_for_a_while():
    def series(leak):
        made = Series("held", "bytes", HELD, ("1,000 steps", 1_000))
        dice = random.Random(1)
        for steps in range(0, 300_000, 10_000):
            made.add(steps, 25_000_000 + steps * leak + dice.randrange(400_000))
        return made

    assert series(0).is_flat()
    assert not series(8).is_flat()


@pytest.mark.timeout(240)
def test_keys_that_come_and_go_leave_nothing_in_memory(tmp_path):
    """A short form again: the caches of Python and SQLite are not yet full after 600 names."""
    pytest.importorskip("joblib")
    if held() is None:
        pytest.skip("this C library does not tell what memory is held")
    assert passing(tmp_path / "whole", 12, 600_000).is_flat()
    leaking = passing(tmp_path / "leaking", 12, 600_000, leak=2_000)
    assert not leaking.is_flat(), leaking


def test_what_dead_writers_leave_is_found(tmp_path):
    for name in ("tmp", "index/3", "index/4", "inline", "keys"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("tmp/0123", "inline/values.sqlite.00", "inline/reserve", "keys/abc", "store.json"):
        (tmp_path / name).touch()
    (tmp_path / "unknown").touch()
    assert len(leftovers(tmp_path, ["short"])) == 6
    (tmp_path / "tmp/0123").unlink()
    assert len(leftovers(tmp_path, ["x" * 1_001])) == 4
