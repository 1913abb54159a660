"""Takes the figures: every contender once a round, in turn, so that noise meets them all."""

from __future__ import annotations

import asyncio
import json
import os
import re
import statistics
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any

from .model import Absent, Contender, Context, Measured, Scenario, clean
from .native import program

LIMIT = 900
"""Seconds that one isolated figure may take."""


@dataclass
class Result:
    """What one contender did in all rounds, or why it could not."""

    kind: str
    note: str = ""
    figures: list[float] = field(default_factory=list)
    details: dict[str, float] = field(default_factory=dict)
    absent: str = ""

    @property
    def median(self) -> float | None:
        """The figure that is compared."""
        return statistics.median(self.figures) if self.figures else None

    def as_json(self) -> dict[str, Any]:
        """For the file of results; seven digits say more than was measured."""
        short = {name: float(f"{value:.5g}") for name, value in self.details.items()}
        median = self.median
        return {
            "kind": self.kind,
            **({"note": self.note} if self.note else {}),
            "median": None if median is None else float(f"{median:.5g}"),
            "rounds": [float(f"{figure:.5g}") for figure in self.figures],
            **({"details": short} if short else {}),
            **({"absent": self.absent} if self.absent else {}),
        }


def run(scenario: Scenario, context: Context, rounds: int) -> dict[str, Result]:
    """All contenders of a scenario, round after round; the order turns by one each round."""
    results = {one.name: Result(one.kind, one.note) for one in scenario.contenders}
    try:
        if scenario.needs is not None:
            scenario.needs(context)
    except Absent as why:
        for result in results.values():
            result.absent = str(why)
        return results
    for turn in range(min(scenario.rounds or rounds, rounds)):
        first = turn % len(scenario.contenders)
        for one in scenario.contenders[first:] + scenario.contenders[:first]:
            result = results[one.name]
            if result.absent:
                continue
            try:
                taken = figure(scenario, one, context)
            except Absent as why:
                result.absent = str(why)
            # A peer that fails, or whose task was cancelled, must not end the run of the others.
            except (Exception, asyncio.CancelledError) as error:
                result.absent = without_paths(f"failed: {type(error).__name__}: {error}")[:200]
            else:
                result.figures.append(taken.value)
                result.details.update(taken.details)
    return results


def without_paths(text: str) -> str:
    """What a report may say: not where this machine keeps its files."""
    return re.sub(r"(?:/[\w.@+-]+){2,}", "PATH", text)


def figure(scenario: Scenario, one: Contender, context: Context) -> Measured:
    """One figure, in this process or in one of its own."""
    clean()
    if scenario.isolated:
        return isolated(scenario, one, context)
    return plain(one.measure(context))


def plain(taken: float | Measured) -> Measured:
    """What a measure returned, in one form."""
    return taken if isinstance(taken, Measured) else Measured(taken)


def isolated(scenario: Scenario, one: Contender, context: Context) -> Measured:
    """One figure from a fresh process: no memory, threads or timers of the others."""
    command = [str(program(scenario.launcher))] if scenario.launcher else []
    command += [sys.executable, "-m", "benches.peers", "--one", scenario.name, one.name]
    command += ["--base", str(context.base)]
    command += ["--quick"] * context.quick + ["--large"] * context.large
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=LIMIT, env=dict(os.environ), check=False
    )
    lines = done.stdout.strip().splitlines()
    if done.returncode != 0 or not lines:
        raise RuntimeError((done.stderr.strip().splitlines() or ["no output"])[-1])
    answer = json.loads(lines[-1])
    if "absent" in answer:
        raise Absent(answer["absent"])
    return Measured(answer["value"], answer["details"])


def answer(scenario: Scenario, name: str, context: Context) -> str:
    """The other end of `isolated`: measures one contender and says it in a line of JSON."""
    one = next(one for one in scenario.contenders if one.name == name)
    try:
        taken = plain(one.measure(context))
    except Absent as why:
        return json.dumps({"absent": str(why)})
    return json.dumps({"value": taken.value, "details": dict(taken.details)})
