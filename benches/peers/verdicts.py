"""Judges the figures by the targets: one row for each line, met or missed, none left out."""

from __future__ import annotations

from dataclasses import dataclass

from .model import Scenario, Target
from .runner import Result


@dataclass(frozen=True)
class Verdict:
    """One row of the table of targets."""

    scenario: str
    text: str
    wanted: str
    measured: float | None
    against: str
    floor: str
    verdict: str
    margin: float | None
    """Measured over wanted, such that 1 or more is met; `None` if it was not measured."""


def judge(scenario: Scenario, results: dict[str, Result]) -> list[Verdict]:
    """A verdict for every target of a scenario."""
    return [one(scenario, target, results) for target in scenario.targets]


def one(scenario: Scenario, target: Target, results: dict[str, Result]) -> Verdict:
    """The verdict on one target."""
    ours = results[target.ours]
    floor = _floor(target, results, scenario.unit)
    sign = "<=" if target.how in ("at most", "below") else ">="
    suffix = {"faster": "x", "at most": "x", "below": f" {scenario.unit}"}.get(
        target.how, " points"
    )
    wanted = f"{sign} {target.wanted:g}{suffix}"

    def verdict(measured: float | None, against: str, said: str, margin: float | None) -> Verdict:
        return Verdict(scenario.name, target.text, wanted, measured, against, floor, said, margin)

    if ours.median is None:
        return verdict(None, "", f"not measured: {ours.absent}", None)
    if target.how == "below":
        met = ours.median <= target.wanted
        margin = target.wanted / ours.median if ours.median > 0 else 100.0
        return verdict(ours.median, "", "met" if met else "missed", margin)
    there = {name: results[name] for name in target.against if results[name].figures}
    lacking = [f"{name} ({results[name].absent})" for name in target.against if name not in there]
    if not there:
        return verdict(None, "", "not measured: " + ", ".join(lacking), None)
    choose = max if scenario.better == "higher" else min
    best = choose(there, key=lambda name: there[name].median or 0.0)
    theirs = there[best].median or 0.0
    measured, met, margin = _compare(target, scenario, ours, there[best], ours.median, theirs)
    said = "met" if met else "missed"
    if lacking:
        said += "; without " + ", ".join(lacking)
    return verdict(measured, best, said, margin)


def _compare(
    target: Target, scenario: Scenario, ours: Result, other: Result, mine: float, theirs: float
) -> tuple[float, bool, float]:
    """What is measured, whether that is enough, and by how much."""
    if target.how in ("above", "cells"):
        difference = mine - theirs
        if target.how == "cells":
            difference = min(ours.details[cell] - other.details[cell] for cell in ours.details)
        return difference, difference >= target.wanted, 1 + (difference - target.wanted) / 10
    if target.how == "at most":
        ratio = mine / theirs
        return ratio, ratio <= target.wanted, target.wanted / ratio
    ratio = mine / theirs if scenario.better == "higher" else theirs / mine
    return ratio, ratio >= target.wanted, ratio / target.wanted


def _floor(target: Target, results: dict[str, Result], unit: str) -> str:
    """The floor of a line, as text."""
    if not target.floor:
        return ""
    median = results[target.floor].median
    return f"{target.floor}: " + ("absent" if median is None else f"{median:.3g} {unit}")
