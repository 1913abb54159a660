"""Pickles of plain data, which the extension writes itself, are as good as those of `pickle`."""

from __future__ import annotations

import pickle
import pickletools
import sys
import threading
from collections import OrderedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdall import BlobManager
from holdall._core import pickle_plain

FRAME = 64 * 1024

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary()
)
plain = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(scalars, inner)
        | st.lists(inner, max_size=5).map(tuple)
        | st.tuples(inner).map(lambda one: [one[0], one[0], {"again": one[0]}])
    ),
)


def pickled(value):
    parts = pickle_plain(value)
    assert parts is not None
    return b"".join(parts)


def both(data):
    """As Python's two unpicklers read it; the tools of the library find nothing wrong with it."""
    pickletools.dis(data, out=Nowhere())
    first, second = pickle.loads(data), pickle._loads(data)  # type: ignore[attr-defined]
    return first, second


class Nowhere:
    def write(self, text):
        pass


def same_types(one, other):
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(map(type, one)) == list(map(type, other)) and all(
            map(same_types, one.values(), other.values())
        )
    if isinstance(one, list | tuple):
        return all(map(same_types, one, other))
    return True


@given(plain)
def test_what_comes_back_is_what_was_pickled(value):
    for got in both(pickled(value)):
        assert got == value
        assert same_types(got, value)


@pytest.mark.parametrize("bits", [7, 8, 15, 16, 31, 32, 63, 64, 2_031, 2_040, 9_000])
def test_whole_numbers_at_the_edges_of_every_opcode(bits):
    values = [sign * (2**bits + more) for sign in (1, -1) for more in (-2, -1, 0, 1, 2)]
    for got in both(pickled(values)):
        assert got == values


@pytest.mark.parametrize("length", [0, 1, 3, 4, 255, 256, 999, 1_000, 1_001, 2_001, 65_535, 65_536])
def test_lengths_at_the_edges_of_every_opcode(length):
    for value in ("x" * length, "é" * length, bytes(length), [None] * length, (1,) * length):
        for got in both(pickled([value, "end"])):
            assert got == [value, "end"]
    numbered = {str(n): n for n in range(length)}
    assert pickle.loads(pickled(numbered)) == numbered


def test_what_was_one_object_is_one_object_again():
    shared = [1]
    text = "".join(["sha", "red"])
    value = {"a": shared, "b": shared, "c": (shared, shared), "d": [text, text], "e": {text: text}}
    got = pickle.loads(pickled(value))
    assert got == value
    assert got["a"] is got["b"] is got["c"][0] is got["c"][1]
    assert got["d"][0] is got["d"][1] is got["e"][text]


def test_many_shared_objects_keep_their_identities():
    # More than one byte and one small table can number.
    objects = [[n] for n in range(100_000)]
    got = pickle.loads(pickled([objects, objects[::-1]]))
    assert all(one is other for one, other in zip(got[0], reversed(got[1]), strict=True))


def test_what_contains_itself_does_so_again():
    items: list = []
    items.append(items)
    for got in both(pickled(items)):
        assert got[0] is got
    mapping: dict = {}
    mapping["self"] = [mapping]
    got = pickle.loads(pickled(mapping))
    assert got["self"][0] is got
    for length in (1, 2, 3, 4, 5):
        inside: list = []
        around = (inside, *range(length - 1))
        inside.append(around)
        for got in both(pickled(around)):
            assert got[0][0] is got
            assert len(got) == length


class Words(dict):
    pass


@pytest.mark.parametrize(
    "value",
    [{1}, bytearray(1), 1j, object, OrderedDict(), Words(), "\ud800", range(3), [..., 1]],
    ids=str,
)
def test_anything_else_is_left_to_the_pickler_of_python(value):
    assert pickle_plain([1, {"deep": (value,)}]) is None


def test_what_is_nested_too_deeply_is_left_to_the_pickler_of_python():
    value: list = []
    for _ in range(100_000):
        value = [value]
    assert pickle_plain(value) is None
    while value:
        value = value.pop()


def test_a_value_that_another_thread_changes_is_an_error_or_whole_and_never_a_crash():
    value = {n: [str(n)] for n in range(50_000)}
    rows = [[n, {"n": n}] for n in range(50_000)]
    over = threading.Event()

    def change():
        number = 0
        while not over.is_set():
            number += 1
            value[number % 70_000] = [number]
            value.pop((number * 7) % 70_000, None)
            rows[number % len(rows)] = [number]
            if number % 100 == 0:
                rows.append([number])
            elif number % 101 == 0:
                rows.pop()

    other = threading.Thread(target=change)
    other.start()
    try:
        for _ in range(5):
            try:
                pickle.loads(pickled([value, rows]))
            except RuntimeError as error:
                assert "changed size" in str(error)
    finally:
        over.set()
        other.join()


def test_nothing_is_kept_of_what_was_pickled():
    value = [["row", n, str(n)] for n in range(20_000)]
    shared = [str(10**20)]
    value += [shared, shared]
    before = [sys.getrefcount(one) for one in (value, value[7], shared, shared[0])]
    pickled(value)
    assert [sys.getrefcount(one) for one in (value, value[7], shared, shared[0])] == before


async def test_a_large_graph_is_saved_so_that_pickle_reads_its_file(tmp_path):
    rows = [{"id": n, "name": f"name-{n}", "tags": ("a", str(n))} for n in range(50_000)]
    async with BlobManager(tmp_path) as blobs:
        await blobs.save("plain", rows, "pickle")
        await blobs.save("other", [*rows, {1, 2}], "pickle")
        assert await blobs.load("plain") == rows
        assert await blobs.load("other") == [*rows, {1, 2}]
    with (tmp_path / "plain.pkl").open("rb") as file:
        assert pickle.load(file) == rows
