"""The arguments of a management command: the form that its parser makes, and the command line for cleaned values.

The command is loaded when its form is first needed, so one that cannot be loaded breaks nothing else. All processes.
"""

from __future__ import annotations

import argparse
import datetime as dt
import inspect
import itertools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.core.management import get_commands, load_command_class
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError
from django.utils.text import get_text_list
from django.utils.translation import gettext as _

from qorworker.arguments import codec
from qorworker.arguments.arguments import Arguments
from qorworker.arguments.command_line import CommandLine, Reader, Unreadable, name_of
from qorworker.arguments.definition import CSRF, Definition
from qorworker.arguments.parsers import Asked, Asking
from qorworker.arguments.signature import place_of
from qorworker.exceptions import JobTypeError
from qorworker.text.masking import Mask
from qorworker.text.suggestion import did_you_mean

CONTEXT = "qorworker context"  # not a name that an argument can have
VERBOSITY = "verbosity"
NOT_ASKED = {
    "--version", "--settings", "--pythonpath", "--traceback", "--no-color", "--force-color", "--skip-checks",
}  # fmt: skip


@dataclass(frozen=True)
class Chosen:
    """What ``job_of_command`` was given beside the options of ``@job``."""

    command: str
    arguments: Sequence[str] = ()
    fields: Sequence[str] | None = None
    exclude: Sequence[str] = ()
    secrets: Sequence[str] = ()


@dataclass
class CommandDefinition(Definition):
    command: BaseCommand | None = None
    parser: argparse.ArgumentParser | None = None
    line: CommandLine | None = None
    load_problem: str = ""
    asked: dict[str, Asked] = field(default_factory=dict)

    def deliver(self, cleaned: Mapping[str, Any]) -> dict[str, Any]:
        return dict(cleaned)

    def words(self, cleaned: Mapping[str, Any]) -> list[str]:
        """Return the command line for cleaned values.

        :raises django.core.exceptions.ValidationError: for values that a command line cannot carry.
        """
        assert self.line is not None
        return self.line.words({each.place: each.given(cleaned.get(name)) for name, each in self.asked.items()})


class CommandForm(forms.Form):
    """A form whose values are cleaned as the parser of its command would parse them."""

    definition: CommandDefinition

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if self.errors:
            return cleaned
        self._check_groups(cleaned)
        if not self.errors:
            self._parse(cleaned)
        return cleaned

    def _check_groups(self, cleaned: Mapping[str, Any]) -> None:
        """Add an error for arguments that exclude each other, or of which one is required."""
        parser, asked = self.definition.parser, self.definition.asked
        assert parser is not None
        assert self.definition.line is not None
        fixed = {self.definition.line.reader.actions[place] for place in self.definition.line.fixed_places}
        for group in parser._mutually_exclusive_groups:
            members = [(name, each) for name, each in asked.items() if each.action in group._group_actions]
            given = [name for name, each in members if each.given(cleaned.get(name))]
            labels = {name: str(self.fields[name].label) for name, _each in members}
            if len(given) > 1:
                text = _("“%(label)s” and “%(other)s” exclude each other.")
                self.add_error(given[1], text % {"label": labels[given[1]], "other": labels[given[0]]})
            elif group.required and not given and members and not fixed & set(group._group_actions):
                names = get_text_list([f"“{label}”" for label in labels.values()])
                self.add_error(None, _("Fill in one of these: %s.") % names)

    def _parse(self, cleaned: Mapping[str, Any]) -> None:
        """Add the error of the parser, if it has one."""
        definition = self.definition
        assert definition.parser is not None
        secrets = [codec.plain(cleaned[name]) for name, each in self.fields.items() if codec.is_secret(each)]
        mask = Mask([text for text in secrets if text])
        try:
            definition.parser.parse_args(definition.words(cleaned))
        except ValidationError as error:
            self.add_error(None, [mask(message) for message in error.messages])
        except argparse.ArgumentError as error:
            self.add_error(self._name_of(error.argument_name), mask(error.message))
        except (CommandError, SystemExit) as error:
            self.add_error(None, mask(str(error).removeprefix("Error: ")))
        except Exception as error:  # the code of the project: types and actions
            self.add_error(None, mask(f"{type(error).__name__}: {error}"))

    def _name_of(self, argument: str | None) -> str | None:
        for name, asked in self.definition.asked.items():
            if argument in ("/".join(asked.action.option_strings), name_of(asked.action), asked.action.dest):
                return name
        return None


class CommandArguments(Arguments):
    """The arguments of a job type that runs a command."""

    hint = "Leave it out with job_of_command(…, exclude=[…]), or give it a fixed value in arguments=[…]."

    def __init__(self, job_type: str, function: Callable[..., Any], chosen: Chosen) -> None:
        super().__init__(job_type, function, CommandForm)
        self.chosen = chosen

    @property
    def definition(self) -> CommandDefinition:
        # As of other job types: a definition with problems is made again.
        if not isinstance(self._definition, CommandDefinition) or self._definition.problems:
            self._definition = define(place_of(self.function), self.chosen)
        return self._definition

    @property
    def load_problem(self) -> str:
        """Why the command cannot be loaded; empty if it can, or if it only needs a database for that."""
        return self.definition.load_problem

    @property
    def context_parameter(self) -> str | None:
        return CONTEXT

    @property
    def description(self) -> str:
        """The help text of the command."""
        command = self.definition.command
        return inspect.cleandoc(str(command.help or "")) if command is not None else ""

    @property
    def required(self) -> set[str]:
        return {name for name, each in self.fields.items() if each.required and each.initial is None}

    def words(self, cleaned: Mapping[str, Any]) -> list[str]:
        """Return the command line for cleaned values: the words behind the name of the command."""
        self._sound()
        return self.definition.words(cleaned)


def load(name: str) -> BaseCommand:
    """Return a new instance of a command.

    :raises qorworker.exceptions.JobTypeError: if no app has it.
    """
    known = get_commands()
    if name not in known:
        raise JobTypeError(f"no app has a command “{name}”{did_you_mean(name, known)}")
    app = known[name]
    return app if isinstance(app, BaseCommand) else load_command_class(app, name)


def parser_of(command: BaseCommand, name: str) -> argparse.ArgumentParser:
    """Return the parser of a command. It raises ``CommandError``, and never exits."""
    parser = command.create_parser("manage.py", name)
    parser.fromfile_prefix_chars = None  # else a value could name a file to read
    return parser


def define(place: str, chosen: Chosen) -> CommandDefinition:
    """Return the definition. This never raises: problems are in ``problems``, so one command cannot hide others."""
    made = CommandDefinition(place, CommandForm, {}, {}, CONTEXT, given=True)
    try:
        made.command = load(chosen.command)
        made.parser = parser_of(made.command, chosen.command)
        made.parser.exit_on_error = False  # its own errors name the argument
        unfilled = _unfilled(made.parser, parser_of(load(chosen.command), chosen.command))
    except (Exception, SystemExit) as error:  # the code of the project
        text = (
            str(error) if isinstance(error, JobTypeError) else f"it cannot be loaded: {type(error).__name__}: {error}"
        )
        made.problems["command"], made.is_ready = text, False
        made.load_problem = "" if isinstance(error, DatabaseError) else text
        return made
    _fill(made, chosen, unfilled)
    members = {**{name: each.field for name, each in made.asked.items()}, "definition": made}
    made.form_class = type("ArgumentsForm", (CommandForm,), members)
    return made


def _fill(made: CommandDefinition, chosen: Chosen, unfilled: list[argparse.Action]) -> None:
    """Add fields and problems to a definition with a parser."""
    parser, problems = made.parser, made.problems
    assert parser is not None
    reader = Reader(parser)
    made.line = CommandLine(reader, list(chosen.arguments))
    if any(isinstance(action, argparse._SubParsersAction) for action in reader.actions):
        problems["command"] = "it has subcommands, and no form can ask for their arguments"
        return
    try:
        made.line.fixed_places = reader.read(chosen.arguments, partly=True)
    except Unreadable as error:
        problems["arguments"] = str(error)
        return
    fixed = {reader.actions[place].dest for place in made.line.fixed_places}
    secrets = _found(reader, "secrets", chosen.secrets, problems)
    excluded = _found(reader, "exclude", chosen.exclude, problems)
    listed = _found(reader, "fields", chosen.fields or (), problems)
    sharing = _sharing(parser)
    asking = Asking(parser.prog, unfilled, secrets)
    for place, action in enumerate(reader.actions):
        is_hidden = action.help is argparse.SUPPRESS or isinstance(
            action, (argparse._HelpAction, argparse._VersionAction)
        )
        if is_hidden or NOT_ASKED & set(action.option_strings) or action.dest in fixed:
            continue
        if action in excluded or (chosen.fields is not None and action not in listed):
            continue
        try:
            name = _field_name(action, sharing, made.asked)
            made.asked[name] = asking.asked(name, place, action)
        except JobTypeError as error:
            problems[name_of(action)] = str(error)
    problems.update(_missing(reader, made, fixed))
    if (verbosity := made.asked.pop(VERBOSITY, None)) is not None:  # the command's own are in front
        made.asked[VERBOSITY] = verbosity
    if chosen.fields is not None:
        made.asked = dict(sorted(made.asked.items(), key=lambda item: listed.index(item[1].action)))
    made.fields = {name: each.field for name, each in made.asked.items()}
    if CSRF in made.fields:
        problems[CSRF] = "every form of a page has a field of this name already"


def _unfilled(parser: argparse.ArgumentParser, again: argparse.ArgumentParser) -> list[argparse.Action]:
    """Return the arguments whose defaults are left to the command.

    Those that exclude each other, or set the same: only what a user chooses may count. And those with another default
    in another parser, or with a date, which may be that of today: in a form they would be old.
    """
    grouped = [action for group in parser._mutually_exclusive_groups for action in group._group_actions]
    changing = [
        action
        for action, other in zip(parser._actions, again._actions, strict=False)
        if isinstance(action.default, dt.date)
        or (type(action.default), action.default) != (type(other.default), other.default)
    ]
    return [*grouped, *changing, *_sharing(parser)]


def _sharing(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Return the arguments that set the same as another one."""
    names = [action.dest for action in parser._actions]
    return [action for action in parser._actions if names.count(action.dest) > 1]


def _missing(reader: Reader, made: CommandDefinition, fixed: Iterable[str]) -> dict[str, str]:
    """Return the problems of required arguments for which neither the form nor the code has a value."""
    asked = [each.action for each in made.asked.values()]
    return {
        name_of(action): "it is required, and neither in the form nor among the fixed arguments"
        for action in reader.actions
        if action not in asked
        and action.dest not in fixed
        and name_of(action) not in made.problems
        and action.required
        and action.nargs not in (argparse.OPTIONAL, argparse.ZERO_OR_MORE)
    }


def _found(reader: Reader, option: str, names: Sequence[str], problems: dict[str, str]) -> list[argparse.Action]:
    """Return the actions that an option of ``job_of_command`` names, each by one of its options or its name in code."""
    found = []
    for name in names:
        actions = [each for each in reader.actions if name in (*each.option_strings, each.dest)]
        if not actions:
            problems[option] = f"the command has no argument {name!r}"
        found += actions
    return found


def _field_name(action: argparse.Action, sharing: list[argparse.Action], taken: Collection[str]) -> str:
    """Return the name of the field: that in code, unless another option has the same."""
    name = name_of(action).lstrip("-+").replace("-", "_") if action in sharing else action.dest
    numbered = (f"{name}_{number}" for number in itertools.count(2))
    return name if name not in taken else next(each for each in numbered if each not in taken)
