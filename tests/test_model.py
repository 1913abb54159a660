"""Two managers on one folder, random operations, compared with a dict after each."""

from __future__ import annotations

import shutil
import tempfile

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

import holdall
from holdall import sync
from holdall.testing import ManualClock

KEYS = st.sampled_from(["a", "b", "a/b", "ü b", "A"])
VALUES = st.sampled_from([None, 0, "", "text", b"raw", [1, {"x": 2.5}], {"k": []}])
TTLS = st.sampled_from([None, holdall.DEFAULT, 1, 5, 50])
WHO = st.integers(0, 1)
GONE = object()


class Model(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.folder = tempfile.mkdtemp()
        self.clock = ManualClock()
        self.now = 0
        self.managers = [
            sync.StorageManager(self.folder, clock=self.clock, max_size=2 + who, default_ttl=7)
            for who in range(2)
        ]
        self.model: dict = {}

    def teardown(self):
        for manager in self.managers:
            manager.close()
        shutil.rmtree(self.folder)

    def live(self, key):
        value, until = self.model.get(key, (GONE, None))
        return GONE if until is not None and until <= self.now else value

    def put(self, key, value, ttl):
        until = self.now + ttl if isinstance(ttl, int) else None
        self.model[key] = (value, until)

    @rule(who=WHO, key=KEYS, value=VALUES, ttl=TTLS)
    def set(self, who, key, value, ttl):
        self.managers[who].set(key, value, ttl=ttl)
        self.put(key, value, ttl)

    @rule(who=WHO, items=st.dictionaries(KEYS, VALUES), ttl=TTLS)
    def set_many(self, who, items, ttl):
        self.managers[who].set_many(items, ttl=ttl)
        for key, value in items.items():
            self.put(key, value, ttl)

    @rule(who=WHO, key=KEYS, value=VALUES)
    def set_if_absent(self, who, key, value):
        if self.live(key) is GONE:
            self.managers[who].set(key, value, if_absent=True)
            self.put(key, value, None)
        else:
            with pytest.raises(holdall.ConflictError):
                self.managers[who].set(key, value, if_absent=True)

    @rule(who=WHO, key=KEYS)
    def refused(self, who, key):
        with pytest.raises(holdall.SerializationError):
            self.managers[who].set(key, {1: 2})

    @rule(who=WHO, key=KEYS, value=VALUES)
    def get_or_set(self, who, key, value):
        found = self.managers[who].get_or_set(key, lambda: value)
        if self.live(key) is GONE:
            self.put(key, value, None)
        assert found == self.live(key)

    @rule(who=WHO, key=KEYS)
    def delete(self, who, key):
        there = self.live(key) is not GONE
        assert self.managers[who].delete(key) == there
        self.model.pop(key, None)

    @rule(who=WHO, key=KEYS)
    def forget(self, who, key):
        self.managers[who].cache_delete(key)

    @rule(seconds=st.sampled_from([1, 4, 10]))
    def wait(self, seconds):
        self.clock.advance(seconds)
        self.now += seconds

    @rule(who=WHO)
    def clear(self, who):
        self.managers[who].clear()
        self.model.clear()

    @rule(who=WHO, keys=st.lists(KEYS))
    def get_many(self, who, keys):
        found = self.managers[who].get_many(keys)
        wanted = {key: self.live(key) for key in dict.fromkeys(keys)}
        assert list(found.items()) == [
            (key, value) for key, value in wanted.items() if value is not GONE
        ]

    @rule(who=WHO, key=KEYS)
    def get(self, who, key):
        wanted = self.live(key)
        found = self.managers[who].get(key, default=GONE)
        assert found is GONE if wanted is GONE else found == wanted
        assert self.managers[who].exists(key) == (wanted is not GONE)

    @invariant()
    def memory_never_holds_what_is_not_there(self):
        for manager in self.managers:
            for key in ("a", "b"):
                held = manager.cache_get(key, default=GONE)
                assert held is GONE or held == self.live(key)


Model.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
test_managers_agree_with_a_dict = Model.TestCase
