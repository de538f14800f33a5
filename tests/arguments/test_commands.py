import argparse
import datetime as dt
import itertools
import json
from decimal import Decimal
from pathlib import Path

import pytest
from django.core.management.base import BaseCommand
from django.utils import translation

from qorworker import Secret
from qorworker.arguments import codec
from qorworker.exceptions import InvalidArguments, JobTypeError
from tests.commands import add_command, arguments_of, parsed, typed

__all__ = ["add_command"]  # a fixture


def even(text):
    if int(text) % 2:
        raise argparse.ArgumentTypeError(f"{text} is odd")
    return int(text)


def one(*flags, **options):
    return lambda parser: parser.add_argument(*flags, **options)


def several(*adders):
    return lambda parser: [add(parser) for add in adders]


def posted(arguments, **data):
    """The form as a browser sends it, with what it shows at first in all other fields."""
    blank = arguments.form_class()
    sent = {}
    for name, field in blank.fields.items():
        shown = blank[name].value()
        if field.widget.input_type == "checkbox" if hasattr(field.widget, "input_type") else False:
            shown = "on" if shown else None
        sent[name] = data.get(name, shown)
    return arguments.form_class({name: value for name, value in sent.items() if value is not None})


def round_trip(arguments, cleaned):
    return arguments.load(json.loads(json.dumps(arguments.dump(cleaned))))


CASES = [
    (one("shop"), {"shop": "Berlin"}, ["Berlin"]),
    (one("shop"), {"shop": "-rf"}, ["--", "-rf"]),
    (one("number", type=int), {"number": "12"}, ["12"]),
    (one("shop", nargs="?"), {}, []),
    (one("shop", nargs="?", default="Riga"), {}, []),
    (one("shop", nargs="?", default="Riga"), {"shop": "Berlin"}, ["Berlin"]),
    (one("shops", nargs="*"), {}, []),
    (one("shops", nargs="*"), {"shops": "Berlin\nRiga"}, ["Berlin", "Riga"]),
    (one("shops", nargs="+"), {"shops": "Berlin"}, ["Berlin"]),
    (one("pair", nargs=2, type=int), {"pair": "1\n2"}, ["1", "2"]),
    (one("one", nargs=1), {"one": "a b"}, ["a b"]),
    (one("--name"), {}, []),
    (one("--name"), {"name": "Ann"}, ["--name", "Ann"]),
    (one("--name"), {"name": "--other"}, ["--name=--other"]),
    (one("--name", default="Ann"), {}, []),
    (one("--name", default="Ann"), {"name": ""}, ["--name="]),
    (one("-n", "--name", dest="who"), {"who": "Ann"}, ["-n", "Ann"]),
    (one("-n"), {"n": "-5"}, ["-n=-5"]),
    (one("--limit", type=int, default=5), {}, []),
    (one("--limit", type=int, default=5), {"limit": "7"}, ["--limit", "7"]),
    (one("--limit", type=int, default="5"), {}, []),
    (one("--rate", type=float), {"rate": "0.25"}, ["--rate", "0.25"]),
    (one("--rate", type=float, default=1.5), {"rate": "2.5"}, ["--rate", "2.5"]),
    (one("--price", type=Decimal, default=Decimal("1.10")), {"price": "2.50"}, ["--price", "2.50"]),
    (one("--folder", type=Path, default=Path("/srv")), {}, []),
    (one("--folder", type=Path), {"folder": "/tmp/x"}, ["--folder", "/tmp/x"]),
    (one("--day", type=dt.date.fromisoformat), {"day": "2030-01-02"}, ["--day", "2030-01-02"]),
    (one("--day", type=dt.date.fromisoformat, default=dt.date(2030, 1, 2)), {}, []),
    (one("--even", type=even), {"even": "4"}, ["--even", "4"]),
    (one("--colour", choices=["red", "blue"]), {}, []),
    (one("--colour", choices=["red", "blue"], default="red"), {"colour": "blue"}, ["--colour", "blue"]),
    (one("--level", type=int, choices=[1, 2]), {"level": "2"}, ["--level", "2"]),
    (one("--level", type=int, choices=range(1, 9)), {"level": "8"}, ["--level", "8"]),
    (one("--colours", nargs="*", choices=["red", "blue"]), {"colours": ["red", "blue"]}, ["--colours", "red", "blue"]),
    (one("--tags", nargs="*"), {}, []),
    (one("--tags", nargs="*", default=["a"]), {}, []),
    (one("--tags", nargs="*", default=["a"]), {"tags": ""}, ["--tags"]),
    (one("--tags", nargs="+", default=["a"]), {"tags": "b\nc"}, ["--tags", "b", "c"]),
    (one("--size", nargs=2, type=int, default=[1, 2]), {"size": "3\n-4"}, ["--size", "3", "-4"]),
    (one("--x", nargs="?", const="c", default="d"), {"x": "e"}, ["--x", "e"]),
    (one("--loop", action="store_true"), {}, []),
    (one("--loop", action="store_true"), {"loop": "on"}, ["--loop"]),
    (one("--no-mail", action="store_false", dest="mail"), {"mail": "on"}, ["--no-mail"]),
    (one("--deep", action="store_const", const=9), {"deep": "on"}, ["--deep"]),
    (one("--tag", action="append"), {}, []),
    (one("--tag", action="append"), {"tag": "a\n-b"}, ["--tag=a", "--tag=-b"]),
    (one("--tag", action="append", default=["z"]), {"tag": "a"}, ["--tag", "a"]),
    (one("--one", action="append_const", const=1, dest="them"), {"them": "on"}, ["--one"]),
    (one("--more", action="extend", nargs="+"), {"more": "a\nb"}, ["--more", "a", "b"]),
    (one("--much", action="count", default=0), {"much": "3"}, ["--much"] * 3),
    (one("--mail", action=argparse.BooleanOptionalAction), {}, []),
    (one("--mail", action=argparse.BooleanOptionalAction), {"mail": "false"}, ["--no-mail"]),
    (one("--mail", action=argparse.BooleanOptionalAction, default=True), {}, []),
    (one("--mail", action=argparse.BooleanOptionalAction, default=False), {"mail": "on"}, ["--mail"]),
    (one("--gone", default=argparse.SUPPRESS), {}, []),
    (one("--gone", default=argparse.SUPPRESS), {"gone": "x"}, ["--gone", "x"]),
    (several(one("first", nargs="?"), one("rest", nargs="*")), {"first": "a", "rest": "b\nc"}, ["a", "b", "c"]),
    (several(one("first", nargs="?"), one("last")), {"last": "z"}, ["z"]),
    (
        several(one("--on", action="store_true", dest="x"), one("--off", action="store_false", dest="x")),
        {"off": "on"},
        ["--off"],
    ),
    (one("--tags", nargs="*"), {"tags": "a\nb", "verbosity": "2"}, ["--tags", "a", "b", "-v2"]),
]


@pytest.mark.parametrize(("build", "data", "words"), CASES)
def test_the_form_gives_a_command_what_its_command_line_would(add_command, build, data, words):
    add_command("send", build)
    arguments = arguments_of()
    form = posted(arguments, **data)
    assert form.is_valid(), form.errors
    loaded = round_trip(arguments, form.cleaned_data)
    assert parsed(arguments, loaded) == typed(build, words)


@pytest.mark.parametrize(
    ("build", "data", "field"),
    [
        (one("shop"), {}, "shop"),
        (one("shops", nargs="+"), {}, "shops"),
        (one("--name", required=True), {}, "name"),
        (one("--limit", type=int), {"limit": "many"}, "limit"),
        (one("--even", type=even), {"even": "3"}, "even"),
        (one("--even", type=even), {"even": "x"}, "even"),
        (one("--colour", choices=["red"]), {"colour": "blue"}, "colour"),
        (one("--size", nargs=2), {"size": "1"}, "size"),
        (one("--tags", nargs="*"), {"tags": "a\n--force-color"}, "__all__"),
        (several(one("first", nargs="?"), one("rest", nargs="*")), {"rest": "b"}, "__all__"),
    ],
)
def test_the_form_refuses_what_the_command_line_would(add_command, build, data, field):
    add_command("send", build)
    assert list(posted(arguments_of(), **data).errors) == [field]


def test_what_a_type_says_is_the_error_of_its_field(add_command):
    add_command("send", one("--even", type=even))
    with pytest.raises(InvalidArguments) as raised:
        arguments_of().clean({"even": "3"})
    assert raised.value.errors == {"even": ["3 is odd"]}


def test_a_type_that_fails_in_a_way_of_its_own_is_an_error_of_its_field(add_command):
    add_command("send", one("--key", type={"a": 1}.__getitem__))
    assert list(posted(arguments_of(), key="b").errors) == ["key"]


class TestDefaults:
    def test_one_that_each_run_makes_anew_is_left_to_the_command(self, add_command):
        numbers = itertools.count()
        add_command("send", lambda parser: parser.add_argument("--mark", default=f"run {next(numbers)}"))
        arguments = arguments_of()
        form = posted(arguments)
        assert form.is_valid()
        assert arguments.fields["mark"].initial is None
        seen = [parsed(arguments, form.cleaned_data)["mark"] for _time in range(2)]
        assert seen[0] != seen[1]

    def test_a_date_is_left_to_the_command(self, add_command):
        today = dt.date(2030, 1, 2)
        add_command("send", one("--day", type=dt.date.fromisoformat, default=today))
        assert arguments_of().fields["day"].initial is None
        assert parsed(arguments_of(), arguments_of().clean({}))["day"] == today

    def test_one_that_is_stored_counts_even_if_the_command_has_another_by_now(self, add_command):
        add_command("send", one("--limit", type=int, default=5))
        stored = arguments_of().dump(arguments_of().clean({}))
        add_command("send", one("--limit", type=int, default=9))
        assert parsed(arguments_of(), arguments_of().load(stored))["limit"] == 5

    def test_names_of_fields_differ_even_if_options_look_alike(self, add_command):
        add_command("send", several(*(one(flag, action="store_true", dest="x") for flag in ("-a-b", "--a-b", "--a_b"))))
        assert list(arguments_of().fields) == ["a_b", "a_b_2", "a_b_3", "verbosity"]

    def test_what_two_options_set_is_what_the_user_chooses(self, add_command):
        quiet, level = one("-q", action="store_const", const=0, dest="level"), one("--level", type=int, default=1)
        add_command("send", several(quiet, level))
        arguments = arguments_of()
        form = posted(arguments, q="on")
        assert form.is_valid(), form.errors
        assert parsed(arguments, form.cleaned_data)["level"] == 0


def test_code_can_pass_an_empty_text_where_none_is_the_default(add_command):
    add_command("send", one("--name"))
    arguments = arguments_of()
    assert parsed(arguments, round_trip(arguments, arguments.clean({"name": ""})))["name"] == ""


class TestGroups:
    def build(self, *, required=False):
        def add(parser):
            group = parser.add_mutually_exclusive_group(required=required)
            group.add_argument("--shop")
            group.add_argument("--all", action="store_true")
            group.add_argument("--limit", type=int, default=5)

        return add

    def test_two_that_exclude_each_other_are_an_error_of_the_second(self, add_command):
        add_command("send", self.build())
        assert list(posted(arguments_of(), shop="Riga", all="on").errors) == ["all"]

    def test_one_of_them_is_passed_on(self, add_command):
        add_command("send", self.build(required=True))
        arguments = arguments_of()
        form = posted(arguments, limit="7")
        assert form.is_valid(), form.errors
        assert parsed(arguments, form.cleaned_data) == typed(self.build(), ["--limit", "7"])

    def test_none_is_an_error_if_one_is_required(self, add_command):
        add_command("send", self.build(required=True))
        assert posted(arguments_of()).errors == {"__all__": ["Fill in one of these: “Shop”, “All” or “Limit”."]}

    def test_none_is_none_if_one_is_fixed(self, add_command):
        add_command("send", self.build(required=True))
        arguments = arguments_of(arguments=["--all"])
        form = posted(arguments)
        assert form.is_valid(), form.errors
        assert parsed(arguments, form.cleaned_data)["all"] is True


class TestFixed:
    def test_what_they_set_is_not_asked_for(self, add_command):
        build = several(one("shop"), one("days", nargs="*"), one("--on", action="store_true", dest="x"),
                        one("--off", action="store_false", dest="x"), one("--name"))  # fmt: skip
        add_command("send", build)
        arguments = arguments_of(arguments=["--on", "Berlin"])
        assert list(arguments.fields) == ["days", "name", "verbosity"]
        form = posted(arguments, days="1\n2", name="Ann")
        assert form.is_valid(), form.errors
        assert parsed(arguments, form.cleaned_data) == typed(build, ["--on", "--name=Ann", "Berlin", "1", "2"])

    def test_an_abbreviation_is_understood(self, add_command):
        add_command("send", one("--loop", action="store_true"))
        assert list(arguments_of(arguments=["--lo"]).fields) == ["verbosity"]

    @pytest.mark.parametrize("words", [["--unknown"], ["more"], ["--name"]])
    def test_words_that_the_parser_refuses_are_a_problem(self, add_command, words):
        add_command("send", one("--name"))
        assert set(arguments_of(arguments=words).problems()) == {"arguments"}


class TestChoice:
    build = staticmethod(
        several(
            one("--first"),
            one("--second"),
            one("--third", required=True),
            one("--hidden", help=argparse.SUPPRESS),
        )
    )

    def test_the_form_asks_for_all_but_the_options_of_django_itself(self, add_command):
        add_command("send", self.build)
        assert list(arguments_of().fields) == ["first", "second", "third", "verbosity"]

    def test_fields_choose_and_order(self, add_command):
        add_command("send", self.build)
        assert list(arguments_of(fields=["--third", "first"]).fields) == ["third", "first"]

    def test_exclude_leaves_out(self, add_command):
        add_command("send", self.build)
        assert list(arguments_of(exclude=["--verbosity", "second"]).fields) == ["first", "third"]

    def test_a_required_argument_cannot_be_left_out(self, add_command):
        add_command("send", self.build)
        assert list(arguments_of(exclude=["third"]).problems()) == ["--third"]
        assert not arguments_of(exclude=["third"], arguments=["--third=x"]).problems()

    @pytest.mark.parametrize("option", ["fields", "exclude", "secrets"])
    def test_a_name_that_no_argument_has_is_a_problem(self, add_command, option):
        add_command("send", one("--first"))
        assert arguments_of(**{option: ["--fist"]}).problems() == {option: "the command has no argument '--fist'"}


class Own(argparse.Action):
    def __call__(self, parser, namespace, values, option_string=None):
        raise AssertionError


@pytest.mark.parametrize(
    "options",
    [
        {"type": argparse.FileType()},
        {"action": "append", "nargs": 2},
        {"nargs": argparse.REMAINDER},
        {"action": Own},
        {"choices": [object()]},
    ],
)
def test_what_has_no_field_is_refused_by_its_name_unless_it_is_left_out(add_command, options):
    add_command("send", one("--odd", **options))
    assert list(arguments_of().problems()) == ["--odd"]
    with pytest.raises(JobTypeError, match="--odd"):
        arguments_of().clean({})
    assert not arguments_of(exclude=["--odd"]).problems()


def test_subcommands_are_refused(add_command):
    add_command("send", lambda parser: parser.add_subparsers().add_parser("now"))
    assert "subcommands" in arguments_of().problems()["command"]


class TestTexts:
    def test_help_names_its_values(self, add_command):
        add_command("send", one("--limit", type=int, default=5, help="Up to %(default)s of %(type)s, 100%%"))
        assert arguments_of().fields["limit"].help_text == "Up to 5 of int, 100%"

    def test_help_that_argparse_could_not_show_stays_as_it_is(self, add_command):
        add_command("send", lambda parser: setattr(parser.add_argument("--limit"), "help", "100% of %(it)s"))
        assert arguments_of().fields["limit"].help_text == "100% of %(it)s"

    def test_lists_say_how_they_are_typed(self, add_command):
        add_command("send", one("pair", nargs=2, metavar=("FROM", "TO"), help="Moves."))
        assert arguments_of().fields["pair"].help_text == "Moves. FROM, TO. One on each line."
        with translation.override("de"):
            assert "FROM, TO" in str(arguments_of().fields["pair"].help_text)

    def test_help_is_no_html(self, add_command):
        add_command("send", one("--to", help="<b>Whom</b> & it isn't you"))
        assert arguments_of().fields["to"].help_text == "&lt;b&gt;Whom&lt;/b&gt; &amp; it isn't you"

    def test_the_label_of_yes_and_no_is_that_of_yes(self, add_command):
        add_command("send", one("--mail", action=argparse.BooleanOptionalAction))
        assert arguments_of().fields["mail"].label == "Mail"

    def test_labels_come_from_options_and_metavars(self, add_command):
        add_command("send", several(one("-q", "--no-mail", dest="x", action="store_false"), one("y", metavar="shop")))
        fields = arguments_of().fields
        assert (fields["x"].label, fields["y"].label) == ("No mail", "Shop")

    def test_the_description_is_the_help_of_the_command(self, add_command):
        add_command("send")
        assert arguments_of().description == "Sends what is due."


class TestSecrets:
    def test_they_are_encrypted_and_reach_the_command(self, add_command):
        add_command("send", one("--token", required=True))
        arguments = arguments_of(secrets=["--token"])
        stored = arguments.dump(arguments.clean({"token": "swordfish"}))
        assert "swordfish" not in json.dumps(stored)
        assert parsed(arguments, arguments.load(stored))["token"] == "swordfish"
        assert isinstance(arguments.load(stored)["token"], Secret)

    def test_errors_do_not_quote_them(self, add_command):
        def refused(text):
            raise argparse.ArgumentTypeError(f"not {text}")

        add_command("send", one("--token", type=refused))
        assert posted(arguments_of(secrets=["token"]), token="swordfish").errors == {"token": ["not ••••••"]}

    @pytest.mark.parametrize(
        "options", [{"default": "x"}, {"nargs": "*"}, {"action": "store_true"}, {"choices": ["a"]}]
    )
    def test_only_one_text_without_a_default_can_be_one(self, add_command, options):
        add_command("send", one("--token", **options))
        assert list(arguments_of(secrets=["--token"]).problems()) == ["--token"]

    def test_a_text_is_no_secret_by_itself(self, add_command):
        add_command("send", one("--token"))
        assert not any(map(codec.is_secret, arguments_of().fields.values()))


class TestLoading:
    def test_a_missing_command_is_a_problem_with_a_suggestion(self):
        problem = arguments_of().problems()["command"]
        assert problem.startswith("no app has a command “send”")

    def test_a_command_that_cannot_be_loaded_is_a_problem(self, add_command):
        def build(parser):
            raise ImportError("no module named x")

        add_command("send", build)
        assert arguments_of().load_problem == "it cannot be loaded: ImportError: no module named x"

    def test_it_is_loaded_again_when_the_problem_is_mended(self, add_command):
        arguments = arguments_of()
        assert arguments.problems()
        add_command("send")
        assert not arguments.problems()

    def test_it_is_loaded_when_its_form_is_needed_and_then_kept(self, add_command):
        loaded = []
        add_command("send", lambda parser: loaded.append(1))
        arguments = arguments_of()
        assert loaded == []
        assert arguments.fields
        count = len(loaded)
        assert arguments.fields
        assert len(loaded) == count


def test_a_parser_of_another_base_is_taken(add_command):
    command = add_command("send")
    assert isinstance(command, BaseCommand)
    assert arguments_of().fields["verbosity"].initial == "1"
