"""Builds the command line of a management command from cleaned values, and says which of its arguments words set.

No value can become an option, whatever a user types: each word is read once more, by a parser that converts nothing.
Pure.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

NEGATIVE = re.compile(r"-\d+|-\d*\.\d+")  # what a parser takes for a number, and not for an option
END = "--no-color"  # every command has it; it ends the values of the option before it


def name_of(action: argparse.Action) -> str:
    """Return how people call an argument: its longest option, or the name of a positional one."""
    if isinstance(action, argparse.BooleanOptionalAction):
        return pair_of(action)[0]
    if action.option_strings:
        return max(action.option_strings, key=len)
    return action.metavar if isinstance(action.metavar, str) else action.dest


def pair_of(action: argparse.BooleanOptionalAction) -> tuple[str, str]:
    """Return the options for yes and no."""
    yes = next(each for each in action.option_strings if f"--no-{each[2:]}" in action.option_strings)
    return yes, f"--no-{yes[2:]}"


class Unreadable(ValueError):
    """A parser does not take the words."""


class Reader:
    """Reads words as a parser does, without converting them: which argument gets which texts.

    :param parser: the parser of a command.
    """

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self.actions = list(parser._actions)
        self._like = parser

    def read(self, words: Sequence[str], *, partly: bool = False) -> dict[int, list[Any]]:
        """Return what each argument gets, by its place: one item for each time that it is given.

        :param partly: whether required arguments may be missing.
        :raises Unreadable: with the reason.
        """
        like = self._like
        parser = argparse.ArgumentParser(
            prefix_chars=like.prefix_chars, add_help=False, allow_abbrev=like.allow_abbrev, exit_on_error=False
        )
        for place, action in enumerate(self.actions):
            self._add(parser, place, action, partly)
        try:
            found, more = parser.parse_known_args(list(words))
        except (argparse.ArgumentError, SystemExit) as error:
            raise Unreadable(str(error)) from None
        if more:
            raise Unreadable(f"the command does not know {' '.join(more)!r}")
        return {int(place): given for place, given in vars(found).items()}

    @staticmethod
    def _add(parser: argparse.ArgumentParser, place: int, action: argparse.Action, partly: bool) -> None:
        absent: dict[str, Any] = {"default": argparse.SUPPRESS}
        if not action.option_strings:
            added = parser.add_argument(str(place), nargs=action.nargs, action=_Given, **absent)
        elif action.nargs == 0:
            added = parser.add_argument(
                *action.option_strings, dest=str(place), action="append_const", const=True, **absent
            )
        else:
            added = parser.add_argument(
                *action.option_strings, dest=str(place), nargs=action.nargs, action=_Given, **absent
            )
        if partly:
            added.required = False


class _Given(argparse.Action):
    """Keeps the texts of an argument, for each time that it is given."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        given = getattr(namespace, self.dest, [])
        setattr(namespace, self.dest, [*given, values])


@dataclass
class CommandLine:
    """The command line of one command, in parts.

    :ivar fixed: the words that the code gives.
    """

    reader: Reader
    fixed: list[str]
    fixed_places: dict[int, list[Any]] = field(default_factory=dict)

    def words(self, given: Mapping[int, Sequence[Sequence[str]]]) -> list[str]:
        """Return the words for the texts that arguments get, by their places; one sequence for each time.

        :raises django.core.exceptions.ValidationError: for texts that cannot be passed on.
        """
        options: list[str] = []
        positional: list[str] = []
        for place, times in given.items():
            action = self.reader.actions[place]
            for texts in times:
                if action.option_strings:
                    options += _option(action, texts, self.reader.actions)
                else:
                    positional += texts
        separator = ["--"] if positional and "--" not in self.fixed else []
        words = [*options, END, *self.fixed, *separator, *positional]
        self._check(words, given)
        return words

    def _check(self, words: list[str], given: Mapping[int, Sequence[Sequence[str]]]) -> None:
        """Refuse words of which another argument would get a part."""
        try:
            found = self.reader.read(words, partly=True)
        except Unreadable:
            raise _mixed() from None
        meant = {
            place: [_as_read(self.reader.actions[place], texts) for texts in times] for place, times in given.items()
        }
        expected = {**self.fixed_places, **{place: times for place, times in meant.items() if times}}
        found = {place: each for place, each in found.items() if END not in self.reader.actions[place].option_strings}
        if found != {place: each for place, each in expected.items() if each}:
            raise _mixed()


def _mixed() -> ValidationError:
    return ValidationError(
        _("On a command line these values could not be told apart. Fill in the arguments in front, too."),
        code="mixed",
    )


def _as_read(action: argparse.Action, texts: Sequence[str]) -> Any:
    if action.nargs == 0:
        return True
    return texts[0] if action.nargs in (None, argparse.OPTIONAL) else list(texts)


def _option(action: argparse.Action, texts: Sequence[str], actions: Iterable[argparse.Action]) -> list[str]:
    option = name_of(action)
    if action.nargs == 0:
        return list(texts)
    if len(texts) == 1:
        return [f"{option}={texts[0]}"]
    for text in texts:
        if text[:1] in {each[0] for other in actions for each in other.option_strings} and not NEGATIVE.fullmatch(text):
            raise ValidationError(
                _("Several values cannot begin with “%(sign)s”: %(value)s") % {"sign": text[0], "value": text},
                code="option",
            )
    return [option, *texts]
