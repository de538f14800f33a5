"""The titles of results columns: stored as they were given, translated when they are shown. Pure."""

from __future__ import annotations

from typing import Any, TypeAlias

from django.utils.functional import Promise
from django.utils.translation import gettext, pgettext

from qorworker.text.storable import text_of

TITLE_CHARS = 200
MOST_TITLES = 1_000
# A text, or what a lazy translation was made of: its message, and its context if it has one.
Title: TypeAlias = "str | list[str]"


def title_of(value: object) -> Title:
    """Return *value* as it is stored: a lazy translation by its message, anything else as one line of text."""
    if isinstance(value, Promise) and (message := message_of(value)):
        return message
    line = " ".join(text_of(value).split())
    return line if len(line) <= TITLE_CHARS else line[: TITLE_CHARS - 1] + "…"


def message_of(lazy: Any) -> list[str]:
    """Return message and context of a lazy translation; empty for what cannot be translated again from a text."""
    function, args, named, *_types = lazy.__reduce__()[1]
    if not isinstance(args, tuple):  # a plural without its number
        return []
    if named or not all(isinstance(each, str) and each for each in args):
        return []
    if function is gettext and len(args) == 1:
        return [*args]
    if function is pgettext and len(args) == 2:
        return [args[1], args[0]]
    return []


def is_title(stored: Any) -> bool:
    """Return whether *stored* has the form of a title."""
    if isinstance(stored, list):
        return len(stored) in (1, 2) and all(isinstance(each, str) for each in stored)
    return isinstance(stored, str)


def shown(title: Title) -> str:
    """Return a stored title in the language of the reader."""
    if isinstance(title, str):
        return title
    message, *context = title
    return pgettext(context[0], message) if context else gettext(message)
