"""Managers, event loops and threads on one folder at once, with cancellations, against a dict.

Each step starts some calls at the same time, gives up some of them, and asks whether the answers
can have come from one dict (`linear`). `HOLDALL_RACES=2000 pytest tests/test_races.py` tries more
and other calls than the short form, whose choices are always the same; only the times differ.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import shutil
import sys
import tempfile
import threading
import warnings
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

import holdall
from holdall import sync
from holdall._blobs import BlobCore
from holdall.testing import ManualClock
from linear import MISS, Entry, Op, outcomes, overtaken, written

MORE = int(os.environ.get("HOLDALL_RACES", "0"))
KEYS = ("a", "b", "a/b", "é", "A")
WHERE = ("one", "two", "blobs", "thread", "sync")
"""Two managers with memory and one without on the first loop; the first one on another loop too;
and one without a loop."""
PATIENCE = 30


CALLS = st.fixed_dictionaries(
    {
        "name": st.sampled_from(
            ["get_or_set"] * 9
            + ["save"] * 6
            + ["load"] * 6
            + ["delete"] * 3
            + ["exists", "cache_get", "touch", "rename", "copy", "save_if"]
            + ["save_many", "load_many", "clear", "evict", "expire"]
        ),
        "where": st.sampled_from(["one"] * 5 + ["thread"] * 2 + ["two", "blobs", "sync"]),
        "key": st.sampled_from([0] * 6 + [1, 1, 2, 3, 4]),
        "other": st.integers(0, len(KEYS) - 1),
        "ttl": st.sampled_from([None, None, 5]),
        "tag": st.sampled_from([None, "red"]),
        "overwrite": st.booleans(),
        "loader": st.sampled_from(["value", "value", "raise", "cancel", "asks", "itself"]),
        # Loop turns until the call begins; and until it is given up: never, before it begins, ...
        "after": st.integers(0, 4),
        "cancel": st.sampled_from([None] * 8 + [-1, 0, 1, 2, 4, 8, "wait_for"]),
        "long": st.sampled_from([0, 0, 0.001, 0.003]),
    }
)


class LoaderError(Exception):
    """What a loader raises."""


class Machine(RuleBasedStateMachine):
    """What each loop, thread and manager did, beside what a dict would have done."""

    loops = staticmethod(asyncio.new_event_loop)
    debug = False
    inline_below = 0

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.mkdtemp(prefix="holdall-races-")
        self.clock, self.now = ManualClock(), 0
        self.ticks, self.numbers = itertools.count(), itertools.count()
        self.states: list[set[Entry | None]] = [{None} for _ in KEYS]
        self.etags: list[str] = []
        self.complaints: list[Any] = []
        self.history: list[Op] = []
        self.main, self.side = self.loops(), self.loops()
        for loop in (self.main, self.side):
            loop.set_debug(self.debug)
            loop.slow_callback_duration = 60
            loop.set_exception_handler(lambda _, context: self.complaints.append(context))
        self.thread = threading.Thread(target=self.side.run_forever, daemon=True)
        self.thread.start()
        self.late = itertools.repeat(0)
        self.wait_of = BlobCore._wait
        BlobCore._wait = self.lately(BlobCore._wait)
        self.hook, sys.unraisablehook = sys.unraisablehook, self.complaints.append

    @initialize(data=st.data())
    def managers(self, data):
        options = {"clock": self.clock, "inline_below": self.inline_below}
        self.one = holdall.StorageManager(self.folder, max_size=3, default_ttl=7, **options)
        self.two = holdall.StorageManager(self.folder, **options)
        self.blobs = holdall.BlobManager(self.folder, **options)
        self.sync = sync.StorageManager(self.folder, **options)

    def teardown(self):
        if hasattr(self, "one"):
            self.run(self.close())
        self.side.call_soon_threadsafe(self.side.stop)
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive(), "the second loop hangs"
        for loop in (self.main, self.side):
            loop.close()
        gc.collect()
        sys.unraisablehook = self.hook
        BlobCore._wait = self.wait_of
        shutil.rmtree(self.folder)
        assert not self.complaints, self.complaints

    async def close(self):
        for manager in (self.one, self.two, self.blobs):
            await manager.close()
        self.sync.close()

    def run(self, work):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return self.main.run_until_complete(asyncio.wait_for(work, PATIENCE))

    def lately(self, wait: Any) -> Any:
        """What comes from the engine goes on some time later."""

        async def waited(blobs: Any, work: Any) -> Any:
            found = await wait(blobs, work)
            if not blobs._driver.blocking:
                await asyncio.sleep(next(self.late))
            return found

        return waited

    # -- steps ----------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([1, 4, 10]))
    def wait(self, seconds):
        self.clock.advance(seconds)
        self.now += seconds
        self.states = [
            {None if one is not None and one.until <= self.now else one for one in state}
            for state in self.states
        ]

    @rule(
        calls=st.lists(CALLS, min_size=2, max_size=7),
        close=st.sampled_from([None] * 6 + [0, 3]),
        late=st.lists(st.sampled_from([0, 0, 0.001, 0.005]), min_size=1, max_size=7),
        forget=st.booleans(),
        calm=st.booleans(),
    )
    def together(self, calls, close, late, forget, calm):
        if forget:
            self.run(self.forgotten())
        if calm:
            calls, close = [{**call, "cancel": None} for call in calls], None
        self.late = itertools.cycle(late)
        plans = [self.planned(call) for call in calls]
        self.history = [op for ops, _ in plans for op in ops]
        self.run(self.race(plans, close))
        if close is not None:
            self.two = holdall.StorageManager(
                self.folder, clock=self.clock, inline_below=self.inline_below
            )
        if close is not None or any(op.begun and op.optional for op in self.history):
            # Whoever was given up comes to an end, and then every reader sees the same. Not
            # without need: it changes versions, and so would hide what is wrong in a memory.
            self.run(self.settled())
        looks = self.run(self.looked())
        self.cancelled_only_if_asked()
        touched = {op.key for op in self.history if op.name == "touch" or op.if_match}
        for op in self.history:
            # Many are removed as they were when it began: one that lives on is another one.
            many = op.plan is not None and op.plan["name"] in ("clear", "evict")
            op.may_skip = many and op.key in touched
        overtaken(self.history)
        # Loaders add calls of their own to the history.
        ends = outcomes(self.history + looks, self.states)
        told = "\n".join(str(op) for op in sorted(self.history + looks, key=lambda op: op.start))
        assert ends, f"no dict answers so, from {self.states}:\n{told}"
        self.states = ends
        assert not self.complaints, f"{self.complaints}\n{told}"

    def cancelled_only_if_asked(self):
        """Nobody suffers from the cancelling of others, but for those who share a loader."""
        loaders = {
            op.key
            for op in self.history
            if op.name == "get_or_set" and op.plan["loader"] == "cancel"
        }
        for op in self.history:
            if op.begun and op.outcome[0] == "cancelled" and op.plan is not None:
                shared = op.name == "get_or_set" and op.key in loaders
                assert shared or op.plan["cancel"] is not None, f"cancelled by others: {op}"

    # -- calls ----------------------------------------------------------------------------------

    def planned(self, call: dict[str, Any]) -> tuple[list[Op], dict[str, Any]]:
        """The calls of one key each that a call stands for."""
        name, key, where = call["name"], call["key"], call["where"]
        names = [name]
        keys = [key]
        if name == "save_if":
            name = "save"
        if name in ("save_many", "load_many"):
            name, keys = name.removesuffix("_many"), sorted({key, call["other"]})
        if name in ("clear", "evict"):
            name, keys = {"clear": "delete", "evict": "evict"}[name], list(range(len(KEYS)))
        if name in ("rename", "copy") and key == call["other"]:
            name = "exists"
        if name == "get_or_set" and where == "blobs":
            where = "one"
        if name == "cache_get" and where == "blobs":
            where = "two"
        ops = []
        for one in keys:
            op = Op(name, one, where=where, plan=call)
            if name in ("save", "get_or_set"):
                op.given = written(next(self.numbers))
                op.value = repr(op.given)
            if name in ("save", "touch", "get_or_set") and call["ttl"]:
                op.until = self.now + call["ttl"]
            if name == "evict" or (name == "save" and call["tag"]):
                op.tag = "red"
            if name in ("rename", "copy"):
                op.other, op.overwrite = call["other"], call["overwrite"]
            if names == ["save_if"]:
                op.if_absent = call["overwrite"]
                if not op.if_absent:
                    op.if_match = self.etags[-1] if self.etags else "0"
            ops.append(op)
        if names == ["expire"]:
            ops = []
        return ops, {**call, "name": names[0], "where": where}

    async def race(self, plans, close) -> None:
        main = [plan for plan in plans if plan[1]["where"] in ("one", "two", "blobs")]
        side = [plan for plan in plans if plan[1]["where"] == "thread"]
        blocking = [plan for plan in plans if plan[1]["where"] == "sync"]
        others = [asyncio.to_thread(self.block, plan) for plan in blocking]
        if side:
            driven = asyncio.run_coroutine_threadsafe(self.drive(side, None), self.side)
            others.append(asyncio.wrap_future(driven))
        await asyncio.gather(self.drive(main, close), *others)

    async def drive(self, plans, close) -> None:
        """Starts calls on this loop, gives some up, and waits until nothing is left of them."""
        before = asyncio.all_tasks()
        tasks = [asyncio.create_task(self.one_call(*plan)) for plan in plans]
        for task, (_, call) in zip(tasks, plans, strict=True):
            if call["cancel"] == -1:
                task.cancel()
        for turn in range(14):
            for task, (_, call) in zip(tasks, plans, strict=True):
                if isinstance(call["cancel"], int) and call["after"] + call["cancel"] == turn:
                    task.cancel()
            if turn == close:
                await self.two.close()
            await asyncio.sleep(0)
        # Loads that were given up are cancelled a little later, and may be in the middle of a save.
        while left := asyncio.all_tasks() - before:
            await asyncio.wait(left)
        for task in tasks:
            if not task.cancelled():
                task.result()

    async def one_call(self, ops: list[Op], call: dict[str, Any]) -> None:
        for _ in range(call["after"]):
            await asyncio.sleep(0)
        work = self.called(ops, call)
        if call["cancel"] == "wait_for":
            try:
                await asyncio.wait_for(work, 0.000_2)
            except asyncio.TimeoutError:
                return
        else:
            await work

    async def called(self, ops: list[Op], call: dict[str, Any]) -> None:
        start = next(self.ticks)
        for op in ops:
            op.start = start
        try:
            found = await self.ask(ops, call)
        except asyncio.CancelledError:
            raise
        except holdall.BatchError as error:
            for op in ops:
                one = error.errors.get(KEYS[op.key])
                op.outcome = (type(one).__name__, None) if one else ("ok", None)
        except (holdall.HoldallError, LoaderError) as error:
            for op in ops:
                op.outcome = (type(error).__name__, None)
        else:
            self.note(ops, call, found)
        for op in ops:
            if not op.optional:
                op.end = next(self.ticks)

    def note(self, ops: list[Op], call: dict[str, Any], found: Any) -> None:
        for op in ops:
            answer = found
            if call["name"] in ("save_many", "load_many"):
                answer = found.get(KEYS[op.key], MISS)
            if call["name"] in ("clear", "evict"):
                answer = None
            if isinstance(answer, holdall.BlobMetadata):
                answer = answer.etag
                self.etags.append(answer)
            elif answer not in (None, True, False, MISS):
                answer = repr(answer)
            op.outcome = ("ok", answer)

    def ask(self, ops: list[Op], call: dict[str, Any]) -> Any:
        """The awaitable of a call, or, of the manager without a loop, its answer."""
        name, where = call["name"], call["where"]
        storage = {"two": self.two, "sync": self.sync, "blobs": self.two}.get(where, self.one)
        blobs = self.blobs if where == "blobs" else storage.blobs
        ttl = call["ttl"]
        if name == "clear":
            return (blobs if where == "blobs" else storage).clear()
        if name == "evict":
            return blobs.evict("red")
        if name == "expire":
            return blobs.expire()
        op = ops[0]
        key, other = KEYS[op.key], KEYS[op.other]
        if name in ("save_many", "load_many"):
            items = {KEYS[one.key]: one.given for one in ops}
            tags = ("red",) if op.tag else ()
            if name == "load_many":
                return blobs.load_many(items) if where == "blobs" else storage.get_many(items)
            if where == "blobs":
                return blobs.save_many(items, ttl=ttl, tags=tags)
            return storage.set_many(items, ttl=ttl, tags=tags)
        if op.name == "save":
            terms = {"ttl": ttl, "tags": ("red",) if op.tag else ()}
            terms |= {"if_absent": op.if_absent, "if_match": op.if_match}
            save = blobs.save if where == "blobs" else storage.set
            return save(key, op.given, **terms)
        if op.name == "load":
            if where == "blobs":
                return blobs.load(key, default=MISS)
            return storage.get(key, MISS)
        if op.name == "cache_get":
            return storage.cache_get(key, MISS)
        if op.name == "touch":
            return blobs.touch(key, ttl)
        if op.name in ("rename", "copy"):
            return getattr(blobs, op.name)(key, other, overwrite=op.overwrite)
        if op.name == "get_or_set":
            loader = self.blocking_loader if where == "sync" else self.loader
            return storage.get_or_set(key, loader(op, call, storage), ttl=ttl)
        return getattr(blobs if where == "blobs" else storage, op.name)(key)

    def loader(self, op: Op, call: dict[str, Any], storage: Any) -> Any:
        async def load() -> Any:
            op.brought = next(self.ticks)
            await asyncio.sleep(call["long"])
            kind = call["loader"]
            if kind == "raise":
                raise LoaderError
            if kind == "cancel":
                raise asyncio.CancelledError
            if kind == "asks":
                inner = {**call, "name": "load", "cancel": None}
                asked = Op("load", (op.key + 1) % len(KEYS), where=op.where)
                self.history.append(asked)
                await self.called([asked], inner)
            if kind == "itself":
                await storage.get_or_set(KEYS[op.key], load)
            return op.given

        return load

    def blocking_loader(self, op: Op, call: dict[str, Any], storage: Any) -> Any:
        def load() -> Any:
            op.brought = next(self.ticks)
            if call["loader"] in ("raise", "cancel"):
                raise LoaderError
            if call["loader"] == "itself":
                storage.get_or_set(KEYS[op.key], load)
            return op.given

        return load

    def block(self, plan: tuple[list[Op], dict[str, Any]]) -> None:
        ops, call = plan

        async def ask(ops: list[Op], call: dict[str, Any]) -> Any:
            return type(self).ask(self, ops, call)

        work = Machine.called(_With(self, ask), ops, call)
        try:
            work.send(None)
        except StopIteration:
            return
        raise AssertionError("a call without await has waited")

    # -- rest -----------------------------------------------------------------------------------

    async def forgotten(self) -> None:
        """Empties the memories."""
        for key in KEYS:
            await self.one.cache_delete(key)
            await self.two.cache_delete(key)
            self.sync.cache_delete(key)

    async def settled(self) -> None:
        """Waits for whoever still writes: a conditional delete needs the lock of its key."""
        for key in KEYS:
            try:
                await self.blobs.delete(key, if_match="none")
            except holdall.ConflictError:
                continue

    async def looked(self) -> list[Op]:
        """What every manager says of every key, one after the other."""
        looks = []
        for (n, key), where in itertools.product(enumerate(KEYS), ("one", "two", "sync", "blobs")):
            op = Op("load", n, where=where, start=next(self.ticks))
            if where == "blobs":
                found = await self.blobs.load(key, default=MISS)
            elif where == "sync":
                found = self.sync.get(key, MISS)
            else:
                found = await getattr(self, where).get(key, MISS)
            op.outcome, op.end = ("ok", found if found == MISS else repr(found)), next(self.ticks)
            looks.append(op)
        listed = {key async for key in self.blobs.keys()}
        there = {KEYS[op.key] for op in looks if op.outcome[1] != MISS}
        assert listed == there, f"listed are {listed}, there are {there}"
        return looks


class _With:
    """The machine, with another way to ask."""

    def __init__(self, machine: Machine, ask: Any) -> None:
        self._machine, self.ask = machine, ask

    def __getattr__(self, name: str) -> Any:
        return getattr(self._machine, name)


class Debugging(Machine):
    """asyncio's own checks: what is not awaited, and what is called from the wrong thread."""

    debug = True


class Inline(Machine):
    """Values that move between files and the database of small ones."""

    inline_below = 100


def fair(examples: int) -> settings:
    return settings(
        max_examples=MORE or examples,
        stateful_step_count=12,
        deadline=None,
        derandomize=not MORE,
        database=None,
        # What happened is in the message; it need not happen again.
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


def cases(machine: type[Machine], examples: int) -> Any:
    machine.TestCase.settings = fair(examples)
    return machine.TestCase


TestRaces = cases(Machine, 25)
TestRacesInDebugMode = cases(Debugging, 8)
TestRacesOfInlineValues = cases(Inline, 15)

try:
    import uvloop
except ImportError:
    uvloop = None


@pytest.mark.skipif(uvloop is None, reason="uvloop is not installed")
def test_races_on_uvloop():
    class Uvloop(Machine):
        loops = staticmethod(uvloop.new_event_loop)

    cases(Uvloop, 8)("runTest").runTest()
