"""Whether the reads of one key can be explained by its writes, each at one moment of its call.

Wing and Gong's search (1993) with Lowe's memory of states (2017): a register whose writes are all
different, but for deletions, which are not.
"""

from __future__ import annotations

from dataclasses import dataclass

INF = float("inf")
ANY = "any value"
# States that are looked at before the question is given up; a thousand are usual.
PATIENCE = 500_000


@dataclass(frozen=True)
class Op:
    """A call: `value` is a seq, `None` for a deletion or a miss, `ANY` for a key in a listing."""

    start: float
    end: float  # INF: never acknowledged, so it may have happened or not
    is_write: bool
    value: str | None

    def agrees(self, current):
        return current is not None if self.value == ANY else self.value == current


def explained(ops, initial):
    """Whether there is an order of the calls that explains all reads; `None` if it was given up."""
    seen_values = {op.value for op in ops if not op.is_write}
    # What nobody has read or acknowledged explains nothing, unless it is any value at all.
    useful = [op for op in ops if op.end < INF or (op.is_write and seen_values & {op.value, ANY})]
    ops = sorted(useful, key=lambda op: op.start)
    needed = sum(1 << at for at, op in enumerate(ops) if op.end < INF)
    seen, stack = set(), [(0, 0, initial)]
    while stack:
        done, low, current = stack.pop()
        while True:
            while low < len(ops) and done >> low & 1:
                low += 1
            candidates = _next(ops, done, low)
            agreeing = [at for at in candidates if not ops[at].is_write and ops[at].agrees(current)]
            if not agreeing:
                break
            # A read that agrees changes nothing, so the sooner the better.
            for at in agreeing:
                done |= 1 << at
        if done & needed == needed:
            return True
        if (done, current) in seen:
            continue
        seen.add((done, current))
        if len(seen) > PATIENCE:
            return None
        # The last one pushed is tried first: what was over first.
        writes = [at for at in candidates if ops[at].is_write]
        for at in sorted(writes, key=lambda at: ops[at].end, reverse=True):
            stack.append((done | 1 << at, low, ops[at].value))
    return False


def _next(ops, done, low):
    """The calls that may come next: those that began before any other had to be over."""
    soonest, found = INF, []
    for at in range(low, len(ops)):
        if done >> at & 1:
            continue
        if ops[at].start > soonest:
            break
        found.append(at)
        soonest = min(soonest, ops[at].end)
    return found
