"""The short form of `hostile.flips`: some of the damages, chosen by chance with a fixed seed."""

from __future__ import annotations

import random

from hostile.flips import Report, judge, planned, run
from hostile.stores import Damage

STATES = 120


def test_no_damaged_byte_makes_a_value_false_or_a_process_end(tmp_path):
    states = planned(tmp_path, samples=200, seed=1)
    # The counters of the clock, of which one is like the other, are most of all.
    report = run(random.Random(2).sample(states, STATES), tmp_path)
    assert not report.findings, str(report)
    assert report.states == STATES


def test_no_damaged_byte_of_the_clocks_header_hides_a_value(tmp_path):
    states = planned(tmp_path, samples=0, seed=1)
    header = [
        state
        for state in states
        if state[1].file == ".holdall/clock"
        and state[1].kind == "flip"
        and 32 <= state[1].offset < 52
        and state[1].mask == 0xFF
    ]
    assert len(header) == 40
    report = run(header, tmp_path)
    assert not report.findings, str(report)


def test_the_judge_finds_what_is_to_be_found():
    damage = Damage("json.json", "flip", 1, 1)
    fine = {name: "ok" for name in ("save", "list", "stats", "tags", "expire", "close")}
    for found in (
        "the process died: -7",
        {"seconds": 99.0, "values": {}, **fine},
        {"seconds": 0.1, "values": {"json": "RAW AssertionError: FALSE 1"}, **fine},
        {"seconds": 0.1, "values": {"bytes": "BlobCorruptError"}, **fine},
        {"seconds": 0.1, "values": {}, **fine, "save": "StorageIOError"},
    ):
        report = Report()
        judge(damage, found, report)
        assert report.findings, found
    report = Report()
    judge(damage, {"seconds": 0.1, "values": {"json": "BlobCorruptError"}, **fine}, report)
    assert not report.findings
