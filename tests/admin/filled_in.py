"""What a browser would send of a form: read from the page, as nothing else says what stands in the fields."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any


class _Form(HTMLParser):
    """The successful controls of the form with the id ``job_form``."""

    def __init__(self) -> None:
        super().__init__()
        self.data: dict[str, list[str]] = {}
        self.inside = False
        self.text: str | None = None
        self.name = ""
        self.is_several = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "form":
            self.inside = given.get("id") == "job_form"
        if not self.inside:
            return
        name, kind = given.get("name") or "", given.get("type") or "text"
        if tag == "input" and name and kind not in ("submit", "file"):
            if kind not in ("checkbox", "radio") or "checked" in given:
                self.add(name, given.get("value", "on" if kind in ("checkbox", "radio") else "") or "")
        elif tag == "textarea":
            self.name, self.text = name, ""
        elif tag == "select":
            self.name, self.is_several, self.first = name, "multiple" in given, True
        elif tag == "option" and self.name:
            if "selected" in given or (self.first and not self.is_several):
                if not self.is_several:
                    self.data.pop(self.name, None)
                self.add(self.name, given.get("value") or "")
            self.first = False

    def handle_data(self, data: str) -> None:
        if self.text is not None:
            self.text += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea" and self.text is not None:
            text = self.text.replace("\r\n", "\n").removeprefix("\n").replace("\n", "\r\n")
            self.add(self.name, text)
            self.text = None
        if tag in ("textarea", "select"):
            self.name = ""
        if tag == "form":
            self.inside = False

    def add(self, name: str, value: str) -> None:
        self.data.setdefault(name, []).append(value)


def filled_in(response: Any) -> dict[str, list[str]]:
    form = _Form()
    form.feed(response.content.decode())
    return form.data
