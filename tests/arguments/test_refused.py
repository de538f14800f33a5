"""What cannot be stored or would be bent on the way is refused before anything is stored, and the argument is named."""

import datetime as dt
import enum
import json
import uuid
from decimal import Decimal
from typing import Any, Literal

import pytest
from django.test import override_settings
from hypothesis import given
from hypothesis import strategies as st

from qorworker import InvalidArguments, Secret
from qorworker.arguments import Arguments
from tests.job_types import stored_form, taking, with_zones  # noqa: F401

pytestmark = pytest.mark.usefixtures("with_zones")


class Colour(enum.Enum):
    RED = "r"


class Thing:
    pass


def nested(levels):
    value = []
    for _ in range(levels - 1):
        value = [value]
    return value


def refused(annotation, value):
    """The messages for an argument called ``value``."""
    with pytest.raises(InvalidArguments) as error:
        stored_form(taking(annotation), {"value": value})
    assert list(error.value.errors) == ["value"]
    return " ".join(error.value.errors["value"])


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (str, None),
        (str, ""),
        (str, 5),
        (str, b"bytes"),
        (str, ["a"]),
        (str, "nul \x00"),
        (str, "half a pair \ud800"),
        (str | None, "\x00"),
        (int, None),
        (int, True),
        (int, 3.5),
        (int, "three"),
        (int, ""),
        pytest.param(int, 10**5000, id="int-huge"),
        (int, float("nan")),
        (int, Decimal("Infinity")),
        (float, float("nan")),
        (float, float("inf")),
        (float, "-inf"),
        (float, 10**400),
        (float, 2**53 + 1),
        (float, True),
        (Decimal, Decimal("NaN")),
        (Decimal, Decimal("sNaN")),
        (Decimal, Decimal("-Infinity")),
        (Decimal, "one"),
        (bool, None),
        (bool, 2),
        (bool, "perhaps"),
        (bool | None, "perhaps"),
        (dt.date, dt.datetime(2026, 1, 1, tzinfo=dt.UTC)),
        (dt.date, "2026-02-30"),
        (dt.date, 20260101),
        (dt.datetime, dt.date(2026, 1, 1)),
        (dt.datetime, "tomorrow"),
        (dt.datetime, "2026-03-29 02:30"),  # skipped by the clocks of Berlin
        (dt.datetime, "2026-10-25 02:30"),  # happens twice there
        (dt.datetime, dt.datetime(1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=14)))),
        (dt.time, dt.time(9, tzinfo=dt.UTC)),
        (dt.time, "25:00"),
        (dt.timedelta, "a while"),
        (dt.timedelta, 5),
        (uuid.UUID, "no uuid"),
        (uuid.UUID, 5),
        (Literal["a", "b"], "c"),
        (Literal["a", "b"], None),
        (Literal[1, 2], True),
        (Colour, "RED"),
        (Colour, None),
        (Colour, ""),
        (list[str], None),
        (list[str], {"a"}),
        (list[str], [1]),
        (list[str], ["\x00"]),
        (list[str], []),
        (list[int], [1, "x"]),
        (list[int], [1, None]),
        (list[Colour], ["r", "x"]),
        (list[Colour], "x"),
        (dict, None),
        (dict, []),
        (dict, {1: "a"}),
        (dict, {"a": {1, 2}}),
        (dict, {"a": Decimal(1)}),
        (dict, {"a": float("nan")}),
        (dict, {"\x00": 1}),
        (dict, {"a": "\ud800"}),
        (dict[str, int], {"a": "b"}),
        (dict[str, int], {"a": True}),
        (list[dict[str, int]], [{"a": None}]),
        (Any, Thing()),
        (Any, b"bytes"),
        (Any, nested(31)),
        (Any, nested(5000)),
        (list, nested(31)),
        pytest.param(Any, 10**5000, id="any-huge"),
        (Any, Colour.RED),
        (Secret[str], 5),
        (Secret[str], None),
        (Secret[str], "\x00"),
    ],
)
def test_a_value_of_another_kind_is_refused(annotation, value):
    assert refused(annotation, value)


def test_fifty_levels_are_enough_for_everybody():
    assert stored_form(taking(Any), {"value": nested(30)}) == {"value": nested(30)}


def test_a_structure_that_contains_itself_is_refused():
    value: list[Any] = []
    value.append(value)
    assert "nested" in refused(Any, value)


@given(st.binary() | st.complex_numbers() | st.sets(st.integers()) | st.functions())
def test_what_json_has_no_type_for_is_refused(value):
    assert refused(Any, value)


def test_a_naive_time_is_refused_where_the_project_has_zones():
    assert "time zone" in refused(dt.datetime, dt.datetime(2026, 1, 1))


def test_a_time_with_a_zone_is_refused_where_the_project_has_none():
    with override_settings(USE_TZ=False):
        assert "USE_TZ" in refused(dt.datetime, dt.datetime(2026, 1, 1, tzinfo=dt.UTC))


def test_every_wrong_argument_is_named_at_once():
    def handler(number: int, date: dt.date, text: str):
        pass

    with pytest.raises(InvalidArguments) as error:
        Arguments("shop.handle", handler).clean({"number": "x", "date": 5, "txt": "typo"})
    assert set(error.value.errors) == {"number", "date", "text", "txt"}
    assert "shop.handle" in str(error.value)


def test_a_missing_argument_is_named_even_if_none_would_be_allowed():
    with pytest.raises(InvalidArguments) as error:
        Arguments("t", taking(int | None)).clean({})
    assert list(error.value.errors) == ["value"]


def test_arguments_above_the_limit_name_the_largest():
    def handler(small: str, large: str):
        pass

    with override_settings(QORWORKER={"ARGUMENTS_BYTES": 2000}):
        arguments = Arguments("t", handler)
        assert arguments.dump(arguments.clean({"small": "a", "large": "b" * 1900}))
        with pytest.raises(InvalidArguments) as error:
            arguments.dump(arguments.clean({"small": "a", "large": "b" * 2000}))
    assert list(error.value.errors) == ["large"]


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "[" * 31 + "]" * 31,
        '{"a": 1, "a": 2}',
        "NaN",
        "[1, Infinity]",
        "-Infinity",
        "1" * 5000,
        '"\\u0000"',
        '"\\ud800"',
        "{",
        "'a'",
        "[1,]",
    ],
)
def test_json_typed_into_the_form_is_measured_and_checked(text):
    form = Arguments("t", taking(Any)).form_class({"value": text})
    assert list(form.errors) == ["value"]


def test_brackets_inside_a_json_text_are_no_levels():
    form = Arguments("t", taking(Any)).form_class({"value": json.dumps(["[" * 100, '"[['])})
    assert form.is_valid()


def test_json_above_the_limit_is_refused_before_it_is_parsed():
    with override_settings(QORWORKER={"ARGUMENTS_BYTES": 2000}):
        form = Arguments("t", taking(Any)).form_class({"value": "[" + "1," * 1000 + "1]"})
        assert list(form.errors) == ["value"]


@pytest.mark.parametrize(
    ("annotation", "stored"),
    [
        (str, 5),
        (str, {"$secret": "x"}),
        (int, "three"),
        (int, {"py/object": "os.system"}),
        (Colour, "gone"),
        (dict, "[]"),
        (Secret[str], "plain"),
        (Secret[str], {"$file": "x"}),
        (list[str], {"a": 1}),
        (dt.datetime, 5),
    ],
)
def test_what_somebody_planted_in_the_table_is_cleaned_again(annotation, stored):
    with pytest.raises(InvalidArguments) as error:
        Arguments("t", taking(annotation)).load({"value": stored})
    assert list(error.value.errors) == ["value"]


def test_a_name_that_is_no_argument_any_more_stops_the_job():
    with pytest.raises(InvalidArguments) as error:
        Arguments("t", taking(int)).load({"value": 1, "region": "north"})
    assert list(error.value.errors) == ["region"]
