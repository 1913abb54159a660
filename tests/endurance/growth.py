"""Whether something that was measured over time stays as it is."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

HOUR = 3_600.0
WARM_UP = 0.25
"""The share of the time after which everything must be flat."""


@dataclass(frozen=True)
class Tolerance:
    """How much may be added in the time after the warm-up: a share of the median, or so much."""

    share: float
    least: float


@dataclass
class Series:
    """One measured quantity of one process, or of the folder."""

    name: str
    unit: str
    tolerance: Tolerance
    points: list[tuple[float, float]] = field(default_factory=list)

    def add(self, seconds: float, value: float) -> None:
        """Takes a measurement, in order of time."""
        self.points.append((seconds, value))

    def settled(self) -> list[tuple[float, float]]:
        """The measurements after the warm-up."""
        begin, end = self.points[0][0], self.points[-1][0]
        return [point for point in self.points if point[0] >= begin + (end - begin) * WARM_UP]

    def slope(self) -> float:
        """What is added in a second, by least squares."""
        points = self.settled()
        if len(points) < 3:
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
        """Whether no more is added than is allowed."""
        return not self.points or self.added() <= self.allowed()

    def __str__(self) -> str:
        if not self.points:
            return f"{self.name}: never measured"
        values = [value for _, value in self.settled()]
        word = "flat" if self.is_flat() else "GROWS"
        return (
            f"{self.name}: {min(values):,.0f} to {max(values):,.0f} {self.unit}, "
            f"slope {self.slope() * HOUR:+,.2f} {self.unit}/h, "
            f"{self.added():+,.2f} of {self.allowed():,.2f} allowed: {word}"
        )
