"""Turns the values of jobs into text that can be stored and shown. Pure."""

from __future__ import annotations

import json
import math
import re
from fractions import Fraction
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder

BITS = 13_000  # of a whole number, about 3,900 digits; Python refuses to write more than 4,300
CELL_TYPES = (str, int, float, bool, type(None))
HALF = re.compile("[\ud800-\udfff]")  # half of a pair: no Unicode by itself, and how Python reads odd names of files


def text_of(value: object, show: Any = str) -> str:
    """Return ``str(value)``, or ``show(value)``; the type if that fails. Surrogates and NULs are kept."""
    try:
        return str(show(value))
    except Exception as error:  # whatever an object's own code raises
        return f"<{type(value).__name__}, which cannot be shown: {type(error).__name__}>"


def cell_of(value: Any) -> str | int | float | bool | None:
    """Return a value for a cell of the results; a type that JSON lacks becomes text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, int) and value.bit_length() > BITS:
        return hex(value)
    if isinstance(value, CELL_TYPES):
        return value
    if isinstance(value, (list, dict)):
        try:
            return json.dumps(value, cls=DjangoJSONEncoder, ensure_ascii=False)
        except (TypeError, ValueError, RecursionError):
            pass
    return text_of(value)


def json_of(value: Any) -> str:
    """Return *value* as JSON that every reader accepts: surrogates become escapes.

    :raises ValueError: for a value that JSON cannot carry, or that is nested too deeply.
    :raises TypeError: for a type that JSON cannot carry.
    """
    try:
        text = json.dumps(value, cls=DjangoJSONEncoder, allow_nan=False, ensure_ascii=False)
    except RecursionError:
        raise ValueError("It is nested too deeply.") from None
    return without_halves(text)


def without_halves(text: str) -> str:
    """Return JSON text with surrogates as escapes."""
    return HALF.sub(lambda half: f"\\\\u{ord(half[0]):04x}", text)


def percent_of(done: Any, total: Any = None) -> int:
    """Return per cent from 0 to 100: *done*, or *done* of *total*.

    :raises ValueError: for a value that is not a number.
    """
    try:
        share = float(done) if total is None else 100.0 * float(done) / float(total) if total else 100.0
    except OverflowError:  # a number larger than a float
        if total is None:
            return 100 if done > 0 else 0
        if abs(total) == math.inf:
            return 0
        exact = 100 * Fraction(done) / Fraction(total)
        return 100 if exact > 100 else max(0, int(exact))
    if math.isnan(share) and total is not None:
        share = 100.0 * (float(done) / float(total))  # what was too large only when it was multiplied
    if math.isnan(share):
        raise ValueError("JobContext.set_progress() needs a number, not NaN.")
    return int(min(100.0, max(0.0, share)))
