"""Whatever a job says has a form that can be stored and sent."""

import json
import math
from datetime import date
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qorworker.text.storable import cell_of, json_of, percent_of, text_of


class Hostile:
    def __str__(self):
        raise RuntimeError("no")

    __repr__ = __str__


def nested(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value


def circular():
    value = []
    value.append(value)
    return value


LONELY = st.text(st.characters(), max_size=20)  # half pairs and NULs among them
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | LONELY | st.binary() | st.builds(Hostile),
    lambda inner: st.lists(inner) | st.dictionaries(LONELY | st.integers(), inner) | st.frozensets(st.integers()),
    max_leaves=20,
)
ODD = {
    "a huge number": 10**5000,
    "a huge negative number": -(10**5000),
    "a deep list": nested(100_000),
    "a circle": circular(),
    "keys that are no texts": {(1, 2): 3},
    "a set": {b"x"},
    "an object that raises": Hostile(),
    "half a pair": "\udcff\0",
    "bytes": b"\xff",
    "NaN": math.nan,
}


@pytest.mark.parametrize("name", ODD)
def test_odd_values_become_cells(name):
    assert json.dumps(cell_of(ODD[name]), allow_nan=False)


@given(ANYTHING)
def test_any_value_becomes_a_cell(value):
    assert json.dumps(cell_of(value), allow_nan=False)


@pytest.mark.parametrize("value", [1, 1.5, True, None, "text"])
def test_what_json_carries_stays_as_it_is(value):
    assert cell_of(value) is value


def test_an_object_that_cannot_be_shown_is_told_by_its_type():
    assert text_of(Hostile()) == "<Hostile, which cannot be shown: RuntimeError>"
    assert text_of(date(2026, 1, 2)) == "2026-01-02"


@given(ANYTHING)
def test_returned_json_can_be_read_and_sent_or_is_refused(value):
    try:
        text = json_of(value)
    except (TypeError, ValueError):
        return
    json.dumps(json.loads(text), ensure_ascii=False).encode()


def test_half_pairs_are_shown_and_nothing_else_is_changed():
    told = {"bad \udcff": ["\ud83c\udf89"], "good": ["ä\U0001f389", "\\udcff", "\0"]}
    assert json.loads(json_of(told)) == {
        "bad \\udcff": ["\\ud83c\\udf89"],
        "good": ["ä\U0001f389", "\\udcff", "\0"],
    }


@pytest.mark.parametrize("name", ["a deep list", "a circle", "NaN", "a set", "a huge number", "bytes"])
def test_what_json_cannot_carry_is_refused_with_a_reason(name):
    with pytest.raises((TypeError, ValueError)):
        json_of(ODD[name])


def test_progress_of_any_size_is_clamped():
    huge = 10**400
    assert [percent_of(huge), percent_of(-huge), percent_of(math.inf)] == [100, 0, 100]
    assert [percent_of(huge, 4 * huge), percent_of(huge, 3), percent_of(-huge, 3)] == [25, 100, 0]
    assert [percent_of(huge, math.inf), percent_of(1.7e306, math.inf), percent_of(1.5e308, 3e307)] == [0, 0, 100]
    assert [percent_of(Decimal("0.5"), 1), percent_of(Fraction(1, 3), 1), percent_of(5, 0)] == [50, 33, 100]


def test_progress_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="not NaN"):
        percent_of(math.nan)
