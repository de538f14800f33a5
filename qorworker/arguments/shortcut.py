"""The short way of plain values to the table and back, past the form. All processes.

A value goes this way only if its field would return it unchanged and without an error. Every other value goes through
the form, which alone makes errors. So both ways store the same, and this one takes a tenth of the time.
"""

from __future__ import annotations

import datetime as dt
import decimal
import math
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from django import forms
from django.core import validators
from django.core.exceptions import ValidationError
from django.utils.duration import duration_iso_string

from qorworker.arguments import fields
from qorworker.arguments.codec import is_secret
from qorworker.arguments.constraints import Bound, MultipleOf
from qorworker.arguments.signature import MISSING
from qorworker.conf import KIB, settings

NEEDS_FORM: Any = object()  # what a way returns for a value that must go through the form
Way = Callable[[Any], Any]  # from a value as code passes it to its JSON

# Validators that only compare: they may be called outside the form.
KNOWN = {
    Bound, MultipleOf, validators.MinValueValidator, validators.MaxValueValidator, validators.MinLengthValidator,
    validators.MaxLengthValidator, validators.DecimalValidator,
}  # fmt: skip
KNOWN_FOR_TEXT = {*KNOWN, validators.RegexValidator}
IMPLIED = validators.ProhibitNullCharactersValidator  # the way of a text checks that itself
OWN = {"clean", "to_python", "validate", "run_validators", "from_python"}  # a field may have its own
WHOLE = 2**63
EXACT = 2**53  # up to here a float holds every whole number
LONGEST = 64  # characters of a value that is no text; no date and no sensible number has more
ESCAPED = 12  # bytes that JSON takes for one character at most


class Shortcut:
    """The ways of all arguments of one job type."""

    def __init__(self, ways: Mapping[str, tuple[Way, Any]], texts: Iterable[str], *, is_json: bool) -> None:
        """:param ways: for each argument its way and its default.
        :param texts: the names of the arguments whose values may be long.
        :param is_json: whether all values are the same in JSON.
        """
        self._ways = [(name, way, default) for name, (way, default) in ways.items()]
        self._names = frozenset(ways)
        self._texts, self._is_json = list(texts), is_json
        self._bytes = sum(ESCAPED * len(name) + LONGEST for name in ways)  # beside the texts

    def stored(self, many: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]] | None:
        """Return dicts of arguments as ``dump(clean(…))`` would; None if one of them needs the form."""
        found = []
        for values in many:
            if type(values) is not dict or not values.keys() <= self._names:
                return None
            one = {}
            for name, way, default in self._ways:
                one[name] = value = way(values.get(name, default))
                if value is NEEDS_FORM:
                    return None
            if self._may_be_too_large(one):
                return None
            found.append(one)
        return found

    def cleaned(self, values: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return *values* as the form would clean them; None if one of them needs the form, or is other in JSON."""
        found = self.stored([values]) if self._is_json else None
        return found[0] if found is not None else None

    def loaded(self, stored: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the values of stored arguments as ``load`` would; None if one of them needs the form."""
        if not self._is_json or stored.keys() != self._names:
            return None
        values = {}
        for name, way, _default in self._ways:
            values[name] = value = way(stored[name])
            if value is NEEDS_FORM:
                return None
        return values

    def _may_be_too_large(self, stored: Mapping[str, Any]) -> bool:
        most = self._bytes
        for name in self._texts:
            most += ESCAPED * len(stored[name] or "")
        return most > KIB and most > settings.ARGUMENTS_BYTES  # which is at least that


def shortcut_of(form_fields: Mapping[str, forms.Field], defaults: Mapping[str, Any]) -> Shortcut | None:
    """Return the shortcut for fields that were made from a signature; None if one of them always needs the form."""
    ways = {name: way for name, field in form_fields.items() if (way := _way_of(field)) is not None}
    if len(ways) < len(form_fields):
        return None
    texts = [name for name, field in form_fields.items() if isinstance(field, fields.TextField)]
    is_json = all(type(field) in JSON for field in form_fields.values())
    return Shortcut({name: (way, defaults.get(name, MISSING)) for name, way in ways.items()}, texts, is_json=is_json)


def _way_of(field: forms.Field) -> Way | None:
    way = None if is_secret(field) else _WAYS.get(type(field))  # a password input makes a secret of any text
    checks = [check for check in field.validators if type(check) is not IMPLIED]
    known = KNOWN_FOR_TEXT if way is _text else KNOWN
    if way is None or OWN & vars(field).keys() or not {type(check) for check in checks} <= known:
        return None
    checked = _checked(way(field), checks)
    return _or_none(checked) if getattr(field, "nullable", False) and not field.required else checked


def _checked(way: Way, checks: list[Callable[[Any], None]]) -> Way:
    if not checks:
        return way

    def checked(value: Any) -> Any:
        stored = way(value)
        if stored is not NEEDS_FORM and stored != "":  # fields do not validate an empty text
            try:
                for check in checks:
                    check(value)
            except ValidationError:
                return NEEDS_FORM
        return stored

    return checked


def _or_none(way: Way) -> Way:
    return lambda value: None if value is None else way(value)


def _text(field: forms.Field) -> Way:
    takes_empty = not field.required

    def text(value: Any) -> Any:
        if type(value) is not str or "\x00" in value or not (value or takes_empty):
            return NEEDS_FORM
        return value if value.isascii() or _is_unicode(value) else NEEDS_FORM

    return text


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _integer(field: forms.Field) -> Way:
    return lambda value: value if type(value) is int and -WHOLE <= value < WHOLE else NEEDS_FORM


def _float(field: forms.Field) -> Way:
    def number(value: Any) -> Any:
        if type(value) is int and -EXACT <= value <= EXACT:
            return float(value)
        return value if type(value) is float and math.isfinite(value) else NEEDS_FORM

    return number


def _flag(field: forms.Field) -> Way:
    takes_false = not field.required or isinstance(field, forms.NullBooleanField)
    return lambda value: value if value is True or (value is False and takes_false) else NEEDS_FORM


def _decimal(field: forms.Field) -> Way:
    def number(value: Any) -> Any:
        if type(value) is not decimal.Decimal or not value.is_finite():
            return NEEDS_FORM
        text = str(value)
        return text if len(text) <= LONGEST else NEEDS_FORM

    return number


def _date(field: forms.Field) -> Way:
    return lambda value: value.isoformat() if type(value) is dt.date else NEEDS_FORM


def _time(field: forms.Field) -> Way:
    return lambda value: value.isoformat() if type(value) is dt.time and value.tzinfo is None else NEEDS_FORM


def _duration(field: forms.Field) -> Way:
    return lambda value: duration_iso_string(value) if type(value) is dt.timedelta else NEEDS_FORM


def _uuid(field: forms.Field) -> Way:
    return lambda value: str(value) if type(value) is uuid.UUID else NEEDS_FORM


# By the very class: a field that is derived from one of these may do anything.
_WAYS: dict[type[forms.Field], Callable[[forms.Field], Way]] = {
    fields.TextField: _text,
    forms.IntegerField: _integer,
    forms.FloatField: _float,
    forms.BooleanField: _flag,
    forms.NullBooleanField: _flag,
    forms.DecimalField: _decimal,
    forms.DateField: _date,
    forms.TimeField: _time,
    forms.DurationField: _duration,
    forms.UUIDField: _uuid,
}
JSON = {fields.TextField, forms.IntegerField, forms.FloatField, forms.BooleanField, forms.NullBooleanField}
