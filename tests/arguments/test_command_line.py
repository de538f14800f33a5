"""Whatever the parser and the values are, a form gives a command what its command line would, or refuses."""

import argparse
import json

import pytest
from django.core.exceptions import ValidationError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qorworker.arguments import commands
from qorworker.arguments.command_line import CommandLine, Reader, Unreadable, name_of
from qorworker.exceptions import InvalidArguments
from tests.commands import arguments_of, command_of, parsed

KINDS = {
    "single": {},
    "number": {"type": int},
    "optional": {"nargs": "?"},
    "any": {"nargs": "*"},
    "some": {"nargs": "+"},
    "two": {"nargs": 2},
    "flag": {"action": "store_true"},
    "times": {"action": "count"},
    "append": {"action": "append"},
    "either": {"action": argparse.BooleanOptionalAction},
}
POSITIONAL = ["single", "number", "optional", "any", "some", "two"]
parsers = st.tuples(
    st.lists(st.sampled_from(sorted(KINDS)), max_size=4), st.lists(st.sampled_from(POSITIONAL), max_size=3)
)
texts = st.one_of(
    st.sampled_from(["a", "-1", "--", "-x", "--o0", "--o1=2", "--settings=other", "@file", "a b", "=", "-"]),
    st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n"), min_size=1, max_size=5),
)
VALUES = {
    "single": texts,
    "number": st.integers(-99, 99),
    "optional": texts,
    "any": st.lists(texts, min_size=1, max_size=3),
    "some": st.lists(texts, min_size=1, max_size=3),
    "two": st.lists(texts, min_size=2, max_size=2),
    "flag": st.booleans(),
    "times": st.integers(0, 3),
    "append": st.lists(texts, min_size=1, max_size=3),
    "either": st.booleans(),
}
ABSENT = {"flag": False}


def adding(options, positional):
    def build(parser):
        for number, kind in enumerate(options):
            parser.add_argument(f"--o{number}", **KINDS[kind])
        for number, kind in enumerate(positional):
            parser.add_argument(f"p{number}", **KINDS[kind])

    return build


@given(parsers, st.data())
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_a_command_gets_exactly_the_values_of_the_form_or_the_form_refuses_them(monkeypatch, parser, data):
    options, positional = parser
    kinds = {f"o{number}": kind for number, kind in enumerate(options)}
    kinds |= {f"p{number}": kind for number, kind in enumerate(positional)}
    monkeypatch.setattr(commands, "get_commands", lambda: {"send": command_of(adding(options, positional))})
    arguments = arguments_of()
    needed = {name for name, kind in kinds.items() if name[0] == "p" and kind in ("single", "number", "some", "two")}
    values = {
        name: data.draw(VALUES[kind], name)
        for name, kind in kinds.items()
        if name in needed or data.draw(st.booleans(), f"has {name}")
    }
    try:
        loaded = arguments.load(json.loads(json.dumps(arguments.dump(arguments.clean(values)))))
    except InvalidArguments:
        return  # nothing is stored
    got = parsed(arguments, loaded)
    assert got["settings"] is None
    for name, kind in kinds.items():
        expected = values.get(name, ABSENT.get(kind, [] if (name[0], kind) == ("p", "any") else None))
        assert got[name] == (expected or None if kind == "times" else expected)


@given(parsers, st.data())
@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
def test_values_without_signs_are_never_refused(parser, data):
    options, _positional = parser
    words = st.text("abc", min_size=1, max_size=3)
    line = line_of(adding(options, ["single", "any"]))
    given = {}
    for place, action in enumerate(line.reader.actions):
        if action.dest == "p0" or (action.dest[0] in "op" and action.dest[1:].isdigit() and action.nargs != 0):
            count = 2 if action.nargs == 2 else 1
            given[place] = [data.draw(st.lists(words, min_size=count, max_size=count))]
    assert line.reader.read(line.words(given))


def line_of(build, *fixed):
    parser = command_of(build).create_parser("manage.py", "send")
    reader = Reader(parser)
    return CommandLine(reader, list(fixed), reader.read(fixed, partly=True))


def place_of(line, name):
    return next(place for place, action in enumerate(line.reader.actions) if action.dest == name)


def test_the_values_of_the_code_stay_its_own():
    line = line_of(lambda parser: [parser.add_argument("a", nargs="*"), parser.add_argument("b", nargs="*")], "x")
    with pytest.raises(ValidationError) as raised:
        line.words({place_of(line, "b"): [["y"]]})
    assert raised.value.code == "mixed"


def test_a_list_cannot_take_what_the_code_gives():
    line = line_of(lambda parser: [parser.add_argument("a"), parser.add_argument("--many", nargs="*")], "x")
    words = line.words({place_of(line, "many"): [["1", "2"]]})
    assert words == ["--many", "1", "2", "--no-color", "x"]


def test_an_option_is_called_by_its_longest_name():
    parser = argparse.ArgumentParser()
    assert name_of(parser.add_argument("-n", "--name", "--no")) == "--name"
    assert name_of(parser.add_argument("shop", metavar="SHOP")) == "SHOP"


def test_reading_converts_nothing():
    def refused(text):
        raise AssertionError(text)

    parser = argparse.ArgumentParser()
    parser.add_argument("--name", type=refused, choices=["a"])
    reader = Reader(parser)
    assert reader.read(["--name", "x"]) == {1: ["x"]}
    with pytest.raises(Unreadable):
        reader.read(["--other"])
