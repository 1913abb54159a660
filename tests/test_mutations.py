"""The tables of what is broken on purpose fit the code, the tests and the page about the disk."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "mutations"))

import run as mutations  # noqa: E402

ALL = mutations.breaks()
BREAKS = [one for one in ALL if one.table == "rules.toml"]
PAGE = (ROOT / "docs" / "disk-rules.md").read_text()


def test_every_break_still_fits_its_place_in_the_code():
    # `make mutations` builds this, and sees the tests fail; here it is only laid out.
    assert len(mutations.sources(ALL)) > 100


@pytest.mark.parametrize("rule", sorted({one.rule for one in BREAKS}))
def test_a_rule_has_its_row_on_the_page_with_the_tests_that_hold_it(rule):
    (row,) = re.findall(rf"(?m)^\| {re.escape(rule)} \|.*$", PAGE)
    named = {test for one in BREAKS if one.rule == rule for test in one.tests}
    assert set(re.findall(r"`(\w+)`", row.split(" | ")[2])) == named


def test_a_test_that_holds_a_rule_exists_once():
    engine = ROOT / "crates" / "holdall"
    text = "\n".join(path.read_text() for path in engine.rglob("*.rs"))
    for test in {test for one in BREAKS for test in one.tests}:
        assert len(re.findall(rf"fn {test}\(", text)) == 1, test


def test_a_property_of_threads_that_a_break_names_exists_and_each_is_broken():
    text = (ROOT / "crates" / "holdall-races" / "tests" / "races.rs").read_text()
    explored = set(re.findall(r"(?m)^    [\d_]+ (\w+)$", text))
    named = {test for one in ALL if one.table == "races.toml" for test in one.tests}
    assert named <= explored
    assert explored <= named, "what cannot fail proves nothing"


def test_the_tests_of_python_that_the_page_names_exist():
    text = "\n".join(path.read_text() for path in (ROOT / "tests").glob("test_*.py"))
    for test in re.findall(r"`(test_\w+)`", PAGE):
        assert f"def {test}(" in text, test


def test_the_page_has_no_rule_that_nothing_breaks():
    assert set(re.findall(r"(?m)^\| (\d+\.\d+) \|", PAGE)) == {one.rule for one in BREAKS}
