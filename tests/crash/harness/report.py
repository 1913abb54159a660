"""What a run has found."""

from __future__ import annotations

import time
from collections import Counter

from .judge import INF, KINDS


class Report:
    """Counts of states and of what was wrong in them, with some examples."""

    def __init__(self, options, progress):
        self.options, self.progress, self.verify = options, progress, None
        self.states = self.broken = self.acks = self.reads = self.listings = 0
        self.bad, self.forgiven, self.examples = Counter(), Counter(), []
        self.began = time.monotonic()

    def check(self, state, store, history, position=INF, note=""):
        """Has a state verified and judged; answers with what the verifier found."""
        held = self.verify(store)
        verdict = history.verdict(held, position, self.options.forgiven)
        self.states += 1
        self.forgiven.update(verdict.forgiven)
        self._add(state, verdict.bad, verdict.detail, " ".join([held.note, note]))
        self.progress(self)
        return held

    def explain(self, state, history, held, note):
        """Judges what was read while the writers lived, and what failed; once for each history."""
        self.acks += history.acks
        self.reads += sum(map(len, history.reads.values()))
        self.listings += len(history.listings)
        stale = history.contradictions(held)
        self._add(state, {"stale_read": len(stale)} if stale else {}, stale, note)
        if stale and self.examples and self.examples[-1]["what"] == stale[:3]:
            key = stale[0].split()[0].rstrip(":")
            self.examples[-1] |= {"initial": history.initial.get(key), "said": history.about(key)}
        errors = history.errors
        self._add(state, {"error": len(errors)} if errors else {}, errors, note)

    def _add(self, state, bad, detail, note):
        self.broken += bool(bad)
        self.bad.update(bad)
        if bad and len(self.examples) < self.options.examples:
            what = {"state": state, "what": detail[:3], "note": note.strip()[-300:]}
            self.examples.append(what)

    def is_clean(self):
        """Nothing was wrong, and there was something that could have been."""
        return not self.broken and self.states > 0 and self.acks > 0

    def summary(self):
        """All of it, for JSON."""
        took = time.monotonic() - self.began
        return {
            "mode": self.options.mode,
            "seed": self.options.seed,
            "states": self.states,
            "bad": self.broken,
            "acknowledged": self.acks,
            "reads": self.reads,
            "listings": self.listings,
            **{kind: self.bad[kind] for kind in KINDS},
            "allowed": dict(self.forgiven),
            "seconds": round(took, 1),
            "examples": self.examples,
        }
