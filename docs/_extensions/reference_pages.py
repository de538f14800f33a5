"""What the reference takes from the running project: the addresses of the admin and the options of the commands."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.contrib import admin
from django.core.management import BaseCommand, get_commands, load_command_class
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

OF_DJANGO = {
    "changelist": "The list.",
    "change": "The page of one.",
    "add": "The form of a new one.",
    "delete": "Asks, and deletes it.",
    "history": "What was done to it, and by whom.",
}
VERB = "Answer the request, as a view for ``Pages.page``"  # how the views of all buttons are described


class Generated(SphinxDirective):
    """A directive that stands for Markdown that is made when the page is read."""

    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes("\n".join(self.lines()), allow_section_headings=True)

    def lines(self) -> Iterator[str]:
        raise NotImplementedError


class AdminAddresses(Generated):
    def lines(self) -> Iterator[str]:
        for model in apps.get_app_config("qorworker").get_models():
            if model not in admin.site._registry:
                continue
            yield f"## {str(model._meta.verbose_name_plural).capitalize()}\n"
            yield "| Address | Name | What it does |\n| --- | --- | --- |"
            for pattern in admin.site._registry[model].get_urls():
                if pattern.name:
                    address = f"{model._meta.model_name}/{pattern.pattern}"
                    yield f"| `{address}` | `{pattern.name}` | {described(pattern)} |"
            yield ""


def described(pattern: Any) -> str:
    action = pattern.name.split("_", 2)[2]
    text = " ".join((inspect.getdoc(inspect.unwrap(pattern.callback)) or "").split("\n\n")[0].split())
    if not text or text.startswith(("The '", VERB)):
        return OF_DJANGO.get(action, f"*{action.replace('_', ' ').capitalize()}*, by POST.")
    return re.sub(r"``(.+?)``", r"`\1`", text).replace("|", r"\|")


class CommandOptions(Generated):
    def lines(self) -> Iterator[str]:
        for name in sorted(name for name, app in get_commands().items() if app == "qorworker"):
            command = load_command_class("qorworker", name)
            shared = {option for action in parser_of(BaseCommand())._actions for option in action.option_strings}
            yield f"## `{name}`\n\n{command.help}\n"
            yield "| Option | Meaning |\n| --- | --- |"
            for action in parser_of(command)._actions:
                if not shared & set(action.option_strings):
                    shown = ", ".join(action.option_strings) or str(action.metavar or action.dest)
                    help_text = " ".join(str(action.help or "").replace("%%", "%").split())
                    yield f"| `{shown}` | {help_text % vars_of(action)} |".replace("\n", " ")
            yield ""


def vars_of(action: Any) -> dict[str, Any]:
    return {"default": action.default, "prog": "manage.py"}


def parser_of(command: BaseCommand) -> Any:
    return command.create_parser("manage.py", "command")


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("admin-addresses", AdminAddresses)
    app.add_directive("command-options", CommandOptions)
    return {"parallel_read_safe": True}
