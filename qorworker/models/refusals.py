"""Distinguishes values that a database refuses to store from failures that may pass. All processes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db import DataError, Error, IntegrityError
from django.utils.translation import gettext as _

from qorworker.models.sql.charsets import Fit, fitting

FAILURES = (Error, UnicodeError, OverflowError)  # a driver may refuse a value before it sends it
VALUES = (DataError, IntegrityError, UnicodeError, OverflowError)
# Data, constraints, views with a check, and what a trigger raises.
STATE_CLASSES = {"22", "23", "44", "P0"}
# MariaDB and MySQL call most errors operational. These are about the values: characters that the column does not take
# (1300, 1366, 1977, 3854, 3988), sizes and ranges (1153, 1264, 1265, 1292, 1301, 1406, 1690), JSON (3140, 3141, 3157),
# constraints (3819, 4025), and what a trigger signals (1644).
CODES = {
    1153, 1264, 1265, 1292, 1300, 1301, 1366, 1406, 1644, 1690, 1977, 3140, 3141, 3157, 3819, 3854, 3988, 4025,
}  # fmt: skip


def is_refusal(error: Exception) -> bool:
    """Return whether the database would refuse the same values again, however often they are written."""
    if isinstance(error, VALUES):
        return True
    state = getattr(error.__cause__, "sqlstate", None) or ""
    return state[:2] in STATE_CLASSES or (bool(error.args) and error.args[0] in CODES)


def describe(error: Exception) -> str:
    """Return one short line about a database error."""
    text = str(error.args[-1] if error.args else error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0] if text else '?'}"[:300]


# For what people and code give: it is refused with a reason, and before anything is stored.


@cache
def fit_of(using: str, table: str, column: str) -> Fit | None:
    """Return what ``fitting`` returns. The database is queried once in the life of a process."""
    return fitting(using, table, column)


def text_problem(using: str, table: str, column: str, text: str) -> str:
    """Return why a column cannot store *text*; empty if it can."""
    fit = fit_of(using, table, column)
    if fit is None or fit(text) == text:
        return ""
    lacking = sorted({character for character in text if fit(character) != character})
    return _("The database cannot store these characters: %(characters)s") % {"characters": " ".join(lacking[:10])}


def argument_problems(using: str, arguments: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return which of these arguments of a job the database cannot store, by name, with the reasons."""
    if fit_of(using, *ARGUMENTS) is None:
        return {}
    problems = {name: text_problem(using, *ARGUMENTS, _to_json(value)) for name, value in arguments.items()}
    return {name: [problem] for name, problem in problems.items() if problem}


ARGUMENTS = "qorworker_job", "arguments"
_to_json = DjangoJSONEncoder(ensure_ascii=False).encode
