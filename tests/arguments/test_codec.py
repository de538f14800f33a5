"""Every type an argument may have arrives as it was sent: value for value and type for type."""

import datetime as dt
import enum
import math
import typing
import uuid
from decimal import Decimal
from typing import Annotated, Any, Literal, NewType, Optional

import pytest
from django.db.models import IntegerChoices, TextChoices
from hypothesis import example, given
from hypothesis import strategies as st

from qorworker import Arg, InvalidArguments
from tests.job_types import round_trip, stored_form, taking, there_and_back, with_zones  # noqa: F401

pytestmark = pytest.mark.usefixtures("with_zones")

storable = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]))
filled = storable.filter(bool)
zones = st.timezones()
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | storable,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(storable, inner, max_size=4),
    max_leaves=15,
)


class Colour(enum.Enum):
    RED = "r"
    DARK_BLUE = "b"


class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 2


class Mode(TextChoices):
    ADD = "add", "Add to it"
    REPLACE = "replace", "Replace it"


class Level(IntegerChoices):
    LOW = 1
    HIGH = 9


Count = NewType("Count", int)


@given(filled)
@example(" spaces around ")
@example("two\r\nlines\n")
@example("😀")
def test_text_keeps_every_character(text):
    assert there_and_back(str, text) == text
    assert type(there_and_back(str, text)) is str


@given(storable)
@example("")
@example("\u2028")
def test_optional_text_tells_empty_from_none(text):
    assert there_and_back(str | None, text) == text
    assert there_and_back(str | None, None) is None


@given(st.integers(-(10**3000), 10**3000))
@example(-(2**63) - 1)
def test_whole_numbers_have_no_limit_of_their_own(number):
    assert there_and_back(int, number) == number


@given(st.floats(allow_nan=False, allow_infinity=False))
@example(5e-324)
@example(-0.0)
@example(1.7976931348623157e308)
def test_floats_keep_every_bit(number):
    again = there_and_back(float, number)
    assert math.copysign(1, again) == math.copysign(1, number)
    assert again == number


@given(st.decimals(allow_nan=False, allow_infinity=False))
@example(Decimal("1E+1000"))
@example(Decimal("0.10"))
def test_decimals_keep_their_digits(number):
    again = there_and_back(Decimal, number)
    assert again.as_tuple() == number.as_tuple()


@pytest.mark.parametrize("flag", [True, False])
def test_flags_arrive(flag):
    assert there_and_back(bool, flag) is flag
    assert there_and_back(bool | None, flag) is flag


def test_an_optional_flag_may_be_unknown():
    assert there_and_back(bool | None, None) is None


@given(st.dates())
def test_dates_arrive(date):
    again = there_and_back(dt.date, date)
    assert (type(again), again) == (dt.date, date)


@given(st.datetimes(dt.datetime(1, 1, 3), dt.datetime(9999, 12, 29), timezones=zones))
@example(dt.datetime(2026, 10, 25, 2, 30, 0, 1, tzinfo=dt.UTC))
def test_instants_keep_their_microseconds(moment):
    again = there_and_back(dt.datetime, moment)
    assert again.astimezone(dt.UTC) == moment.astimezone(dt.UTC)


@pytest.mark.parametrize("fold", [0, 1])
def test_both_hours_of_a_clock_change_arrive(fold):
    from zoneinfo import ZoneInfo

    moment = dt.datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=fold)
    again = there_and_back(dt.datetime, moment)
    assert again.timestamp() == moment.timestamp()
    assert str(again.tzinfo) == "Europe/Berlin"


@given(st.datetimes())
def test_naive_times_arrive_where_a_project_has_no_zones(moment):
    from django.test import override_settings

    with override_settings(USE_TZ=False):
        assert there_and_back(dt.datetime, moment) == moment


@given(st.times())
def test_times_of_day_arrive(time):
    assert there_and_back(dt.time, time) == time


@given(st.timedeltas())
@example(dt.timedelta.min)
@example(dt.timedelta.max)
@example(dt.timedelta(microseconds=-1))
def test_durations_arrive(duration):
    assert there_and_back(dt.timedelta, duration) == duration


@given(st.uuids())
def test_uuids_arrive(value):
    assert there_and_back(uuid.UUID, value) == value


@given(json_values)
def test_json_arrives(value):
    assert there_and_back(Any, value) == value


@given(st.dictionaries(storable, json_values, max_size=3))
def test_objects_arrive(value):
    assert there_and_back(dict, value) == value
    assert there_and_back(dict[str, Any], value) == value


@given(st.dictionaries(filled, st.lists(st.integers()), max_size=3))
def test_json_of_a_shape_arrives(value):
    assert there_and_back(dict[str, list[int]], value) == value


@given(st.lists(filled, min_size=1))
@example(["one\ntwo", " three "])
def test_lists_of_texts_arrive(value):
    assert there_and_back(list[str], value) == value


@given(st.lists(st.integers(), min_size=1))
def test_lists_of_numbers_arrive(value):
    assert there_and_back(list[int], value) == value


@given(st.lists(st.dates(), min_size=1))
def test_lists_of_dates_arrive(value):
    assert there_and_back(list[dt.date], value) == value


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Literal["add", "replace"], "replace"),
        (Literal[1, 2], 2),
        (Literal[True, False], False),
        (Literal["", "x"], ""),
        (Literal["a", None], None),
        (Literal[Colour.RED], Colour.RED),
        (Colour, Colour.DARK_BLUE),
        (Size, Size.LARGE),
        (Mode, Mode.REPLACE),
        (Level, Level.HIGH),
        (Colour | None, None),
        (Optional[Mode], Mode.ADD),  # noqa: UP045
        (list[Colour], [Colour.DARK_BLUE, Colour.RED]),
        (list[Literal[1, 2]], [2]),
        (list[Mode] | None, None),
        (list[str] | None, None),
        (list[str] | None, []),
        (Count, 5),
        (Annotated[int | None, Arg(min_value=1)], 3),
        (Annotated[str, Arg(choices=["a", "b"])], "b"),
        (Annotated[int, Arg(choices=[(1, "one"), (2, "two")])], 2),
        (Annotated[int, Arg(choices=lambda: range(3))], 2),
        (Annotated[list[int], Arg(choices=[1, 2, 3])], [3, 1]),
        (int | None, None),
        (Decimal | None, None),
        (dt.datetime | None, None),
        (dt.timedelta | None, None),
        (dict | None, None),
        (dict, {}),
        (list, []),
        (list[dict[str, int]], [{"a": 1}]),
        (list[Any], [1, "a", None]),
        (list[int | None], [1, None]),
        (typing.List, [1]),  # noqa: UP006
        (typing.Dict, {"a": 1}),  # noqa: UP006
        (typing.Dict[str, int], {"a": 1}),  # noqa: UP006
        (dict[str, int | None], {"a": None}),
        (Any, None),
        (Any, "a text"),
        (Any, False),
    ],
)
def test_choices_and_shapes_arrive(annotation, value):
    again = there_and_back(annotation, value)
    assert again == value
    assert type(again) is type(value)


def test_the_value_of_an_enum_is_stored_not_its_name():
    assert stored_form(taking(Colour), {"value": Colour.DARK_BLUE}) == {"value": "b"}
    assert stored_form(taking(Size), {"value": Size.LARGE}) == {"value": 2}


@pytest.mark.parametrize(
    ("annotation", "text", "value"),
    [
        (int, "7", 7),
        (float, "1.5", 1.5),
        (Decimal, "1.50", Decimal("1.50")),
        (Decimal, 1, Decimal(1)),
        (Decimal, 0.1, Decimal("0.1")),
        (bool, "yes", True),
        (bool, "false", False),
        (dt.date, "2026-11-23", dt.date(2026, 11, 23)),
        (dt.time, "09:30", dt.time(9, 30)),
        (dt.timedelta, "1 06:30:00", dt.timedelta(days=1, hours=6, minutes=30)),
        (dt.datetime, "2026-11-23T09:00:00Z", dt.datetime(2026, 11, 23, 9, tzinfo=dt.UTC)),
        (dt.datetime, "2026-11-23 09:00", dt.datetime(2026, 11, 23, 8, tzinfo=dt.UTC)),
        (uuid.UUID, "12345678123456781234567812345678", uuid.UUID("12345678123456781234567812345678")),
        (Colour, "r", Colour.RED),
        (Size, "1", Size.SMALL),
        (Size, 1, Size.SMALL),
        (Literal[1, 2], "2", 2),
        (list[int], "1\n2\n\n3", [1, 2, 3]),
        (list[str], ("a", "b"), ["a", "b"]),
        (float, 3, 3.0),
    ],
)
def test_values_that_can_be_read_are_read(annotation, text, value):
    again = there_and_back(annotation, text)
    assert again == value
    assert type(again) is type(value)


def test_defaults_fill_what_is_left_out():
    def handler(
        text: str = "abc",
        number: int = 3,
        factor: Decimal = Decimal("1.00"),
        flag: bool = True,
        colour: Colour = Colour.RED,
        when: dt.date | None = None,
        words: list[str] = ["a"],  # noqa: B006
        none: list[int] = [],  # noqa: B006
        options: dict[str, Any] = {},  # noqa: B006
    ):
        pass

    assert round_trip(handler) == {
        "text": "abc",
        "number": 3,
        "factor": Decimal("1.00"),
        "flag": True,
        "colour": Colour.RED,
        "when": None,
        "words": ["a"],
        "none": [],
        "options": {},
    }


def test_keyword_only_parameters_are_arguments():
    def handler(a: int, *, b: int = 2):
        pass

    assert round_trip(handler, a=1) == {"a": 1, "b": 2}


def test_a_default_that_is_mutable_is_not_shared():
    def handler(words: list[str] = ["a"]):  # noqa: B006
        pass

    round_trip(handler)["words"].append("b")
    assert round_trip(handler) == {"words": ["a"]}


def test_a_handler_without_arguments_has_none():
    assert round_trip(lambda: None) == {}
    with pytest.raises(InvalidArguments) as error:
        round_trip(lambda: None, surprise=1)
    assert list(error.value.errors) == ["surprise"]
