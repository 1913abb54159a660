"""Whether something that was measured over time stays as it is."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

HOUR = 3_600.0
WARM_UP = 0.25
"""The share of the time after which everything must be flat."""


@dataclass(frozen=True)
class Tolerance:
    """How much may be added after the warm-up, a share of the median or so much; and what no
    measurement may exceed, of the warm-up neither."""

    share: float
    least: float
    most: float = float("inf")


@dataclass
class Series:
    """One measured quantity of one process, or of the folder, over seconds or over steps."""

    name: str
    unit: str
    tolerance: Tolerance
    over: tuple[str, float] = ("h", HOUR)
    """In what the slope is told: a name, and so many seconds or steps."""
    points: list[tuple[float, float]] = field(default_factory=list)

    def add(self, at: float, value: float) -> None:
        """Takes a measurement, in order of time."""
        self.points.append((at, value))

    def settled(self) -> list[tuple[float, float]]:
        """The measurements after the warm-up."""
        begin, end = self.points[0][0], self.points[-1][0]
        return [point for point in self.points if point[0] >= begin + (end - begin) * WARM_UP]

    def slope(self) -> float:
        """What is added in a second or by a step, by least squares."""
        points = self.settled()
        if len({at for at, _ in points}) < 3:
            return 0.0
        return statistics.linear_regression(*zip(*points, strict=True)).slope

    def allowed(self) -> float:
        """What may be added in the time after the warm-up."""
        middle = statistics.median(value for _, value in self.settled())
        return max(self.tolerance.share * middle, self.tolerance.least)

    def added(self) -> float:
        """What the slope comes to in the time after the warm-up."""
        points = self.settled()
        return self.slope() * (points[-1][0] - points[0][0])

    def is_flat(self) -> bool:
        """Whether no more is added than is allowed; of what was never measured see `verdict`."""
        return not self.points or self.added() <= self.allowed()

    def is_bounded(self) -> bool:
        """Whether it was never above what it may be."""
        return all(value <= self.tolerance.most for _, value in self.points)

    def __str__(self) -> str:
        if not self.points:
            return f"{self.name}: never measured"
        values = [value for _, value in self.settled()]
        word = "flat" if self.is_flat() else "GROWS"
        name, each = self.over
        told = (
            f"{self.name}: {self.points[0][1]:,.0f} at first, then {min(values):,.0f} to "
            f"{max(values):,.0f}, {values[len(values) // 2]:,.0f} in the middle, {values[-1]:,.0f} "
            f"at last, {self.unit}; slope {self.slope() * each:+,.2f}/{name}, "
            f"{self.added():+,.0f} of {self.allowed():,.0f} allowed: {word}"
        )
        if self.tolerance.most < float("inf"):
            highest = max(value for _, value in self.points)
            word = "bounded" if self.is_bounded() else "TOO MUCH"
            told += f"; {highest:,.0f} of at most {self.tolerance.most:,.0f}: {word}"
        return told


def verdict(all_of_it: Sequence[Series], is_in_order: bool) -> str:
    """The last line of a report: it names what was never measured, of which nobody can tell."""
    left_out = [series.name for series in all_of_it if not series.points]
    told = "in order" if is_in_order else "something grows"
    return (
        f"{told}; left out, for it was never measured: {', '.join(left_out)}" if left_out else told
    )
