"""A given Form, ModelForm or model in place of the signature."""

import datetime as dt
from decimal import Decimal

import pytest
from django import forms
from django.contrib.auth.models import Group, Permission
from django.core.exceptions import ValidationError

from qorworker import InvalidArguments
from qorworker.arguments import Arguments
from tests.job_types import round_trip, with_zones  # noqa: F401
from tests.testapp.models import Shop

pytestmark = pytest.mark.usefixtures("with_zones")


class Import(forms.Form):
    first = forms.IntegerField()
    last = forms.IntegerField(initial=10)
    factor = forms.DecimalField(initial="1.00")
    start = forms.SplitDateTimeField(required=False)
    dry_run = forms.BooleanField(required=False, initial=True)
    options = forms.JSONField(required=False)
    colours = forms.TypedMultipleChoiceField(choices=[(1, "red"), (2, "blue")], coerce=int, required=False)
    note = forms.CharField(required=False)

    def clean(self):
        cleaned = super().clean()
        if cleaned.get("first", 0) > cleaned.get("last", 0):
            raise ValidationError("The first must not be after the last.")
        return cleaned

    def clean_note(self):
        return self.cleaned_data["note"].upper()


def by_name(first, last, factor, start, dry_run, options, colours, note):
    pass


def together(context, arguments):
    pass


def test_the_handler_gets_the_fields_by_name():
    moment = dt.datetime(2026, 11, 23, 9, tzinfo=dt.UTC)
    given = {"first": 1, "last": 2, "factor": Decimal("0.10"), "start": moment, "dry_run": False}
    given |= {"options": {"a": [1]}, "colours": [2, 1], "note": "hello"}
    assert round_trip(by_name, Import, **given) == {**given, "note": "HELLO"}


def test_one_parameter_called_arguments_gets_all_of_them():
    loaded = round_trip(together, Import, first=1)
    assert list(loaded) == ["arguments"]
    assert loaded["arguments"]["first"] == 1


def test_both_may_be_asked_for():
    def both(arguments, first):
        pass

    loaded = round_trip(both, Import, first=1)
    assert loaded["first"] == loaded["arguments"]["first"] == 1


def test_initial_values_fill_what_code_leaves_out():
    loaded = round_trip(by_name, Import, first=1)
    assert (loaded["last"], loaded["factor"], loaded["dry_run"], loaded["start"]) == (10, Decimal("1.00"), True, None)


def test_a_choice_of_yes_no_and_unknown_that_code_leaves_out_is_unknown():
    class Question(forms.Form):
        answer = forms.NullBooleanField()

    def ask(answer):
        pass

    assert round_trip(ask, Question) == {"answer": None}


def test_a_box_that_a_person_did_not_tick_is_false():
    form = Arguments("t", by_name, Import).form_class({"first": 1, "last": 2, "factor": 1})
    assert form.is_valid()
    assert form.cleaned_data["dry_run"] is False


def test_the_rule_of_the_form_is_told_under_all():
    with pytest.raises(InvalidArguments) as error:
        Arguments("t", by_name, Import).clean({"first": 11})
    assert error.value.errors == {"__all__": ["The first must not be after the last."]}


def test_unknown_and_wrong_arguments_are_named():
    with pytest.raises(InvalidArguments) as error:
        Arguments("t", by_name, Import).clean({"first": True, "lst": 3})
    assert set(error.value.errors) == {"first", "lst"}


def test_a_form_with_a_prefix_works():
    class Prefixed(forms.Form):
        prefix = "p"
        number = forms.IntegerField()

    assert round_trip(lambda number: None, Prefixed, number=3) == {"number": 3}


def test_the_rules_of_the_form_are_for_asking_and_not_asked_again_at_the_run():
    class Once(forms.Form):
        cents = forms.IntegerField()

        def clean_cents(self):
            return self.cleaned_data["cents"] * 100

    assert round_trip(lambda cents: None, Once, cents=3) == {"cents": 300}


def test_a_form_that_makes_something_its_field_cannot_read_is_told_at_once():
    class Bends(forms.Form):
        number = forms.IntegerField()

        def clean_number(self):
            return "three"

    arguments = Arguments("t", lambda number: None, Bends)
    with pytest.raises(InvalidArguments) as error:
        arguments.dump(arguments.clean({"number": 3}))
    assert list(error.value.errors) == ["number"]


def test_a_form_that_makes_something_that_cannot_be_stored_is_told_at_once():
    class Objects(forms.Form):
        number = forms.IntegerField()

        def clean_number(self):
            return object()

    arguments = Arguments("t", lambda number: None, Objects)
    with pytest.raises(InvalidArguments) as error:
        arguments.dump(arguments.clean({"number": 3}))
    assert list(error.value.errors) == ["number"]


def test_nul_and_surrogates_are_refused_in_a_given_form_too():
    arguments = Arguments("t", together, Import)
    for text in ("\x00", "\ud800"):
        with pytest.raises(InvalidArguments) as error:
            arguments.dump(arguments.clean({"first": 1, "note": text}))
        assert list(error.value.errors) == ["note"]


def test_handler_and_form_that_do_not_fit_are_a_problem():
    assert set(Arguments("t", lambda first, region: None, Import).problems()) >= {"region", "last"}
    assert Arguments("t", lambda arguments, region: None, Import).problems() == {"region": "Import has no such field"}
    assert Arguments("t", lambda arguments, region=None: None, Import).problems() == {}


def test_a_form_that_needs_arguments_is_a_problem():
    class Needs(forms.Form):
        def __init__(self, user, **kwargs):
            super().__init__(**kwargs)

    assert "cannot be made" in Arguments("t", together, Needs).problems()["form"]


class GroupForm(forms.ModelForm):
    class Meta:
        model = Group
        fields = ("name", "permissions")


@pytest.mark.django_db
def test_a_model_form_gives_an_instance_that_was_not_saved():
    loaded = round_trip(together, GroupForm, name="staff")
    assert isinstance(loaded["arguments"], Group)
    assert (loaded["arguments"].name, loaded["arguments"].pk) == ("staff", None)
    assert not Group.objects.exists()


@pytest.mark.django_db
def test_a_many_to_many_field_of_a_model_form_can_be_asked_for_by_name():
    def handler(arguments, permissions):
        pass

    chosen = list(Permission.objects.all()[:2])
    loaded = round_trip(handler, GroupForm, name="staff", permissions=chosen)
    assert {row.pk for row in loaded["permissions"]} == {row.pk for row in chosen}


@pytest.mark.django_db
def test_a_model_form_checks_what_the_model_checks_but_only_when_asked():
    arguments = Arguments("t", together, GroupForm)
    stored = arguments.dump(arguments.clean({"name": "staff"}))
    Group.objects.create(name="staff")
    with pytest.raises(InvalidArguments) as error:
        arguments.clean({"name": "staff"})
    assert list(error.value.errors) == ["name"]
    assert arguments.load(stored)["arguments"].name == "staff"


@pytest.mark.django_db
def test_a_model_gives_its_form_with_the_widgets_of_the_admin():
    assert round_trip(lambda name: None, Shop, name="Berlin") == {"name": "Berlin"}
    form = Arguments("t", together, Shop).form_class()
    assert "vTextField" in form.as_p()
    assert not Shop.objects.exists()


class TestDeepJson:
    """A given form's own JSON field takes what every database stores, and says so by its name."""

    @pytest.mark.parametrize("levels", [31, 50, 100_000])
    def test_what_is_too_deep_is_refused_where_it_is_typed(self, levels):
        form_class = Arguments("test.job", by_name, Import).form_class
        text = "[" * levels + "]" * levels
        form = form_class(data={"first": "1", "last": "2", "factor": "1", "options": text}, initial={"options": {}})
        assert form.errors == {"options": ["It is nested deeper than 30 levels."]}
        assert "options" in form.changed_data
        assert text in str(form["options"]).replace("&quot;", '"')

    def test_what_is_too_deep_is_refused_from_code(self):
        value = []
        for _ in range(30):
            value = [value]
        with pytest.raises(InvalidArguments) as refused:
            round_trip(by_name, Import, first=1, options=value)
        assert refused.value.errors == {"options": ["It is nested deeper than 30 levels."]}
        assert round_trip(by_name, Import, first=1, options=value[0])["options"] == value[0]

    def test_the_form_is_otherwise_the_given_one(self):
        form_class = Arguments("test.job", by_name, Import).form_class
        assert issubclass(form_class, Import)
        assert form_class.__name__ == "Import"


def test_an_argument_in_json_starts_empty():
    def import_rows(options: dict[str, int]) -> None:
        """Takes JSON."""

    form = Arguments("tests.import", import_rows).form_class()
    assert form["options"].value() == ""
    assert form.fields["options"].prepare_value({"a": 1}) == '{"a": 1}'
