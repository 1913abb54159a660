"""All scenarios, one file for each group of questions; each has `SCENARIOS`."""

from __future__ import annotations

from ..model import Scenario


def every() -> list[Scenario]:
    """In the order of the report."""
    from . import arrays, batches, expiry, footprint, hit_ratio, hits, lag, listing, small, start

    modules = (hits, batches, footprint, expiry, hit_ratio, small, arrays, listing, lag, start)
    return [scenario for module in modules for scenario in module.SCENARIOS]
