"""Management commands for tests: each is made of a function that adds arguments to a parser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.core.management.base import BaseCommand

from qorworker.arguments import commands
from qorworker.arguments.commands import Chosen, CommandArguments, parser_of


def nothing(parser: Any) -> None:
    """Add no arguments."""


def command_of(build: Callable[[Any], None] = nothing, handle: Callable[..., Any] | None = None) -> BaseCommand:
    class Command(BaseCommand):
        help = "Sends what is due."
        received: dict[str, Any] | None = None

        def add_arguments(self, parser: Any) -> None:
            build(parser)

        def handle(self, *args: Any, **options: Any) -> Any:
            self.received = options
            return None if handle is None else handle(self, **options)

    return Command()


@pytest.fixture
def add_command(monkeypatch):
    """``add_command("send", build, handle)``: one more command of the project."""
    known = dict(commands.get_commands())
    monkeypatch.setattr(commands, "get_commands", lambda: known)

    def add(name: str, build: Callable[[Any], None] = nothing, handle: Callable[..., Any] | None = None) -> BaseCommand:
        known[name] = command = command_of(build, handle)
        return command

    return add


def arguments_of(**chosen: Any) -> CommandArguments:
    return CommandArguments("test.send", nothing, Chosen("send", **chosen))


def parsed(arguments: CommandArguments, cleaned: dict[str, Any]) -> dict[str, Any]:
    """What the command gets for cleaned values, as its parser reads their command line."""
    command = arguments.definition.command
    assert command is not None
    return vars(parser_of(command, "send").parse_args(arguments.words(cleaned)))


def typed(build: Callable[[Any], None], words: list[str]) -> dict[str, Any]:
    """What the command gets for a command line that was typed."""
    return vars(parser_of(command_of(build), "send").parse_args(["--no-color", *words]))
