"""JSON that every database can store and every reader understands. Pure."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import json
import typing
import uuid
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Any

from django.core.exceptions import ValidationError
from django.utils.duration import duration_iso_string
from django.utils.formats import number_format
from django.utils.functional import Promise
from django.utils.translation import gettext as _

from qorworker.conf import settings

DEPTH = 30  # nested lists and objects: MariaDB takes 31 levels, and the arguments are one
BITS = 13_000  # of a whole number, about 3,900 digits; Python itself refuses to read more than 4,300


def storable_text(text: str) -> None:
    """Refuse text that no database can store or that JSON cannot carry."""
    if "\x00" in text:
        raise ValidationError(_("Null characters are not allowed."), code="null_characters_not_allowed")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValidationError(_("The text has characters that are not valid Unicode."), code="surrogate") from None


def wrong_type(needed: str, value: Any) -> ValidationError:
    return ValidationError(
        _("This must be %(needed)s, not %(given)s.") % {"needed": needed, "given": type(value).__name__},
        code="wrong_type",
    )


def json_value(value: Any, depth: int = 0) -> Any:
    """Return *value* if JSON can carry it unchanged.

    :raises django.core.exceptions.ValidationError: naming the part that it cannot carry.
    """
    if depth >= DEPTH and isinstance(value, (list, tuple, Mapping)):
        raise _too_deep()
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str) and not isinstance(value, enum.Enum):
        storable_text(value)
        return str(value)
    if type(value) is int:
        if value.bit_length() > BITS:
            raise ValidationError(_("The number is too long."), code="too_long")
        return value
    if type(value) is float:
        if value != value or value in (float("inf"), float("-inf")):
            raise ValidationError(_("NaN and Infinity are not allowed."), code="not_finite")
        return value
    if isinstance(value, (list, tuple)):
        return [json_value(item, depth + 1) for item in value]
    if isinstance(value, Mapping):
        return {_json_key(key): json_value(item, depth + 1) for key, item in value.items()}
    raise ValidationError(_("JSON has no type for %(given)s.") % {"given": type(value).__name__}, code="wrong_type")


def _json_key(key: Any) -> str:
    if type(key) is not str:
        raise ValidationError(_("The keys of JSON objects are texts, not %(given)s.") % {"given": type(key).__name__})
    storable_text(key)
    return key


def parse_json(text: Any) -> Any:
    """Return the value of a JSON text. Size and depth are measured before it is parsed."""
    if not isinstance(text, str):
        raise wrong_type(_("a JSON text"), text)
    if len(text) > settings.ARGUMENTS_BYTES:
        raise ValidationError(_("The text is too long."), code="too_long")
    check_depth(text)
    try:
        return json_value(json.loads(text, object_pairs_hook=_unique))
    except ValueError as error:
        raise ValidationError(_("Enter valid JSON: %(error)s") % {"error": error}, code="invalid") from None


def check_depth(text: str) -> None:
    """Refuse JSON text that is nested too deeply, before anything tries to parse it."""
    if _depth(text) > DEPTH:
        raise _too_deep()


def _too_deep() -> ValidationError:
    return ValidationError(_("It is nested deeper than %(limit)s levels.") % {"limit": DEPTH}, code="too_deep")


def is_too_deep(text: Any) -> bool:
    return isinstance(text, str) and _depth(text) > DEPTH


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError(_("a key occurs twice"))
    return made


def _depth(text: str) -> int:
    deepest = depth = 0
    quoted = escaped = False
    for character in text:
        if quoted:
            quoted, escaped = escaped or character != '"', character == "\\" and not escaped
        elif character == '"':
            quoted = True
        elif character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest


def conforms(value: Any, shape: Any, where: str = "") -> str:
    """Return why JSON *value* does not have the annotated *shape*; empty if it has."""
    if shape in (Any, object):
        return ""
    origin, inner = typing.get_origin(shape) or shape, typing.get_args(shape)
    if origin in (typing.Union, UnionType):
        problems = [conforms(value, option, where) for option in inner]
        return "" if "" in problems else problems[0]
    if not _is_a(value, origin):
        needed = {dict: _("an object"), list: _("a list"), NoneType: "null"}.get(origin, origin.__name__)
        return _("%(name)s must be %(needed)s.") % {"name": where or _("The value"), "needed": needed}
    pairs = enumerate(value) if origin is list else value.items() if origin is dict else ()
    return next((p for key, item in pairs if (p := conforms(item, (inner or (Any,))[-1], f"{where}[{key!r}]"))), "")


def _is_a(value: Any, kind: type) -> bool:
    if kind is float:
        return type(value) in (int, float)
    return isinstance(value, kind) and not (isinstance(value, bool) and kind is int)


def is_json_shape(shape: Any) -> bool:
    """Return whether an annotation describes nothing but JSON."""
    if shape in (Any, object, str, int, float, bool, NoneType, None, dict, list):
        return True
    origin, inner = typing.get_origin(shape), typing.get_args(shape)
    if origin in (typing.Union, UnionType) or origin is list:
        return all(is_json_shape(option) for option in inner)
    return origin is dict and (not inner or (inner[0] is str and is_json_shape(inner[1])))


def encode(value: Any, depth: int = 0) -> Any:
    """Return a cleaned value as JSON that its field reads again without loss."""
    if isinstance(value, enum.Enum):
        return encode(value.value, depth)
    if isinstance(value, (dt.datetime, dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, dt.timedelta):
        return duration_iso_string(value)
    if isinstance(value, (decimal.Decimal, uuid.UUID, Promise)):
        return str(value)
    if isinstance(value, (list, tuple)) and depth < DEPTH:
        return [encode(item, depth + 1) for item in value]
    return json_value(value, depth)


def too_large(stored: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return an error of the largest value if all values together take more than ``ARGUMENTS_BYTES``."""
    figures = {"size": len(json.dumps(stored, default=str)), "limit": settings.ARGUMENTS_BYTES}
    if figures["size"] <= figures["limit"]:
        return {}
    text = _("The arguments take %(size)s bytes, and %(limit)s are allowed. This is the largest.")
    shown_as = {name: number_format(figure, force_grouping=True) for name, figure in figures.items()}
    largest = max(stored, key=lambda name: len(json.dumps(stored[name], default=str)))
    return {largest: [text % shown_as]}
