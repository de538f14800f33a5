"""What the URL of a job's page asks to be shown: read within limits, and written into its links. Web."""

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
    """A number as it stands in a URL: of a job, a line, a page."""
    fits = text.isascii() and text.isdigit() and len(text) < 19
    return int(text) if fits else None


class Asked:
    def __init__(self, request: HttpRequest) -> None:
        self.given = {name: request.GET[name] for name in (*LOG, *RESULTS) if request.GET.get(name)}

    def whole(self, name: str) -> int | None:
        return number(self.given.get(name, ""))

    def text(self, name: str) -> str:
        return self.given.get(name, "").replace("\x00", "").strip()[:TEXT_CHARS]

    def one_of(self, name: str, known: Iterable[T], default: T) -> T:
        """That of *known* which reads as what is asked for."""
        return {str(value): value for value in known}.get(self.given.get(name, ""), default)

    def url(self, anchor: str, **changes: Any) -> str:
        """The same page with these changes; an empty value takes a parameter away."""
        asked = {name: value for name, value in {**self.given, **changes}.items() if value not in ("", None, 0)}
        return f"?{urlencode(asked)}#{anchor}"

    def others_than(self, names: Iterable[str]) -> list[tuple[str, str]]:
        """What a form has to carry along that has fields of these names."""
        return [(name, value) for name, value in self.given.items() if name not in names]
