"""The parameters in the URL of a job's page: read within limits, and written into its links. Web."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar
from urllib.parse import urlencode

from django.http import HttpRequest

T = TypeVar("T")
LOG = ("level", "find", "attempt", "times", "before")
RESULTS = ("rows", "cell", "sort", "per", "page")
TEXT_CHARS = 200


def number(text: str) -> int | None:
    """Return the number of a job, a line or a page in a URL; None for any other text."""
    fits = text.isascii() and text.isdigit() and len(text) < 19
    return int(text) if fits else None


class Parameters:
    """The choices that the address of *request* makes among the log lines and results."""

    def __init__(self, request: HttpRequest) -> None:
        self.given = {name: request.GET[name] for name in (*LOG, *RESULTS) if request.GET.get(name)}

    def whole(self, name: str) -> int | None:
        """Return the whole number that is the value of *name*; None if it has none."""
        return number(self.given.get(name, ""))

    def text(self, name: str) -> str:
        """Return the value of *name*, without null characters and cut to ``TEXT_CHARS``; empty if it has none."""
        return self.given.get(name, "").replace("\x00", "").strip()[:TEXT_CHARS]

    def one_of(self, name: str, choices: Iterable[T], default: T) -> T:
        """Return the one of *choices* whose text is the value of *name*; *default* if there is none."""
        return {str(value): value for value in choices}.get(self.given.get(name, ""), default)

    def url(self, anchor: str, **changes: Any) -> str:
        """Return the address of the same page with *changes*; an empty value removes a parameter."""
        parameters = {name: value for name, value in {**self.given, **changes}.items() if value not in ("", None, 0)}
        return f"?{urlencode(parameters)}#{anchor}"

    def others_than(self, names: Iterable[str]) -> list[tuple[str, str]]:
        """Return the names and values that a form with the fields *names* has to carry along as hidden inputs."""
        return [(name, value) for name, value in self.given.items() if name not in names]
