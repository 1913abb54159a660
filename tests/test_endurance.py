"""Mixed load in four processes with kills: values stay whole, the index agrees, nothing is left."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from endurance.growth import Series, Tolerance
from endurance.looks import leftovers

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


def test_what_dead_writers_leave_is_found(tmp_path):
    for name in ("tmp", "index/3", "index/4", "inline", "keys"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("tmp/0123", "inline/values.sqlite.00", "inline/reserve", "keys/abc", "store.json"):
        (tmp_path / name).touch()
    (tmp_path / "unknown").touch()
    assert len(leftovers(tmp_path, ["short"])) == 6
    (tmp_path / "tmp/0123").unlink()
    assert len(leftovers(tmp_path, ["x" * 1_001])) == 4
