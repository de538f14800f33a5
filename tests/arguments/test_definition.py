"""From a signature to a form: labels, help, limits, widgets, and annotations that have no field."""

import datetime as dt
import enum
import uuid
from decimal import Decimal
from typing import Annotated, Any, Literal

import pytest
from django import forms
from django.core.files.uploadedfile import SimpleUploadedFile, UploadedFile
from django.core.validators import FileExtensionValidator
from django.db.models import QuerySet
from django.utils import translation

from qorworker import Arg, InvalidArguments, JobContext, Secret
from qorworker.arguments import Arguments, shown
from qorworker.exceptions import JobTypeError
from tests.job_types import round_trip, taking, with_zones  # noqa: F401
from tests.testapp.models import Shop

pytestmark = pytest.mark.usefixtures("with_zones")


class Colour(enum.Enum):
    RED = "r"
    DARK_BLUE = "b"


class Shapes(enum.Enum):
    ROUND = object()


class Twins(enum.Enum):
    NUMBER = 1
    TEXT = "1"


# What the libraries of constraints call them; known by name, so that none of them is needed.
class Ge:
    def __init__(self, ge):
        self.ge = ge


class Gt:
    def __init__(self, gt):
        self.gt = gt


class Interval:
    def __init__(self, ge=None, lt=None):
        self.ge, self.lt = ge, lt


class Len:
    def __init__(self, min_length=0, max_length=None):
        self.min_length, self.max_length = min_length, max_length


class MultipleOf:
    def __init__(self, multiple_of):
        self.multiple_of = multiple_of


class Unknown:
    pass


Unknown.__module__ = "annotated_types"


def import_products(
    context: JobContext,
    file: UploadedFile,
    api_key: str,
    mode: Literal["add", "replace"] = "add",
    factor: Annotated[Decimal, Arg(label="Price factor", help="Multiplies every price", min_value="0.1")] = Decimal(
        "1.00"
    ),
    *,
    when: dt.datetime | None = None,
):
    """Reads a CSV file.

    Rows with errors are listed.

    Args:
        file: the file to read,
            in full
        api_key (str): from the account page
        factor: not shown, because the annotation says it
    Returns:
        Nothing.
    """


def csv(name):
    return SimpleUploadedFile(name, b"a,b")


def form_of(function):
    return Arguments("test.job", function).form_class()


def problem(annotation, *default):
    problems = Arguments("t", taking(annotation, *default)).problems()
    assert list(problems) == ["value"]
    return problems["value"]


def accepts(annotation, value):
    try:
        Arguments("t", taking(annotation)).clean({"value": value})
    except InvalidArguments:
        return False
    return True


def test_the_form_follows_the_signature():
    form = form_of(import_products)
    assert list(form.fields) == ["file", "api_key", "mode", "factor", "when"]
    assert [form[name].label for name in form.fields] == ["File", "Api key", "Mode", "Price factor", "When"]
    assert [field.required for field in form.fields.values()] == [True, True, True, True, False]


def test_help_comes_from_the_annotation_or_the_docstring():
    form = form_of(import_products)
    assert form["file"].help_text == "the file to read, in full"
    assert form["api_key"].help_text == "from the account page"
    assert form["factor"].help_text == "Multiplies every price"
    assert form["mode"].help_text == ""


def test_the_zone_is_named_where_a_time_is_typed():
    assert str(form_of(import_products)["when"].help_text) == "Time zone: Europe/Berlin"


def test_the_description_is_the_docstring_without_its_parameters():
    assert Arguments("t", import_products).description == "Reads a CSV file.\n\nRows with errors are listed."


@pytest.mark.parametrize(
    "docstring",
    [
        "Does it.\n\n:param value: how much\n    of it\n:returns: nothing",
        "Does it.\n\n:param int value: how much of it",
        "Does it.\n\nParameters\n----------\nvalue : int\n    how much\n    of it\n\nReturns\n-------\nNone",
        "Does it.\n\nArgs:\n    other: else\n    value (int): how much of it\n\nMore.",
    ],
)
def test_every_usual_style_of_docstring_is_read(docstring):
    handler = taking(int)
    handler.__doc__ = docstring
    arguments = Arguments("t", handler)
    assert arguments.form_class()["value"].help_text == "how much of it"
    assert arguments.description == "Does it."


def test_the_context_is_no_argument_whatever_it_is_called():
    assert Arguments("t", import_products).context_parameter == "context"

    def annotated(job: JobContext, number: int):
        pass

    def named(context, number: int):
        pass

    def only_for_type_checkers(context: "JobContext", number: "int"):
        pass

    def without(number: int):
        pass

    def another_meaning(context: str, number: int):
        pass

    assert Arguments("t", annotated).context_parameter == "job"
    assert Arguments("t", named).context_parameter == "context"
    assert Arguments("t", only_for_type_checkers).context_parameter == "context"
    assert Arguments("t", without).context_parameter is None
    assert Arguments("t", another_meaning).context_parameter is None
    assert list(Arguments("t", another_meaning).fields) == ["context", "number"]


def test_annotations_may_be_texts():
    def handler(number: "int", when: "dt.date | None" = None):
        pass

    assert round_trip(handler, number=1, when="2026-01-01") == {"number": 1, "when": dt.date(2026, 1, 1)}


@pytest.mark.parametrize(
    ("annotation", "told"),
    [
        (tuple[int, int], "tuple"),
        (set, "set"),
        (bytes, "bytes"),
        (int | str, "int | str"),
        (list[bytes], "bytes"),
        (list[list[Decimal]], "list"),
        (dict[int, str], "dict"),
        (dict[str, Decimal], "dict"),
        (Shapes, "neither a text nor a number"),
        (Twins, "look the same"),
        (Literal[1, "1"], "look the same"),
        (Literal[b"x"], "bytes"),
        (Secret[int], "always a text"),
        (QuerySet, "does not tell its model"),
        (QuerySet[Shop], "does not tell its model"),
        (list[UploadedFile], "list"),
        (object(), "object"),
        ("Nowhere", "cannot be resolved"),
        (Annotated[int, Arg(regex="x")], "regex"),
        (Annotated[str, Arg(min_value=1)], "min_value"),
        (Annotated[bool, Arg(max_length=1)], "max_length"),
        (Annotated[dict, Arg(multiline=True)], "multiline"),
        (Annotated[int, Arg(min_value="x")], "invalid literal"),
        (Annotated[int, Unknown()], "not known"),
        (Annotated[Shop, Arg(choices=[1, 2])], "QuerySet"),
    ],
)
def test_an_annotation_without_a_field_is_a_problem_that_says_why(annotation, told):
    assert told in problem(annotation)


def test_parameters_that_have_no_place_in_a_form_are_problems():
    def handler(positional: int, /, bare, *args: int, **kwargs: int):
        pass

    problems = Arguments("t", handler).problems()
    assert set(problems) == {"positional", "bare", "args", "kwargs"}
    assert "annotation" in problems["bare"]
    assert "positional" in problems["positional"]


def test_a_type_with_a_problem_cannot_be_used_and_says_where_it_is():
    arguments = Arguments("shop.job", taking(bytes))
    for use in (lambda: arguments.form_class, lambda: arguments.clean({}), lambda: arguments.load({})):
        with pytest.raises(JobTypeError) as error:
            use()
        assert "shop.job" in str(error.value)
        assert "job_types.py" in str(error.value)


@pytest.mark.parametrize(
    ("annotation", "good", "bad"),
    [
        (Annotated[int, Arg(min_value=1, max_value=5)], 5, 6),
        (Annotated[int, Ge(1)], 1, 0),
        (Annotated[int, Gt(1)], 2, 1),
        (Annotated[float, Interval(ge=0, lt=1)], 0, 1),
        (Annotated[int, MultipleOf(3)], 6, 7),
        (Annotated[int, MultipleOf(3)], 3 * 10**400, 10**400),
        (Annotated[Decimal, MultipleOf(3)], "6.0", "1E+999"),
        (Annotated[Decimal, Arg(max_digits=3, decimal_places=2)], "1.25", "1.255"),
        (Annotated[Decimal, Arg(min_value="0.1")], "0.1", "0.09"),
        (Annotated[str, Arg(max_length=3)], "abc", "abcd"),
        (Annotated[str, Len(2, 3)], "ab", "a"),
        (Annotated[str, Arg(regex="[a-z]+")], "abc", "abc\n"),
        (Annotated[str, Arg(regex="a|b")], "b", "bb"),
        (Annotated[UploadedFile, Arg(validators=[FileExtensionValidator(["csv"])])], csv("a.csv"), csv("a.exe")),
        (Annotated[list[str], Len(1, 2)], ["a", "b"], ["a", "b", "c"]),
        (Annotated[list[int], Arg(max_value=3)], [3], [4]),
        (list[Annotated[int, Ge(1)]], [1], [0]),
        (Annotated[Secret[str], Arg(min_length=8)], "12345678", "1234"),
        (Annotated[dt.date, Arg(min_value=dt.date(2026, 1, 1))], "2026-01-01", "2025-12-31"),
        (Annotated[dt.timedelta, Arg(max_value=dt.timedelta(hours=1))], "01:00:00", "01:00:01"),
        (Annotated[str, Arg(choices=["a", "b"])], "a", "c"),
    ],
)
def test_limits_hold_in_form_and_code(annotation, good, bad):
    assert accepts(annotation, good)
    assert not accepts(annotation, bad)


def test_validators_of_ones_own_are_called():
    def even(value):
        if value % 2:
            raise forms.ValidationError("odd")

    assert accepts(Annotated[int, Arg(validators=[even])], 2)
    assert not accepts(Annotated[int, Arg(validators=[even])], 3)


@pytest.mark.parametrize(
    ("annotation", "default", "html"),
    [
        (str, "abc", 'value="abc" class="vTextField"'),
        (Annotated[str, Arg(multiline=True)], "abc", '<textarea name="value"'),
        (int, 3, 'type="number" name="value" value="3" class="vIntegerField"'),
        (Decimal, Decimal("1.00"), 'value="1.00" step="any"'),
        (bool, True, 'type="checkbox" name="value" id="id_value" checked'),
        (bool | None, None, '<option value="unknown" selected>'),
        (dt.date, dt.date(2026, 1, 2), 'value="2026-01-02" class="vDateField"'),
        (dt.time, dt.time(9, 30), 'value="09:30:00" class="vTimeField"'),
        (dt.datetime | None, None, 'name="value_0" class="vDateField"'),
        (uuid.UUID | None, None, 'class="vUUIDField"'),
        (Literal["add", "replace"], "replace", '<option value="replace" selected>replace</option>'),
        (Colour, Colour.DARK_BLUE, '<option value="b" selected>Dark blue</option>'),
        (Colour | None, None, '<option value="" selected>---------</option>'),
        (list[Colour], [Colour.RED], 'type="checkbox" name="value" value="r"'),
        (list[str], ["a", "b"], "a\nb</textarea>"),
        (dict, {"ä": 1}, "{&quot;ä&quot;: 1}</textarea>"),
        (UploadedFile | None, None, 'type="file" name="value"'),
        (Annotated[str, Arg(widget=forms.EmailInput)], "", 'type="email"'),
    ],
)
def test_fields_look_as_in_the_admin(annotation, default, html):
    page = form_of(taking(annotation, default)).as_p()
    start, _class, end = html.partition(" class=")
    assert start in page
    assert end in page


def test_secrets_have_no_initial_value():
    assert "hidden" not in form_of(taking(Secret[str], "hidden")).as_p()


@pytest.mark.parametrize(
    ("annotation", "posted", "value"),
    [
        (str, {"value": " typed "}, "typed"),
        (Annotated[str, Arg(multiline=True)], {"value": "a\r\nb"}, "a\nb"),
        (bool, {}, False),
        (bool, {"value": "on"}, True),
        (dt.datetime, {"value_0": "2026-11-23", "value_1": "09:00"}, dt.datetime(2026, 11, 23, 8, tzinfo=dt.UTC)),
        (dt.datetime | None, {"value_0": "", "value_1": ""}, None),
        (list[str], {"value": " a \r\n\r\nb"}, ["a", "b"]),
        (list[str] | None, {"value": ""}, None),
        (list[Colour], {"value": ["b", "r"]}, [Colour.DARK_BLUE, Colour.RED]),
        (int | None, {"value": ""}, None),
        (str | None, {"value": ""}, None),
        (Colour | None, {"value": ""}, None),
        (dict, {"value": '{"a": 1}'}, {"a": 1}),
        (Any, {"value": ""}, None),
        (Secret[str], {"value": " keep "}, Secret(" keep ")),
    ],
)
def test_what_a_person_types_arrives_typed(annotation, posted, value):
    arguments = Arguments("t", taking(annotation))
    form = arguments.form_class(posted)
    assert form.is_valid(), form.errors
    assert form.cleaned_data == {"value": value}
    assert arguments.load(arguments.dump(form.cleaned_data)) == {"value": value}


@pytest.mark.parametrize(
    ("annotation", "posted"),
    [
        (dt.datetime, {"value_0": "2026-11-23", "value_1": ""}),
        (dt.datetime, {"value_0": "2026-03-29", "value_1": "02:30"}),
        (dt.datetime, {"value_0": "", "value_1": ""}),
        (list[int], {"value": "1\nx"}),
        (str, {"value": "\x00"}),
        (int, {"value": "9" * 5000}),
        (float, {"value": "nan"}),
        (Colour, {"value": "x"}),
    ],
)
def test_what_a_person_types_wrong_is_told_in_the_form(annotation, posted):
    assert list(Arguments("t", taking(annotation)).form_class(posted).errors) == ["value"]


def test_a_line_of_a_list_that_is_wrong_is_told_by_its_number():
    form = Arguments("t", taking(list[int])).form_class({"value": "1\nx"})
    assert form.errors["value"] == ["Line 2: Enter a whole number."]


def test_a_list_of_something_else_is_told_by_its_first_lines():
    form = Arguments("t", taking(list[int])).form_class({"value": "x\n\n" * 25})
    first = [f"Line {line}: Enter a whole number." for line in range(1, 40, 2)]
    assert form.errors["value"] == [*first, "The lines from 41 on were not checked."]
    exact = Arguments("t", taking(list[int])).form_class({"value": "x\n\n" * 20})
    assert exact.errors["value"] == first


def test_a_form_filled_from_a_stored_job_gives_the_same_arguments():
    def handler(
        text: str, number: int, factor: Decimal, day: dt.date, at: dt.datetime, span: dt.timedelta, colour: Colour,
        many: list[Colour], words: list[str], options: dict, flag: bool, none: int | None,
    ):  # fmt: skip
        pass

    arguments = Arguments("t", handler)
    moment = dt.datetime(2026, 11, 23, 9, 30, tzinfo=dt.UTC)
    values = {"text": "a", "number": 1, "factor": Decimal("1.50"), "day": dt.date(2026, 1, 1), "at": moment}
    values |= {"span": dt.timedelta(hours=30), "colour": Colour.RED, "many": [Colour.DARK_BLUE], "words": ["a", "b"]}
    values |= {"options": {"a": [1]}, "flag": True, "none": None}
    form = arguments.form_class(initial=arguments.initial(arguments.dump(arguments.clean(values))))
    posted = {}
    for name in form.fields:
        widget, value = form[name].field.widget, form[name].value()
        if isinstance(widget, forms.MultiWidget):
            posted |= {f"{name}_{place}": str(part) for place, part in enumerate(widget.decompress(value))}
        elif value is not None and value is not False:
            posted[name] = value if isinstance(value, list) else str(widget.format_value(value) or value)
    again = arguments.form_class({**posted, "colour": "r"})
    assert again.is_valid(), again.errors
    assert again.cleaned_data == values


def test_arguments_are_shown_as_people_write_them():
    def handler(
        number: int, flag: bool, colour: Colour, many: list[Colour], at: dt.datetime, options: dict, none: int | None
    ):
        pass

    arguments = Arguments("t", handler)
    values = {
        "number": 1,
        "flag": True,
        "colour": Colour.DARK_BLUE,
        "many": ["r", "b"],
        "options": {"a": 1},
        "none": None,
    }
    stored = arguments.dump(arguments.clean({**values, "at": dt.datetime(2026, 11, 23, 8, tzinfo=dt.UTC)}))
    texts = {one.name: (one.label, one.kind, one.text) for one in arguments.display(stored)}
    assert texts == {
        "number": ("Number", "number", "1"),
        "flag": ("Flag", "bool", "Yes"),
        "colour": ("Colour", "choice", "Dark blue"),
        "many": ("Many", "list", "Red, Dark blue"),
        "at": ("At", "date", "Nov. 23, 2026 09:00 Europe/Berlin"),
        "options": ("Options", "json", '{\n  "a": 1\n}'),
        "none": ("None", "text", "\u2013"),
    }


def test_arguments_are_shown_as_the_reader_writes_them():
    def handler(count: int, pause: float, price: Decimal, day: dt.date):
        pass

    arguments = Arguments("t", handler)
    values = {"count": 3, "pause": 0.2, "price": Decimal("1.50"), "day": dt.date(2026, 11, 23)}
    stored = arguments.dump(arguments.clean(values))
    with translation.override("de"):
        assert [one.text for one in arguments.display(stored)] == ["3", "0,2", "1,50", "23. November 2026"]


def test_a_summary_is_one_line_of_limited_length():
    arguments = Arguments("t", taking(str))
    stored = arguments.dump(arguments.clean({"value": "a\nb" * 1000}))
    assert len(arguments.summary(stored)) == 80
    assert "\n" not in arguments.summary(stored)
    assert arguments.summary(stored, 20) == "Value: a ba ba ba b…"


def test_a_summary_shows_only_the_beginning_of_a_long_list_and_looks_at_no_more(monkeypatch):
    arguments, seen = Arguments("t", taking(list[str])), []
    monkeypatch.setattr(shown, "_one", lambda field, item: seen.append(item) or (item, "text"))
    assert arguments.summary({"value": ["a", "", "b"] * 10_000}, 20) == "Value: a, , b, a, ,…"
    assert len(seen) < 100
    assert arguments.summary({"value": ["a", "", "b"]}, 20) == "Value: a, , b"


def test_the_fingerprint_changes_with_names_and_types_only():
    def original(a: int, b: str = "x"):
        """One."""

    def same(a: Annotated[int, Arg(help="else")], b: str = "y"):
        """Two."""

    def renamed(a: int, c: str = "x"):
        pass

    def retyped(a: float, b: str = "x"):
        pass

    first = Arguments("t", original).fingerprint
    assert 0 < len(first) <= 32
    assert Arguments("t", same).fingerprint == first
    assert Arguments("t", renamed).fingerprint != first
    assert Arguments("t", retyped).fingerprint != first
