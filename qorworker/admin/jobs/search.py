"""The syntax of the search box of the list: words, ``qualifier:value``, quotation marks around spaces. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from django.utils.translation import gettext as _

from qorworker.admin.parameters import number

QUALIFIERS = ("type", "queue", "user", "status", "error")
LONGEST, MOST_TERMS = 500, 20
TERM = re.compile(r'(?:(?P<key>[^\s":]+):)?(?:"(?P<quoted>[^"]*)"|(?P<bare>[^\s"]*))(?=\s|$)')
QUOTES = str.maketrans("“”„«»", '"' * 5)


class SearchError(ValueError):
    """Raised for a search that makes no sense, with the reason in words for the person who typed it."""


@dataclass(frozen=True)
class Term:
    """A word, or the value of a qualifier; the value of an argument if *argument* names one."""

    value: str
    qualifier: str = ""
    argument: str = ""

    @property
    def job_number(self) -> int | None:
        """Return the number of a job, if the word may be one."""
        return number(self.value.removeprefix("#"))


def parse(text: str) -> list[Term]:
    """Return the terms of *text*, all of which have to fit a job. Raises ``SearchError``."""
    text = " ".join(text.translate(QUOTES).split())
    if not text.isprintable():
        raise SearchError(_("The search has a character that texts cannot have. Nothing was searched for."))
    if len(text) > LONGEST:
        raise SearchError(_("The search is longer than %d characters. Nothing was searched for.") % LONGEST)
    terms: list[Term] = []
    place = 0
    while place < len(text):
        match = TERM.match(text, place)
        if match is None or match.end() == place:
            raise SearchError(_("A quotation mark has no partner, or no space around it. Nothing was searched for."))
        terms.append(_term(match["key"] or "", match["bare"] if match["quoted"] is None else match["quoted"]))
        place = match.end() + 1
    if len(terms) > MOST_TERMS:
        raise SearchError(_("The search has more than %d parts. Nothing was searched for.") % MOST_TERMS)
    return terms


def _term(key: str, value: str) -> Term:
    if not key:
        return Term(value)
    qualifier, _dot, argument = key.partition(".")
    if qualifier == "arg" and argument.isidentifier():
        term = Term(value, "arg", argument)
    elif key in QUALIFIERS:
        term = Term(value, key)
    else:
        values = {"key": key, "known": ", ".join(f"{name}:" for name in QUALIFIERS)}
        raise SearchError(
            _(
                "“%(key)s:” is not known; there are %(known)s and, for an argument, arg.name:. "
                "Put a text with a colon into quotation marks. Nothing was searched for."
            )
            % values
        )
    if not value:
        raise SearchError(_("“%s:” needs a value right behind the colon. Nothing was searched for.") % key)
    return term
