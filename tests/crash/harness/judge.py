"""What a store may hold after a crash, and whether what was read can be explained.

Lines of the writer, in the order in which they were printed (one pipe, all processes):

    TRY key seq sha256     about to save (optional if writers share no key)
    ACK key seq sha256     saved: must survive from now on          (sha256 "-": deleted)
    MOV source target seq  about to rename; TRY and ACK of both keys come too
    GET key id             about to read (optional)
    GOT key id seq sha256  what that read returned ("- -": missing)
    LST id                 about to list
    LSD id key,key,...     what the listing had ("-": nothing)
    ERR ...                a call failed that had no reason to

Lines of the verifier: `HAS key seq sha256`, `MISSING key`, `CORRUPT key` (reported as damaged),
`TORN key` (returned, and not what anybody saved), `FAILED key error`, and `LISTED key...` with all
keys of a listing. A seq is unique for its key; no word has a space in it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from .linear import ANY, INF, Op, explained

KINDS = (
    *("lost", "torn", "phantom", "corrupt", "failed"),
    *("unopenable", "listing", "stale_read", "error"),
)


@dataclass
class Save:
    """One save or deletion."""

    sha: str
    start: float = -1
    end: float = INF  # line number of the ACK
    durable: float = INF  # log position of the disk when the ACK was seen

    def acked(self, position):
        return self.end < INF and self.durable <= position


@dataclass
class Held:
    """What a verifier has found."""

    opened: bool
    values: dict = field(default_factory=dict)  # key: (word, seq, sha)
    listed: set | None = None
    note: str = ""

    def of(self, key):
        return self.values.get(key, ("MISSING", "-", "-"))


@dataclass
class Verdict:
    """What is wrong, and what would be if keys that do not promise it survived power cuts."""

    bad: Counter = field(default_factory=Counter)
    forgiven: Counter = field(default_factory=Counter)
    detail: list = field(default_factory=list)

    def fail(self, kind, *what, forgiven=False):
        if forgiven:
            self.forgiven[kind] += 1
        else:
            self.bad[kind] += 1
            self.detail.append(" ".join([kind, *map(str, what)]))


class History:
    """What the writers said."""

    def __init__(self):
        self.saves, self.moves = defaultdict(dict), []
        self.reads, self.listings = defaultdict(list), []
        self.open_reads, self.errors = {}, []
        self.initial = {}  # key: seq that it had when the history began
        self.said = []
        self.n = self.acks = 0

    def line(self, text, position=0):
        self.n += 1
        self.said.append(text)
        match text.split():
            case ("TRY" | "ACK") as word, key, seq, sha:
                save = self.saves[key].setdefault(seq, Save(sha, self.n))
                if word == "ACK":
                    save.end, save.durable = self.n, position
                    self.acks += 1
            case "MOV", source, target, seq:
                self.moves.append((source, target, seq))
            case "GET" | "LST", *what:
                self.open_reads[tuple(what)] = self.n
            case "GOT", key, name, seq, sha:
                start = self.open_reads.pop((key, name), self.n)
                self.reads[key].append((start, self.n, seq, sha))
            case "LSD", name, keys:
                start = self.open_reads.pop((name,), self.n)
                self.listings.append((start, self.n, set(keys.split(",")) - {"-"}))
            case _:
                self.errors.append(text)

    def verdict(self, held, position=INF, forgiven=()):
        """Compares what the verifier found with what was acknowledged up to `position`.

        Keys that begin with one of `forgiven` need not survive: they may be older, gone or reported
        as damaged, but what is returned must be what somebody saved.
        """
        verdict = Verdict()
        if not held.opened:
            verdict.fail("unopenable", held.note)
            return verdict
        for key, saves in self.saves.items():
            self._judge(verdict, key, saves, held, position, key.startswith(tuple(forgiven)))
        for key in held.values.keys() - self.saves.keys():
            if held.values[key][0] != "MISSING":
                verdict.fail("phantom", key, "was never saved")
        for source, target, seq in self.moves:
            self._judge_move(verdict, source, target, seq, held, position, forgiven)
        if held.listed is not None:
            for key in held.listed | held.values.keys():
                word, is_listed = held.of(key)[0], key in held.listed
                if (word == "MISSING" and is_listed) or (word == "HAS" and not is_listed):
                    verdict.fail("listing", key, word, "and listed" if is_listed else "unlisted")
        return verdict

    def _judge(self, verdict, key, saves, held, position, forgiven):
        acked = [save for save in saves.values() if save.acked(position)]
        # All that ended before the newest one started is stale.
        newest = max((save.start for save in acked), default=-1)

        def is_stale(save):
            return save.acked(position) and save.end < newest

        word, seq, sha = held.of(key)
        if word in ("CORRUPT", "FAILED", "TORN"):
            kind = {"CORRUPT": "corrupt", "FAILED": "failed", "TORN": "torn"}[word]
            verdict.fail(kind, key, seq, forgiven=forgiven and word == "CORRUPT")
        elif word == "MISSING":
            deleted = any(save.sha == "-" and not is_stale(save) for save in saves.values())
            if acked and not deleted:
                verdict.fail("lost", key, "is gone", forgiven=forgiven)
        elif seq not in saves:
            verdict.fail("phantom", key, seq, "was never saved")
        elif saves[seq].sha != sha:
            verdict.fail("torn", key, seq, "has other bytes")
        elif is_stale(saves[seq]):
            verdict.fail("lost", key, "went back to", seq, forgiven=forgiven)

    def _judge_move(self, verdict, source, target, seq, held, position, forgiven):
        """A value that is renamed when the power fails is there under one of its names."""
        moved, left = self.saves[target].get(seq), self.saves[source]
        was_there = seq in left and left[seq].acked(position)
        if moved is None or moved.acked(position) or not was_there or moved.start == -1:
            return
        later = [save for save in left.values() if save.start > left[seq].start]
        others = [save for save in self.saves[target].values() if save.start > moved.start]
        if len(later) > 1 or others:  # the deletion that belongs to the move is one
            return
        if held.of(source)[0] == "MISSING" and held.of(target)[1] != seq:
            forgive = source.startswith(tuple(forgiven))
            verdict.fail("lost", source, "got lost on its way to", target, forgiven=forgive)

    def contradictions(self, held=None):
        """What was read and cannot be explained; `held` is what was read after all was over."""
        bad = []
        keys = set(self.saves) | set(self.reads) | set(self.initial)
        keys |= {key for _, _, listed in self.listings for key in listed}
        for key in sorted(keys):
            saves, ops = self.saves.get(key, {}), []
            for seq, save in saves.items():
                ops.append(Op(save.start, save.end, True, None if save.sha == "-" else seq))
            for start, end, seq, sha in self.reads.get(key, []):
                known = (
                    sha in "-*"
                    or seq == self.initial.get(key)
                    or (seq in saves and saves[seq].sha == sha)
                )
                if not known:
                    bad.append(f"{key} read {seq}: never saved, or other bytes")
                ops.append(Op(start, end, False, {"-": None, "*": ANY}.get(seq, seq)))
            for start, end, listed in self.listings:
                ops.append(Op(start, end, False, ANY if key in listed else None))
            if held is not None and held.opened:
                word, seq, _ = held.of(key)
                ops.append(Op(self.n + 1, self.n + 2, False, None if word == "MISSING" else seq))
            answer = explained(ops, self.initial.get(key))
            if answer is not True:
                bad.append(
                    f"{key}: {'no order explains its reads' if answer is False else 'given up'}"
                )
        return bad

    def about(self, key):
        """What was said of a key, with the numbers of the lines."""
        listings = ("LST ", "LSD ")
        return [
            f"{n} {text}"
            for n, text in enumerate(self.said, 1)
            if key in _words(text) or text.startswith(listings)
        ]

    def following(self, held):
        """The history that goes on where a verifier has found this."""
        after = History()
        for key in held.values:
            word, seq, sha = held.of(key)
            if word == "HAS":
                after.initial[key] = seq
                after.saves[key][seq] = Save(sha, -1, 0, 0)
        return after


def _words(text):
    """The words of a line, and all keys of a listing."""
    return text.replace(",", " ").split()
