"""Prepares Python values for a form field: from code, or read back from the table. Pure.

A value that the field would silently change, such as a datetime for a date, is refused here.
"""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import io
import json
import os
import uuid
from collections.abc import Callable
from typing import IO, Any, cast

from django import forms
from django.conf import settings as django_settings
from django.core.exceptions import ValidationError
from django.core.files import File
from django.db.models import Model, QuerySet
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime, parse_duration, parse_time
from django.utils.functional import Promise
from django.utils.translation import gettext as _

from qorworker.arguments.plain import BITS, json_value, wrong_type
from qorworker.arguments.secrets import Secret


class ExactText(str):
    """Text from code: every character of it counts."""

    __slots__ = ()


def python_value(field: forms.Field, value: Any) -> Any:
    """Return *value* in the form in which ``field.clean`` takes it without loss.

    :raises django.core.exceptions.ValidationError: if it has the wrong type.
    """
    if value is None:
        return _none(field)
    if own := getattr(field, "from_python", None):
        return own(value)
    prepare = next((prepare for kinds, prepare in _PREPARE if isinstance(field, kinds)), None)
    value = prepare(field, value) if prepare else value
    if isinstance(field, forms.MultiValueField) and not isinstance(value, (list, tuple)):
        return field.widget.decompress(value)
    return value


def _none(field: forms.Field) -> None:
    if not getattr(field, "nullable", True) and not field.required:
        raise ValidationError(_("This argument cannot be None."), code="none")


def is_password(widget: forms.Widget | type[forms.Widget]) -> bool:
    """Return whether a widget is a password input, or has one beside others. Browsers show dots in each of them."""
    if isinstance(widget, type):
        widget = widget()
    if isinstance(widget, forms.MultiWidget):
        return any(map(is_password, widget.widgets))
    return getattr(widget, "input_type", "") == "password"


def text_of(value: Any, *, may_be_secret: bool = False) -> str:
    """Return a text as a plain one.

    :param may_be_secret: whether a ``Secret`` is opened. A field that is none would store and show it in clear text.
    """
    if isinstance(value, enum.Enum) and isinstance(value, str):
        return str(value.value)
    if isinstance(value, Secret) and may_be_secret:
        value = value.get_secret_value()
    if not isinstance(value, (str, Promise)):
        raise wrong_type(_("a text"), value)
    return str(value)


def _text(field: forms.Field, value: Any) -> Any:
    return text_of(value, may_be_secret=is_password(field.widget))


def _number(field: forms.Field, value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (str, int, float, decimal.Decimal)):
        raise wrong_type(_("a number"), value)
    if isinstance(value, int) and value.bit_length() > BITS:
        raise ValidationError(_("The number is too long."), code="too_long")
    if isinstance(value, (int, decimal.Decimal)) and isinstance(field, forms.FloatField) and _loses(value):
        raise ValidationError(_("A float cannot hold this number."), code="invalid")
    return value


def _loses(value: Any) -> bool:
    try:
        return bool(float(value) != value)
    except (OverflowError, ValueError):
        return True


def _bool(field: forms.Field, value: Any) -> Any:
    words = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
    flag = words.get(value.strip().lower()) if isinstance(value, str) else value
    if not isinstance(flag, bool):
        raise wrong_type(_("True or False"), value)
    return flag


def _datetime(field: forms.Field, value: Any) -> Any:
    if isinstance(value, str):
        return _parsed(parse_datetime, value)
    if not isinstance(value, dt.datetime):
        raise wrong_type(_("a datetime"), value)
    if timezone.is_naive(value) and django_settings.USE_TZ:
        raise ValidationError(_("The time needs a time zone."), code="naive")
    if timezone.is_aware(value) and not django_settings.USE_TZ:
        raise ValidationError(_("The time has a time zone, but USE_TZ is off."), code="aware")
    return value


def _date(field: forms.Field, value: Any) -> Any:
    if isinstance(value, str):
        return _parsed(parse_date, value)
    if isinstance(value, dt.datetime) or not isinstance(value, dt.date):
        raise wrong_type(_("a date"), value)
    return value


def _time(field: forms.Field, value: Any) -> Any:
    if isinstance(value, str):
        return _parsed(parse_time, value)
    if not isinstance(value, dt.time):
        raise wrong_type(_("a time"), value)
    if value.tzinfo is not None:
        raise ValidationError(_("A time of day cannot have a time zone."), code="aware")
    return value


def _duration(field: forms.Field, value: Any) -> Any:
    if isinstance(value, str):
        return _parsed(parse_duration, value)
    if not isinstance(value, dt.timedelta):
        raise wrong_type(_("a duration"), value)
    return value


def _parsed(parse: Callable[[str], Any], text: str) -> Any:
    """Return a text in ISO's form as a value. Any other text is left to the field."""
    try:
        return parse(text.strip()) or text
    except (ValueError, OverflowError):
        return text


def _uuid(field: forms.Field, value: Any) -> Any:
    if not isinstance(value, (str, uuid.UUID)):
        raise wrong_type(_("a UUID"), value)
    return value


def _choice(field: forms.Field, value: Any) -> Any:
    return str(value.value if isinstance(value, enum.Enum) else value)


def _choices(field: forms.Field, value: Any) -> Any:
    return [_choice(field, item) for item in items_of(value)]


def items_of(value: Any) -> list[Any]:
    if isinstance(value, str):
        return [line.strip() for line in value.splitlines() if line.strip()]
    if not isinstance(value, (list, tuple)):
        raise wrong_type(_("a list"), value)
    return list(value)


def _model(field: forms.Field, value: Any) -> Any:
    model = field.queryset.model  # type: ignore[attr-defined]
    if isinstance(value, Model):
        if not isinstance(value, model):
            raise wrong_type(model._meta.verbose_name, value)
        if value.pk is None:
            raise ValidationError(_("It must be saved first."), code="unsaved")
        return getattr(value, field.to_field_name or "pk")  # type: ignore[attr-defined]
    if isinstance(value, bool) or not isinstance(value, (int, str, uuid.UUID)):
        raise wrong_type(model._meta.verbose_name, value)
    return value


def _models(field: forms.Field, value: Any) -> Any:
    items = list(value) if isinstance(value, QuerySet) else items_of(value)
    return [_model(field, item) for item in items]


def _file(field: forms.Field, value: Any) -> Any:
    if isinstance(value, io.IOBase):
        name = getattr(value, "name", "")
        value = File(cast(IO[Any], value), name=os.path.basename(name) if isinstance(name, str) else "")
    if not isinstance(value, File):
        raise wrong_type(_("a file"), value)
    if not value.name:
        value.name = "file"
    return value


def _json(field: forms.Field, value: Any) -> Any:
    return json.dumps(json_value(value), ensure_ascii=False)


# The first match is used, so a field comes before the classes that it is derived from.
_PREPARE: tuple[tuple[Any, Callable[[Any, Any], Any]], ...] = (
    (forms.ModelMultipleChoiceField, _models),
    (forms.ModelChoiceField, _model),
    (forms.MultipleChoiceField, _choices),
    (forms.ChoiceField, _choice),
    (forms.BooleanField, _bool),
    (forms.FileField, _file),
    (forms.JSONField, _json),
    (forms.UUIDField, _uuid),
    ((forms.DateTimeField, forms.SplitDateTimeField), _datetime),
    (forms.DateField, _date),
    (forms.TimeField, _time),
    (forms.DurationField, _duration),
    (forms.IntegerField, _number),
    (forms.CharField, _text),
)
