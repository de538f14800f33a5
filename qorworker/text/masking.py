"""Removes secrets from texts, before a text is cut, stripped, split or made JSON of. Pure."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any
from urllib.parse import quote, quote_plus

MASK = "••••••"
IRI_SAFE = "/#%[]=:;$&()+,!?*@'~"  # what Django's iri_to_uri() leaves as it is
# Tabs and line breaks in an attribute, as xml.sax.saxutils and xml.etree write them.
XML_BLANKS = [str.maketrans({"\t": tab, "\n": "&#10;", "\r": "&#13;"}) for tab in ("&#9;", "&#09;")]
SHORTEST = 3  # characters; a shorter part would blot out ordinary text

_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Mask:
    """Knows some secrets. To call it with a text returns the text without them.

    It matches a secret as it is, each of its lines, without spaces around it, and as ``repr``, JSON, HTML, XML and
    URLs write it. It does not match a secret that was changed in any other way, or that has fewer than three
    characters.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self.secrets = frozenset(secrets)
        self._forms = _sorted({form for secret in self.secrets for form in _forms(secret) if len(form) >= SHORTEST})

    @classmethod
    def together(cls, masks: Iterable[Mask]) -> Mask:
        """Return a mask for the secrets of all *masks*."""
        filled = [mask for mask in masks if mask.secrets]
        if len(filled) <= 1:
            return filled[0] if filled else NOTHING
        union = cls()
        union.secrets = frozenset().union(*(mask.secrets for mask in filled))
        # Their forms exist already. To make them is the expensive part.
        union._forms = _sorted({form for mask in filled for form in mask._forms})
        return union

    def __bool__(self) -> bool:
        return bool(self._forms)

    def __repr__(self) -> str:
        return f"<Mask of {len(self.secrets)} secrets>"

    def __call__(self, text: str) -> str:
        for form in self._forms:
            if form in text:
                text = text.replace(form, MASK)
        return text

    def in_value(self, value: Any) -> Any:
        """Do the same for a text, and for a number that is exactly a secret; any other value is returned unchanged."""
        if isinstance(value, str):
            return self(value)
        if self and isinstance(value, (int, float)) and not isinstance(value, bool):
            text = json.dumps(value)
            return MASK if len(text) >= SHORTEST and text in self.secrets else value
        return value

    def in_bytes(self, data: bytes) -> bytes:
        """Do the same for text that is not decoded yet."""
        for form in self._encoded:
            if form in data:
                data = data.replace(form, MASK.encode())
        return data

    def in_json(self, text: str) -> str:
        """Do the same for the values in JSON, so that it stays JSON.

        :raises ValueError: if it is nested too deeply.
        """
        if not self:
            return text
        try:
            return _to_json(self._inside(json.loads(text)))
        except RecursionError:
            raise ValueError("It is nested too deep.") from None

    def is_in_json(self, text: str) -> bool:
        """Whether a secret is in the values or keys of JSON."""
        return bool(self) and self._inside(value := json.loads(text)) != value

    @property
    def longest(self) -> int:
        """How many bytes at the end of a text may be the beginning of a secret."""
        return max(map(len, self._encoded), default=1) - 1

    @cached_property
    def _encoded(self) -> list[bytes]:
        return [form.encode("utf-8", "surrogatepass") for form in self._forms]

    def _inside(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._inside(item) for item in value]
        if isinstance(value, dict):
            return {self(key): self._inside(item) for key, item in value.items()}
        return self.in_value(value)


def _sorted(forms: Iterable[str]) -> list[str]:
    """Return the longest first: one may contain another."""
    return sorted(forms, key=len, reverse=True)


NOTHING = Mask()


def _forms(secret: str) -> Iterator[str]:
    for text in (secret, secret.strip(), " ".join(secret.split()), *secret.splitlines()):
        yield text
        yield text.strip()
        for write in (repr, ascii, _repr_of_bytes):
            yield write(text)[1:-1]
            yield write(text + "'\"")[1:-4]  # as part of a text with both kinds of quotes
        if not text.isascii():
            yield text.encode("ascii", "backslashreplace").decode()  # standard error, where only ASCII can be written
        yield json.dumps(text)[1:-1]
        yield json.dumps(text, ensure_ascii=False)[1:-1]
        yield from _markup(text)
        yield quote(text, safe="", errors="replace")
        yield quote(text, errors="replace")
        yield quote(text, safe=IRI_SAFE, errors="replace")
        yield quote_plus(text, errors="replace")


def _repr_of_bytes(text: str) -> str:
    """Return the ``repr`` of the UTF-8 bytes of *text*, without the letter before its quotes."""
    return repr(text.encode("utf-8", "surrogatepass"))[1:]


def _markup(text: str) -> Iterator[str]:
    """Yield *text* as HTML and XML write it. They differ in the quotation marks that they escape, and in how."""
    content = html.escape(text, quote=False)
    written = [content]
    if '"' in text or "'" in text:
        written.append(content.replace('"', "&quot;"))  # an attribute in XML
        written.append(html.escape(text))
        written.append(content.replace('"', "&#34;").replace("'", "&#39;"))  # Jinja
    if any(blank in text for blank in "\t\n\r"):
        written += [each.translate(blanks) for blanks in XML_BLANKS for each in written]
    yield from written
    if not text.isascii():
        yield from (each.encode("ascii", "xmlcharrefreplace").decode() for each in written)
