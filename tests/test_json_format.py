"""The format json: what comes back equal, and what is refused rather than changed."""

from __future__ import annotations

import dataclasses
import enum
import math
import uuid
from collections import OrderedDict, defaultdict, namedtuple
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import TypedDict

from holdall import formats
from holdall.errors import (
    DeserializationError,
    InvalidArgumentError,
    InvalidJSONError,
    OptionError,
    SerializationError,
)
from holdall.formats.json import MAX_DEPTH

JSON = formats.FORMATS["json"]


def back(value, model_class=None):
    data = JSON.encode(value, {})
    assert isinstance(data, bytes)
    return JSON.decode(data, {} if model_class is None else {"model_class": model_class})


def nested(levels, kind=list):
    value = kind()
    for _ in range(levels - 1):
        value = [value] if kind is list else {"a": value}
    return value


text = st.text(st.characters(exclude_categories=["Cs"]))
scalars = (
    st.none() | st.booleans() | st.integers() | text
    | st.floats(allow_nan=False, allow_infinity=False)
)  # fmt: skip
plain = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(text, inner), max_leaves=30
)


def same(a, b):
    """Equal, and True is not 1, and 1.0 is not 1."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


@given(plain)
def test_plain_data_comes_back_equal_in_value_type_and_order(value):
    assert same(back(value), value)


@given(st.recursive(
    scalars | st.floats() | st.text() | st.binary() | st.dates() | st.decimals() | st.uuids()
    | st.complex_numbers() | st.frozensets(st.integers()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner)
    | st.tuples(inner, inner) | st.sets(st.integers()),
))  # fmt: skip
def test_any_data_comes_back_equal_or_is_refused(value):
    def lists(one):
        if isinstance(one, dict):
            return {key: lists(inner) for key, inner in one.items()}
        return [lists(inner) for inner in one] if isinstance(one, tuple | list) else one

    try:
        found = back(value)
    except SerializationError:
        return
    assert found == lists(value)


@pytest.mark.parametrize("value", [
    math.nan, [1.0, math.inf], {"a": {"b": -math.inf}}, {1: 2}, {"a": {None: 1}}, {(1, 2): 3},
    {1: "a", "1": "b"}, {1, 2}, [frozenset()], b"x", [bytearray()], "\ud800", {"\udfff": 1},
    datetime(2024, 1, 1), date(2024, 1, 1), Decimal("1.10"), uuid.UUID(int=1), object(), 1j,
    [range(3)], {"a": (x for x in ())}, 10**4300, [-(10**5000)], [print], int,
    enum.Enum("Colour", "RED").RED,
], ids=lambda value: type(value).__name__)  # fmt: skip
def test_what_would_not_come_back_equal_is_refused_with_a_remedy(value):
    with pytest.raises(SerializationError, match=";"):
        JSON.encode(value, {})


def test_a_message_names_the_type_and_never_the_value():
    with pytest.raises(SerializationError) as caught:
        JSON.encode({"password": {"hunter2"}}, {})
    assert "set" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert "password" not in str(caught.value)


@pytest.mark.parametrize(
    "number",
    [2**63, -(2**63) - 1, 2**64, 2**70, -(2**70), 10**4299 - 1, 1 - 10**4299],
    ids=lambda number: str(number.bit_length()),
)
def test_big_integers_come_back_exactly(number):
    assert back({"n": number}) == {"n": number}


@pytest.mark.parametrize("number", [0.1, 1e22, 5e-324, 1.7976931348623157e308, 1e-7, 3.0])
def test_floats_come_back_exactly_and_as_floats(number):
    assert same(back([number]), [number])
    assert math.copysign(1, back(-0.0)) == -1


def test_subclasses_come_back_as_equal_builtins_and_tuples_as_lists():
    Point = namedtuple("Point", "x y")
    level = enum.IntEnum("Level", "LOW")
    counted = defaultdict(int, a=1)
    value = {"p": Point(1, 2), "o": OrderedDict(b=1), "d": counted, "l": level.LOW, "t": ((),)}
    assert back(value) == {"p": [1, 2], "o": {"b": 1}, "d": {"a": 1}, "l": 1, "t": [[]]}


@pytest.mark.parametrize("kind", [list, dict])
def test_nesting_up_to_the_limit_comes_back_and_beyond_it_is_refused(kind):
    assert back(nested(MAX_DEPTH, kind)) == nested(MAX_DEPTH, kind)
    for levels in (MAX_DEPTH + 1, 100_000):
        with pytest.raises(SerializationError, match="nested"):
            JSON.encode(nested(levels, kind), {})


def test_circular_references_are_refused():
    items: list[Any] = []
    items.append({"items": items})
    with pytest.raises(SerializationError, match="circular"):
        JSON.encode(items, {})


def test_one_object_in_many_places_is_looked_at_once():
    value: list[Any] = [1]
    for _ in range(100):
        value = [value, value]
    from holdall.formats.json import check_plain

    assert check_plain(value) is False


@pytest.mark.parametrize("levels", [202, 100_000])
def test_deep_text_is_an_error_and_no_crash(levels):
    with pytest.raises(DeserializationError, match="recursion limit"):
        JSON.decode(b"[" * levels + b"]" * levels, {})


# -- models -----------------------------------------------------------------------------------


class Recipe(pydantic.BaseModel):
    title: str
    when: datetime = datetime(2024, 1, 2)
    weight: float = 1.0
    note: float | None = None
    tags: set[int] = set()
    names: dict[int, str] = {}


class Tree(pydantic.BaseModel):
    child: Tree | None = None
    other: Any = None


@dataclasses.dataclass
class Shape:
    name: str
    size: Decimal
    parts: list[Shape] = dataclasses.field(default_factory=list)


class Movie(TypedDict):
    name: str
    year: int


def test_models_and_dataclasses_come_back_as_themselves():
    recipe = Recipe(title="Pasta", tags={1, 2}, names={1: "a"})
    assert back(recipe, Recipe) == recipe
    shape = Shape("square", Decimal("1.10"), [Shape("dot", Decimal(0))])
    assert back(shape, Shape) == shape
    assert back([recipe], list[Recipe]) == [recipe]
    assert back({"a": shape}, dict[str, Shape]) == {"a": shape}
    assert back({"name": "x", "year": 1}, Movie) == {"name": "x", "year": 1}


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_nan_in_a_model_comes_back(number):
    recipe = Recipe(title="x", weight=number, note=number)
    for value, model_class in ((recipe, Recipe), ([recipe], list[Recipe])):
        found = back(value, model_class)
        found = found[0] if isinstance(found, list) else found
        assert str(found.weight) == str(found.note) == str(number)


class Out(pydantic.BaseModel):
    title: str = pydantic.Field(serialization_alias="written")
    n: float = pydantic.Field(default=math.inf, alias="number")


@dataclasses.dataclass
class Holder:
    out: Out


def test_models_in_containers_are_written_by_field_name_as_they_are_alone():
    out = Out(title="a")
    assert JSON.encode([out], {}) == JSON.encode(out, {}).join((b"[", b"]"))
    for value, kind in (
        ([out], list[Out]),
        ({"k": [out]}, dict[str, list[Out]]),
        ((Holder(out),), tuple[Holder]),
        ([{"k": Holder(out)}], list[dict[str, Holder]]),
    ):
        assert back(value, kind) == value


def test_aliases_and_computed_fields_do_not_stand_in_the_way():
    class Aliased(pydantic.BaseModel, extra="forbid"):
        inner: int = pydantic.Field(alias="outer")
        seen: int = pydantic.Field(default=1, validation_alias="read")

        @pydantic.computed_field
        def double(self) -> int:
            return self.inner * 2

    value = Aliased(outer=3)
    assert back(value, Aliased) == value
    assert JSON.decode(b'{"outer":3}', {"model_class": Aliased}) == value


def test_a_model_whose_field_contradicts_its_type_is_refused():
    with pytest.raises(SerializationError):
        JSON.encode(Recipe.model_construct(title=7), {})


def test_a_model_without_json_form_is_refused():
    with pytest.raises(SerializationError, match="Tree"):
        JSON.encode(Tree(other=object()), {})


def test_circular_and_deep_models_are_refused_and_those_at_the_limit_come_back():
    tree = Tree()
    tree.other = tree
    with pytest.raises(SerializationError, match="itself"):
        JSON.encode(tree, {})
    for levels, good in ((200, True), (202, False), (300, False)):
        tree = Tree()
        for _ in range(levels - 1):
            tree = Tree.model_construct(child=tree)
        if good:
            assert back(tree, Tree) == tree
        else:
            with pytest.raises(SerializationError, match="deep"):
                JSON.encode(tree, {})


def test_long_integers_in_models_are_refused_and_digits_in_strings_are_not():
    with pytest.raises(SerializationError, match="4,299 digits"):
        JSON.encode(Tree(other=10**4300), {})
    for value in (Tree(other="1" * 5000), Tree(other=10**4298)):
        assert back(value, Tree) == value


def test_keys_and_values_of_builtin_subclasses_come_back_equal():
    import numpy as np

    class Word(str, enum.Enum):
        ONE = "one"

    class Bits(enum.IntFlag):
        A = 4

    value = {Word.ONE: [Word.ONE, Bits.A, np.float64(0.1), np.str_("x")], np.str_("k"): {}}
    assert back(value) == value


def test_brackets_in_strings_are_not_taken_for_depth():
    tree = Tree(other=["[" * 300, "}" * 300, {"]{": ["["] * 100}])
    assert back(tree, Tree) == tree


def test_a_mismatch_has_pydantics_error_as_its_cause_and_shows_no_value():
    with pytest.raises(DeserializationError, match="does not fit Recipe") as caught:
        JSON.decode(b'{"title": 12345}', {"model_class": Recipe})
    assert isinstance(caught.value.__cause__, pydantic.ValidationError)
    assert "12345" not in str(caught.value)
    assert not isinstance(caught.value, InvalidJSONError)


def test_a_model_class_that_pydantic_does_not_know_is_a_wrong_argument():
    with pytest.raises(OptionError, match="cannot make a model") as caught:
        JSON.decode(b"1", {"model_class": object()})
    assert isinstance(caught.value, InvalidArgumentError)


def test_unhashable_types_work():
    class Unhashable:
        __hash__ = None  # type: ignore[assignment]

    from typing import Annotated

    assert back(3, Annotated[int, Unhashable()]) == 3


# -- bad text ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("data", "line", "column"), [
    (b'{"a": tru}', 1, 10), (b"", 1, 1), (b'{"a": 1,\n "b": }', 2, 7), (b"\xff", 1, 1),
])  # fmt: skip
@pytest.mark.parametrize("model_class", [None, Recipe, list[int]])
def test_bad_json_says_where(data, line, column, model_class):
    import json

    with pytest.raises(json.JSONDecodeError) as caught:
        JSON.decode(data, {"model_class": model_class} if model_class else {})
    error = caught.value
    assert isinstance(error, InvalidJSONError)
    assert (error.lineno, error.colno) == (line, column)
    assert error.doc == ""
    assert f"line {line} column {column}" in str(error)
    assert error.pos == sum(map(len, data.splitlines(True)[: line - 1])) + column - 1 or not data


def test_a_byte_order_mark_is_skipped():
    assert JSON.decode(b'\xef\xbb\xbf{"a":1}', {}) == {"a": 1}
