"""Plain values are stored without their form, and exactly as the form would have them stored."""

import datetime as dt
import enum
import uuid
from collections import UserDict
from decimal import Decimal
from typing import Annotated, Literal

import pytest
from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy
from hypothesis import example, given, settings
from hypothesis import strategies as st

from qorworker import Arg, InvalidArguments, Secret
from qorworker.arguments import Arguments
from qorworker.arguments.values import ExactText
from qorworker.backends.tasks.task_type import TaskArguments
from tests.arguments.test_definition import Gt, Len, MultipleOf
from tests.job_types import taking
from tests.testapp.models import Shop


class Words(str):
    """A text that is not quite one."""

    def __len__(self):
        return 0


class Whole(int):
    pass


class Mode(enum.StrEnum):
    ADD = "add"


class Level(enum.IntEnum):
    LOW = 1


def odd(value):
    if value == 3:
        raise ValidationError("not three")


NOON = dt.time(12)
ANNOTATIONS = [
    str, int, float, bool, Decimal, dt.date, dt.time, dt.timedelta, uuid.UUID,
    str | None, int | None, float | None, bool | None, Decimal | None, dt.date | None, uuid.UUID | None,
    Annotated[str, Arg(max_length=5)], Annotated[str | None, Arg(min_length=2, regex="[a-z]+")],
    Annotated[str, Arg(multiline=True)], Annotated[str, Len(1, 3)],
    Annotated[int, Arg(min_value=-3, max_value=100)], Annotated[int, MultipleOf(3)], Annotated[int, Gt(0)],
    Annotated[float, Arg(min_value=0, max_value=1.5)], Annotated[float | None, Gt(0.5)],
    Annotated[Decimal, Arg(max_digits=4, decimal_places=2)], Annotated[Decimal, Arg(min_value="0.1")],
    Annotated[dt.date, Arg(min_value=dt.date(2026, 1, 1))], Annotated[dt.time, Arg(max_value=NOON)],
    Annotated[dt.timedelta, Arg(min_value=dt.timedelta(0))],
]  # fmt: skip
DEFAULTS = [(), (None,), ("",), ("x",), (0,), (2,), (0.5,), (False,), (Decimal("1.00"),), (dt.timedelta(1),)]
HOSTILE = [
    None, "", " ", " a ", "abc", "a\x00b", "\ud800", "é😀", "true", "1", "1.0", "None", "0", "x" * 300_000,
    Words("abc"), ExactText("abc"), ExactText(""), gettext_lazy("Home"), Secret("s"), Mode.ADD, Level.LOW, Whole(1),
    True, False, 0, 1, -1, 2**53, 2**53 + 1, 2**63, -(2**63), 10**400, 10**5000, 1.0, -0.0, 0.1, 1e308, float("nan"),
    float("inf"), Decimal(1), Decimal("-0.00"), Decimal("1E+30"), Decimal("NaN"), Decimal("sNaN"), Decimal("-Infinity"),
    Decimal("0." + "1" * 100), Decimal("1E+999999"), dt.date.min, dt.date.max, dt.datetime(2026, 1, 1),
    dt.datetime(2026, 1, 1, tzinfo=dt.UTC), NOON, dt.time(1, 2, 3, 4, fold=1), dt.time(1, tzinfo=dt.UTC),
    dt.timedelta(-1, 1, 1), dt.timedelta.max, dt.timedelta.min, uuid.UUID(int=7), uuid.uuid1(), b"bytes", 1j, [], ["a"],
    (), {}, {"a": 1}, {1}, object(), int, Ellipsis, "2026-01-01", "12:00", "1 00:00:00",
]  # fmt: skip
values = (
    st.sampled_from(HOSTILE)
    | st.text()
    | st.integers()
    | st.floats()
    | st.decimals()
    | st.booleans()
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.uuids()
    | st.none()
)


def as_the_form_has_it(arguments, call):
    """What the form would store, or its errors."""
    try:
        return arguments.dump(arguments.clean(call))
    except InvalidArguments as error:
        return error


def assert_alike(arguments, call):
    found = arguments.dump_plain([call])
    if found is None:
        return
    expected = as_the_form_has_it(arguments, call)
    assert not isinstance(expected, InvalidArguments), (call, expected.errors)
    assert [(name, type(value), repr(value)) for name, value in found[0].items()] == [
        (name, type(value), repr(value)) for name, value in expected.items()
    ]


@pytest.mark.parametrize("annotation", ANNOTATIONS)
@pytest.mark.parametrize("default", DEFAULTS)
def test_no_hostile_value_is_stored_otherwise_than_by_the_form(annotation, default):
    arguments = Arguments("test.job", taking(annotation, *default))
    for value in HOSTILE:
        assert_alike(arguments, {"value": value})
    for call in ({}, {"other": 1}, {"value": 1, "other": 1}, UserDict(value=1)):
        assert_alike(arguments, call)


EACH = [Arguments("test.job", taking(annotation)) for annotation in ANNOTATIONS]


@settings(max_examples=200, deadline=None)
@given(values)
@example("\x00")
def test_no_value_at_all_is_stored_otherwise_than_by_the_form(value):
    for arguments in EACH:
        assert_alike(arguments, {"value": value})


@pytest.mark.parametrize(
    ("annotation", "value", "stored"),
    [
        (str, "Straße", "Straße"),
        (str | None, None, None),
        (Annotated[str, Arg(max_length=5, regex="[a-z]+")], "abc", "abc"),
        (int, 5, 5),
        (Annotated[int, Arg(min_value=0)], 0, 0),
        (float, 2.5, 2.5),
        (float, 2, 2.0),
        (bool, False, False),
        (bool | None, True, True),
        (Decimal, Decimal("1.10"), "1.10"),
        (dt.date, dt.date(2026, 3, 1), "2026-03-01"),
        (dt.time, NOON, "12:00:00"),
        (dt.timedelta, dt.timedelta(1), "P1DT00H00M00S"),
        (uuid.UUID, uuid.UUID(int=7), "00000000-0000-0000-0000-000000000007"),
    ],
)
def test_plain_values_need_no_form(annotation, value, stored, monkeypatch):
    arguments = Arguments("test.job", taking(annotation))
    for field in arguments.fields.values():
        monkeypatch.setattr(type(field), "clean", None)
    assert arguments.dump_plain([{"value": value}]) == [{"value": stored}]


def test_a_default_needs_no_form_either():
    def handler(first: int, second: str = "x"):
        pass

    assert Arguments("test.job", handler).dump_plain([{"first": 1}]) == [{"first": 1, "second": "x"}]


@pytest.mark.parametrize(
    "annotation",
    [
        Secret[str], Literal["a", "b"], Mode, dt.datetime, list[str], dict[str, int], Shop,
        Annotated[int, Arg(validators=[odd])],
    ],
)  # fmt: skip
def test_what_needs_the_form_always_gets_it(annotation):
    assert Arguments("test.job", taking(annotation)).dump_plain([{"value": 1}]) is None


@pytest.mark.parametrize("annotation", [str, str | None])
def test_a_password_input_never_stores_its_text_as_it_is(annotation):
    arguments = Arguments("test.job", taking(Annotated[annotation, Arg(widget=forms.PasswordInput)]))
    assert arguments.dump_plain([{"value": "hunter2"}]) is None
    with pytest.raises(InvalidArguments):
        arguments.load({"value": "hunter2"})


def test_a_form_of_the_project_is_always_asked():
    class Even(forms.Form):
        value = forms.IntegerField()

    assert Arguments("test.job", taking(int), Even).dump_plain([{"value": 1}]) is None


def test_a_field_with_a_method_of_its_own_is_always_asked(monkeypatch):
    arguments = Arguments("test.job", taking(int))
    monkeypatch.setattr(arguments.fields["value"], "clean", lambda value: 7, raising=False)
    assert arguments.dump_plain([{"value": 1}]) is None


def test_a_task_of_the_framework_is_stored_in_its_own_way():
    assert TaskArguments("test.job", taking(int)).dump_plain([{"value": 1}]) is None


def test_arguments_that_may_be_too_large_are_measured_by_the_form(settings):
    settings.QORWORKER = {"ARGUMENTS_BYTES": 2048}
    arguments = Arguments("test.job", taking(str))
    assert arguments.dump_plain([{"value": "x" * 100}]) == [{"value": "x" * 100}]
    assert arguments.dump_plain([{"value": "x" * 2048}]) is None


def test_one_value_that_needs_the_form_sends_all_of_a_call_there():
    assert Arguments("test.job", taking(int)).dump_plain([{"value": 1}, {"value": "2"}]) is None


def assert_loaded_alike(arguments, stored):
    definition = arguments.definition
    shortcut, definition.shortcut = definition.shortcut, None
    try:
        expected = arguments.load(stored)
    except InvalidArguments as error:
        expected = error
    finally:
        definition.shortcut = shortcut
    found = None if shortcut is None else shortcut.loaded(stored)
    if found is not None:
        assert not isinstance(expected, InvalidArguments), (stored, expected.errors)
        assert [(name, type(value), repr(value)) for name, value in found.items()] == [
            (name, type(value), repr(value)) for name, value in expected.items()
        ]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([*map(str, HOSTILE[:20])]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=3,
)


@settings(max_examples=200, deadline=None)
@given(json_values)
@example("\x00")
@example(10**400)
@example("a\r\nb")
def test_no_stored_value_is_loaded_otherwise_than_by_the_form(value):
    for arguments in EACH:
        assert_loaded_alike(arguments, {"value": value})
        assert_loaded_alike(arguments, {"value": value, "other": 1})


@pytest.mark.parametrize(
    ("annotation", "value", "loaded"),
    [(str, "Straße", "Straße"), (str | None, None, None), (int, 5, 5), (float, 2, 2.0), (bool, False, False)],
)
def test_plain_values_are_loaded_without_the_form(annotation, value, loaded, monkeypatch):
    arguments = Arguments("test.job", taking(annotation))
    for field in arguments.fields.values():
        monkeypatch.setattr(type(field), "clean", None)
    found = arguments.load({"value": value})["value"]
    assert (found, type(found)) == (loaded, type(loaded))


@pytest.mark.parametrize("annotation", [Decimal, dt.date, dt.time, dt.timedelta, uuid.UUID])
def test_what_json_holds_as_text_is_loaded_by_the_form(annotation):
    value = {Decimal: "1.10", dt.date: "2026-03-01", dt.time: "12:00", dt.timedelta: "P1D"}.get(annotation, "0" * 32)
    assert isinstance(Arguments("test.job", taking(annotation)).load({"value": value})["value"], annotation)


def test_a_value_that_no_longer_fits_is_refused_by_the_form():
    arguments = Arguments("test.job", taking(Annotated[int, Arg(max_value=3)]))
    with pytest.raises(InvalidArguments) as raised:
        arguments.load({"value": 4})
    assert list(raised.value.errors) == ["value"]
