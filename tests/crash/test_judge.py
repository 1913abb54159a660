"""The judge of crashes: it finds each fault, and lets pass what is allowed."""

from __future__ import annotations

import pytest

from crash.harness.judge import Held, History
from crash.harness.verify import parse


def history(*lines):
    made = History()
    for at, text in enumerate(lines):
        made.line(text, at)
    return made


def held(*lines):
    return parse(lines, opened=True)


ONE = ("TRY k 1 a", "ACK k 1 a")
TWO = (*ONE, "TRY k 2 b", "ACK k 2 b")
FLIGHT = (*ONE, "TRY k 2 b")
OVERLAP = ("TRY k 1 a", "TRY k 2 b", "ACK k 1 a", "ACK k 2 b")
DELETED = (*ONE, "TRY k 2 -", "ACK k 2 -")
MOVE = (*ONE, "TRY k 2 -", "TRY t 1 a", "MOV k t 1")


@pytest.mark.parametrize(
    "lines, found, want",
    [
        (ONE, "HAS k 1 a", None),
        (ONE, "", "lost"),
        (ONE, "MISSING k", "lost"),
        (ONE, "HAS k 1 x", "torn"),
        (ONE, "TORN k", "torn"),
        (ONE, "CORRUPT k", "corrupt"),
        (ONE, "FAILED k Error", "failed"),
        (ONE, "HAS k 9 a", "phantom"),
        (ONE, "HAS k 1 a|HAS z 1 a", "phantom"),
        (ONE, "HAS k 1 a|MISSING z", None),
        (TWO, "HAS k 2 b", None),
        (TWO, "HAS k 1 a", "lost"),
        (FLIGHT, "HAS k 1 a", None),
        (FLIGHT, "HAS k 2 b", None),
        (FLIGHT, "", "lost"),
        (FLIGHT, "CORRUPT k", "corrupt"),
        (("TRY k 1 a",), "", None),
        (OVERLAP, "HAS k 1 a", None),
        (OVERLAP, "HAS k 2 b", None),
        (DELETED, "", None),
        (DELETED, "HAS k 1 a", "lost"),
        ((*ONE, "TRY k 2 -"), "", None),
        ((*DELETED, "TRY k 3 c", "ACK k 3 c"), "", "lost"),
        (ONE, "HAS k 1 a|LISTED k", None),
        (ONE, "HAS k 1 a|LISTED", "listing"),
        (ONE, "HAS k 1 a|LISTED k z", "listing"),
        (DELETED, "MISSING k|LISTED k", "listing"),
        (MOVE, "HAS k 1 a|MISSING t", None),
        (MOVE, "HAS k 1 a|HAS t 1 a", None),
        (MOVE, "MISSING k|HAS t 1 a", None),
        (MOVE, "MISSING k|MISSING t", "lost"),
        ((*MOVE, "ACK t 1 a", "ACK k 2 -"), "MISSING k|HAS t 1 a", None),
        ((*MOVE, "ACK t 1 a", "ACK k 2 -"), "HAS k 1 a|HAS t 1 a", "lost"),
    ],
)
def test_what_a_store_may_hold(lines, found, want):
    verdict = history(*lines).verdict(held(*found.split("|")))
    assert set(verdict.bad) == ({want} if want else set()), verdict.detail


def test_a_store_that_does_not_open_is_a_failure():
    assert history(*ONE).verdict(Held(False)).bad == {"unopenable": 1}


def test_a_power_cut_before_the_answer_forgives():
    told = history(*TWO)  # acknowledged at positions 1 and 3
    assert not told.verdict(held("HAS k 1 a"), position=2).bad
    assert told.verdict(held("HAS k 1 a"), position=3).bad == {"lost": 1}
    assert not told.verdict(held(), position=0).bad


@pytest.mark.parametrize(
    "found, allowed",
    [
        ("HAS k 1 a", True),
        ("MISSING k", True),
        ("CORRUPT k", True),
        ("TORN k", False),
        ("FAILED k Error", False),
        ("HAS k 2 x", False),
        ("HAS k 9 x", False),
        ("HAS k 2 b|LISTED", False),
    ],
)
def test_a_key_that_need_not_survive_may_be_old_gone_or_reported_but_never_torn(found, allowed):
    verdict = history(*TWO).verdict(held(*found.split("|")), forgiven=("k",))
    assert bool(verdict.bad) != allowed
    assert bool(verdict.forgiven) == allowed


@pytest.mark.parametrize(
    "lines, fine",
    [
        ((*ONE, "GET k r", "GOT k r 1 a"), True),
        ((*ONE, "GET k r", "GOT k r - -"), False),
        (("GET k r", "GOT k r - -", *ONE), True),
        ((*TWO, "GET k r", "GOT k r 1 a"), False),
        ((*FLIGHT, "GET k r", "GOT k r 1 a", "GET k s", "GOT k s 2 b"), True),
        ((*FLIGHT, "GET k r", "GOT k r 2 b", "GET k s", "GOT k s 1 a"), False),
        ((*ONE, "GET k r", "GOT k r torn torn"), False),
        ((*ONE, "GET k r", "GOT k r 1 x"), False),
        (("GET k r", "GOT k r 1 a", *ONE), False),
        ((*ONE, "GET k r", "TRY k 2 b", "ACK k 2 b", "GOT k r 1 a"), True),
        # Deletions: a miss has its place among the other reads.
        ((*DELETED, "GET k r", "GOT k r - -"), True),
        ((*DELETED, "GET k r", "GOT k r 1 a"), False),
        ((*DELETED, "TRY k 3 c", "ACK k 3 c", "GET k r", "GOT k r - -"), False),
        ((*ONE, "TRY k 2 -", "GET k r", "GOT k r - -", "GET k s", "GOT k s 1 a"), False),
        (
            (*ONE, "TRY k 2 -", "TRY k 3 c", "GET k r", "GOT k r - -", "GET k s", "GOT k s 3 c"),
            True,
        ),
        ((*ONE, "GET k r", "GOT k r * *"), True),
        ((*DELETED, "GET k r", "GOT k r * *"), False),
        # Listings: a key that was there all the time is in each of them.
        ((*ONE, "LST l", "LSD l k"), True),
        ((*ONE, "LST l", "LSD l -"), False),
        ((*TWO[:3], "LST l", "LSD l -", "ACK k 2 b"), False),
        ((*DELETED, "LST l", "LSD l k"), False),
        (("LST l", *ONE, "LSD l -"), True),
        ((*ONE, "LST l", "LSD l k,z"), False),
    ],
)
def test_what_may_be_read(lines, fine):
    assert bool(history(*lines).contradictions()) != fine


def test_what_is_found_in_the_end_is_a_read_too():
    told = history(*FLIGHT, "GET k r", "GOT k r 2 b")
    assert not told.contradictions(held("HAS k 2 b"))
    assert told.contradictions(held("HAS k 1 a"))
    assert told.contradictions(held("MISSING k"))


def test_a_save_of_a_dead_writer_does_not_come_back_after_it_was_seen_to_have_failed():
    after = history(*FLIGHT).following(held("HAS k 1 a", "MISSING z"))
    assert not after.verdict(held("HAS k 1 a")).bad
    assert after.verdict(held("HAS k 2 b")).bad == {"phantom": 1}
    assert after.verdict(held("MISSING k")).bad == {"lost": 1}
    assert not after.contradictions(held("HAS k 1 a"))
    after.line("GET k r")
    after.line("GOT k r - -")
    assert after.contradictions(held("HAS k 1 a"))


def test_what_is_no_line_of_the_protocol_is_an_error():
    assert history("ERR the disk is on fire").errors
