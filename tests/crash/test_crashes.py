"""Crashes, in short: nothing acknowledged is lost, nothing torn, nothing stale; see `make crash`.

Each run says what it needs if that is not there: root, FUSE, loop devices, strace, mkfs.
"""

from __future__ import annotations

import pytest

from crash.ground import missing
from crash.harness import modes
from crash.plan import CONTROLS, RUNS

pytestmark = pytest.mark.timeout(180)

PLAN = {run.name: run for run in CONTROLS + RUNS}


def report_of(name, rounds, seed=1, **settings):
    run = PLAN[name]
    lacks = missing(run)
    if lacks:
        pytest.skip(f"{name} cannot be run here: {lacks}")
    options = run.options(rounds, seed=seed)
    for setting, value in settings.items():
        setattr(options, setting, value)
    return modes.run(options)


@pytest.mark.parametrize("name, rounds", [("control-naive-strict", 3), ("control-naive-kill", 2)])
def test_a_store_without_care_is_found_out(name, rounds):
    # A kill may come at a moment at which nothing is being written: then once more.
    reports = (report_of(name, rounds, seed, seconds=1) for seed in range(1, 9))
    assert any(report.bad["lost"] + report.bad["torn"] > 0 for report in reports)


def test_a_memory_that_serves_old_values_is_found_out():
    report = report_of("control-amnesic-kill", 2, seconds=1)
    assert report.bad["stale_read"] > 0, report.summary()


def test_a_store_with_care_is_not_accused():
    report = report_of("control-atomic-strict", 3, seconds=1)
    assert report.is_clean(), report.summary()


@pytest.mark.parametrize("name, rounds", [("kill", 3), ("kill-one", 2)])
def test_writers_that_are_killed_lose_nothing_and_no_reader_sees_anything_old(name, rounds):
    report = report_of(name, rounds, seconds=1.5)
    assert report.is_clean(), report.summary()


@pytest.mark.parametrize(
    "name, cuts", [("ext4-disk", 8), ("xfs-disk", 4), ("strict-both", 8), ("journal-process", 4)]
)
def test_after_a_power_cut_what_is_durable_is_there_and_the_rest_is_whole_or_reported(name, cuts):
    report = report_of(name, cuts, seconds=1.2)
    assert report.is_clean(), report.summary()


def test_a_process_killed_at_a_system_call_leaves_every_key_old_or_new():
    report = report_of("sweep-disk", 12, syscalls="fsync,renameat,pwrite64", first=1, step=1)
    # strace counts the calls of each thread: which of them the n-th is differs from run to run,
    # and whether anything was acknowledged before it.
    assert report.states > 0 and not report.broken, report.summary()
