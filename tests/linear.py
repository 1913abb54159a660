"""Whether what concurrent calls answered can have happened one after the other.

Every call has a moment at which it took effect, between its beginning and its end. The search looks
for such moments (Wing and Gong, 1993), over the states that the store may have been in. A call that
was cancelled may have taken effect or not, and may do so until everything has come to rest.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

MISS = "nothing"
"""What a call answers for a missing key."""


@dataclass(frozen=True)
class Entry:
    """A value, and what is known of it; the etag of a save that was cancelled is not."""

    value: str
    until: float = math.inf
    tag: str | None = None
    etag: str | None = None


State = tuple[Entry | None, ...]
"""What each key has, in the order of the keys."""


@dataclass
class Op:
    """A call: what was asked, when, and what came of it."""

    name: str
    key: int
    other: int = 0
    value: str | None = None
    given: Any = None
    until: float = math.inf
    tag: str | None = None
    if_absent: bool = False
    if_match: str | None = None
    overwrite: bool = False
    start: float = math.inf
    end: float = math.inf
    outcome: tuple[str, Any] = ("cancelled", None)
    where: str = ""
    plan: Any = field(default=None, compare=False)
    may_skip: bool = False
    overtaken: bool = False
    """Whether its manager deleted the key at that time: what was loaded may not be kept."""
    brought: float = math.inf
    """When its own loader was called."""
    overtakers: tuple[Op, ...] = field(default=(), compare=False)
    """The deletes that came after that: what was loaded was kept before them, or never."""

    @property
    def begun(self) -> bool:
        return self.start != math.inf

    @property
    def optional(self) -> bool:
        """Whether it may have had no effect."""
        return self.may_skip or self.outcome[0] in ("cancelled", "StoreClosedError")

    def __str__(self) -> str:
        asked = [f"{self.key}"]
        asked += [f"->{self.other}"] * (self.name in ("rename", "copy"))
        asked += [f"{self.value!r}"] * (self.value is not None)
        words = ("until", "tag", "if_absent", "if_match", "overwrite")
        default = Op("", 0)
        asked += [
            f"{w}={getattr(self, w)}" for w in words if getattr(self, w) != getattr(default, w)
        ]
        kind, found = self.outcome
        call = f"{self.where}.{self.name}({' '.join(asked)})"
        return f"{self.start:>5}..{self.end:<5} {call} {kind} {found!r}"


def put(state: State, key: int, entry: Entry | None) -> State:
    return (*state[:key], entry, *state[key + 1 :])


def _etag(op: Op) -> str | None:
    return op.outcome[1] if op.outcome[0] == "ok" else None


def _save(op: Op, state: State, _: Any) -> Iterator[tuple[State, Any]]:
    here = state[op.key]
    allowed = not (op.if_absent and here is not None)
    if op.if_match is not None:
        allowed = allowed and here is not None and here.etag == op.if_match
    if allowed and op.outcome[0] != "ConflictError":
        yield put(state, op.key, Entry(op.value, op.until, op.tag, _etag(op))), None
    if not allowed and (op.optional or op.outcome[0] == "ConflictError"):
        yield state, None


def _load(op: Op, state: State, _: Any) -> Iterator[tuple[State, Any]]:
    here = state[op.key]
    if op.optional or op.outcome[1] == (MISS if here is None else here.value):
        yield state, None


def _look(op: Op, state: State, _: Any) -> Iterator[tuple[State, Any]]:
    """Into memory alone: it may have forgotten, and is never behind."""
    here = state[op.key]
    if op.outcome[1] in (MISS, None) or (here is not None and op.outcome[1] == here.value):
        yield state, None


def _exists(op: Op, state: State, _: Any) -> Iterator[tuple[State, Any]]:
    if op.optional or op.outcome[1] == (state[op.key] is not None):
        yield state, None


def _delete(op: Op, state: State, _: Any) -> Iterator[tuple[State, Any]]:
    if op.optional or op.outcome[1] in (None, state[op.key] is not None):
        yield put(state, op.key, None), None
    if op.may_skip:
        yield state, None


def _evict(op: Op, state: State, _: Any) -> Iterator[tuple[State, Any]]:
    here = state[op.key]
    yield (put(state, op.key, None) if here is not None and here.tag == op.tag else state), None
    if op.may_skip:
        yield state, None


def _touch(op: Op, state: State, _: Any) -> Iterator[tuple[State, Any]]:
    here = state[op.key]
    if here is None and (op.optional or op.outcome[0] == "BlobNotFoundError"):
        yield state, None
    if here is not None and op.outcome[0] != "BlobNotFoundError":
        yield put(state, op.key, replace(here, until=op.until, etag=_etag(op))), None


def _move(op: Op, state: State, source: Entry | None) -> Iterator[tuple[State, Any]]:
    """Writes what was found under the key under the other."""
    kind = op.outcome[0]
    taken = state[op.other] is not None and not op.overwrite
    if source is None and (op.optional or kind == "BlobNotFoundError"):
        yield state, None
    if source is not None and taken and (op.optional or kind == "ConflictError"):
        yield state, None
    if source is not None and not taken and kind in ("ok", "cancelled", "StoreClosedError"):
        yield put(state, op.other, replace(source, etag=_etag(op))), None


def _rename(op: Op, state: State, _: Any) -> Iterator[tuple[State, Any]]:
    """The first half: for a moment the value is under both keys, as documented."""
    source = state[op.key]
    for after, _nothing in _move(op, state, source):
        yield after, (source if after is not state else None)


def _leave(op: Op, state: State, source: Entry | None) -> Iterator[tuple[State, Any]]:
    """The other half: the source goes, if nobody has removed it; what was saved anew follows."""
    here = state[op.key]
    if source is None or here is None:
        yield state, None
        return
    after = put(state, op.key, None)
    if here != source:
        after = put(after, op.other, replace(here, etag=_etag(op)))
    yield after, None


def _find(op: Op, state: State, _: Any) -> Iterator[tuple[State, Any]]:
    yield state, state[op.key]


def _get_or_set(op: Op, state: State, _: Any) -> Iterator[tuple[State, Any]]:
    here, (kind, found) = state[op.key], op.outcome
    made = put(state, op.key, Entry(op.value, op.until))
    if op.optional:
        yield (state if here is not None else made), None
    elif kind == "ok":
        if here is not None and here.value == found:
            yield state, None
        if here is None and found == op.value:
            yield made, None
        if here is None and op.overtaken:
            # A delete came while it was loaded: it is answered, and not kept.
            yield state, None
    elif here is None:
        # A loader failed, this one or the one that was waited for.
        yield state, None


Step = Callable[[Op, State, Any], Iterator[tuple[State, Any]]]

STEPS: dict[str, tuple[Step, ...]] = {
    "save": (_save,),
    "set": (_save,),
    "load": (_load,),
    "get": (_load,),
    "cache_get": (_look,),
    "exists": (_exists,),
    "delete": (_delete,),
    "evict": (_evict,),
    "touch": (_touch,),
    "rename": (_rename, _leave),
    # The source is read before the target is written.
    "copy": (_find, _move),
    "get_or_set": (_get_or_set,),
}


READS = ("load", "get", "cache_get", "exists")


def outcomes(ops: list[Op], states: list[set[Entry | None]]) -> list[set[Entry | None]] | None:
    """What each key may have after these calls; `None` if their answers contradict each other.

    Keys that no call connects are looked at by themselves.
    """
    ops = [op for op in ops if op.begun and not (op.optional and op.name in READS)]
    groups: list[set[int]] = [{key} for key in range(len(states))]
    for op in ops:
        if op.name in ("rename", "copy"):
            joined = [group for group in groups if group & {op.key, op.other}]
            groups = [group for group in groups if group not in joined] + [set().union(*joined)]
    ends: list[set[Entry | None]] = [set() for _ in states]
    for group in groups:
        mine = [op for op in ops if op.key in group]
        found: set[State] = set()
        for values in itertools.product(*(states[key] for key in sorted(group))):
            begin = [None] * len(states)
            for key, value in zip(sorted(group), values, strict=True):
                begin[key] = value
            found |= _search(mine, tuple(begin))
        if not found:
            return None
        for key in group:
            ends[key] = {state[key] for state in found}
    return ends


def _search(ops: list[Op], begin: State) -> set[State]:
    first = (tuple(0 for _ in ops), tuple(None for _ in ops), begin)
    pending: list[tuple[tuple[int, ...], tuple[Any, ...], State]] = [first]
    seen = {first}
    ends: set[State] = set()
    while pending:
        done, carried, state = pending.pop()
        left = [n for n, op in enumerate(ops) if done[n] < len(STEPS[op.name])]
        if all(ops[n].optional for n in left):
            ends.add(state)
        horizon = min((ops[n].end for n in left), default=math.inf)
        following = []
        for n in left:
            op = ops[n]
            if op.start > horizon:
                continue
            late = any(done[m] for m, other in enumerate(ops) if _is_among(other, op.overtakers))
            for after, carry in STEPS[op.name][done[n]](op, state, carried[n]):
                if late and after != state:
                    continue
                done_then = (*done[:n], done[n] + 1, *done[n + 1 :])
                carried_then = (*carried[:n], carry, *carried[n + 1 :])
                following.append((done_then, carried_then, after))
                if op.name in READS:
                    # It changes nothing, so it is never wrong to take it now.
                    following = following[-1:]
                    break
            else:
                continue
            break
        for one in following:
            if one not in seen:
                seen.add(one)
                pending.append(one)
    return ends


MANAGERS = {"one": "one", "thread": "one", "two": "two", "sync": "sync"}
"""Whose loads a call can overtake, by where it is made."""


def overtaken(history: list[Op]) -> None:
    """Notes which deletes came between a load and the end of its `get_or_set`."""
    deletes = [op for op in history if op.name == "delete" and op.begun and op.where in MANAGERS]
    for op in history:
        if op.name == "get_or_set":
            own = [
                other
                for other in deletes
                if (other.key, MANAGERS[other.where]) == (op.key, MANAGERS[op.where])
            ]
            op.overtaken = bool(own)
            op.overtakers = tuple(other for other in own if other.start > op.brought)


def _is_among(op: Op, others: tuple[Op, ...]) -> bool:
    return any(op is other for other in others)


def written(number: int) -> Any:
    """A value like no other, in one of several formats and sizes."""
    return (f"text {number}", [number, "json"], b"%d" % number, [number] * 40)[number % 4]
